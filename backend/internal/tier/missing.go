package tier

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Missing is a stretch of time in which a tier has no samples of a metric, although the
// other tier has some.
type Missing struct {
	// Metric is the name of the metric, or empty where the caller may not see it.
	Metric string
	// From and To bound the stretch, both exclusive, in milliseconds since the Unix
	// epoch. They are Beginning and End where the stretch has no bound.
	From, To int64
}

// Beginning and End bound a stretch that has no other bound.
const (
	Beginning int64 = math.MinInt64
	End       int64 = math.MaxInt64
)

// never reports whether the tier has no sample of the metric at all.
func (m Missing) never() bool { return m.From == Beginning && m.To == End }

// metric returns the name for people to read.
func (m Missing) metric() string {
	if m.Metric == "" {
		return "a metric of such a name"
	}
	return m.Metric
}

// String says in words for people which samples the tier does not have.
func (m Missing) String() string {
	switch {
	case m.never():
		return "has no samples of " + m.metric()
	case m.From == Beginning:
		return fmt.Sprintf("has no samples of %s before %s", m.metric(), moment(m.To))
	case m.To == End:
		return fmt.Sprintf("has no samples of %s after %s", m.metric(), moment(m.From))
	}
	return fmt.Sprintf("has no samples of %s between %s and %s", m.metric(), moment(m.From), moment(m.To))
}

// period is a stretch of time in milliseconds since the Unix epoch.
type period struct{ from, to int64 }

// overlap returns the common part of two periods. It is empty if to is not after from.
func (p period) overlap(other period) period {
	return period{max(p.from, other.from), min(p.to, other.to)}
}

func (p period) isEmpty() bool { return p.to <= p.from }

// length returns the length of periods in milliseconds. Parts that several of them share
// count once.
func length(periods []period) (total float64) {
	ordered := slices.SortedFunc(slices.Values(periods), func(a, b period) int { return cmp.Compare(a.from, b.from) })
	end := int64(math.MinInt64)
	for _, each := range ordered {
		if from := max(each.from, end); each.to > from {
			total += float64(each.to) - float64(from)
			end = each.to
		}
	}
	return total
}

// newest returns the newest time that the request can touch.
func (in Input) newest() int64 { return min(in.Extent.Newest, in.Now) }

// missing returns what a tier lacks within the extent.
func (in Input) missing(name Name) (list []Missing) {
	if in.Extent.Nothing {
		return nil
	}
	for _, each := range in.state(name).Missing {
		if in.Extent.Oldest < each.To && in.newest() > each.From {
			list = append(list, each)
		}
	}
	return list
}

// lacked returns the periods within the extent for which a tier lacks samples that the
// request reads.
func (in Input) lacked(name Name) (list []period) {
	if in.Extent.Nothing {
		return nil
	}
	// The ends of the extent are inclusive.
	read := period{max(in.Extent.Oldest, math.MinInt64+1) - 1, in.newest() + 1}
	add := func(of period) {
		if of = of.overlap(read); !of.isEmpty() {
			list = append(list, of)
		}
	}
	for _, each := range in.missing(name) {
		add(period{each.From, each.To})
	}
	if name == Hot {
		if in.Extent.Oldest < in.Hot.Oldest {
			add(period{Beginning, in.Hot.Oldest})
		}
	} else if ends, _ := in.endsAfterCold(); ends {
		add(period{in.Cold.Newest, End})
	}
	return list
}

// neitherHolds reports whether there is a time within the extent for which both tiers
// lack samples.
func (in Input) neitherHolds() bool {
	cold := in.lacked(Cold)
	return slices.ContainsFunc(in.lacked(Hot), func(of period) bool {
		return slices.ContainsFunc(cold, func(other period) bool { return !of.overlap(other).isEmpty() })
	})
}

// hotHoldsMore reports whether hot, which lacks a part of what is read, holds more of it
// than cold, and may answer.
func (in Input) hotHoldsMore() bool {
	if !in.Hot.Available || in.Completeness == Incomplete || in.Unlabelled != "" {
		return false
	}
	return length(in.lacked(Hot)) < length(in.lacked(Cold))
}

// mostMissing is the maximum number of stretches that the warnings name.
const mostMissing = 5

// missingWarnings names what the tier that answers lacks.
func (in Input) missingWarnings(name Name) (warnings []string) {
	list := in.missing(name)
	for _, each := range list[:min(len(list), mostMissing)] {
		warnings = append(warnings, fmt.Sprintf("the %s tier answered, which %s", name, each))
	}
	if more := len(list) - mostMissing; more > 0 {
		warnings = append(warnings, fmt.Sprintf("the %s tier answered, which lacks %d more stretches of metrics", name, more))
	}
	if name == Hot && in.Younger != "" {
		warnings = append(warnings, fmt.Sprintf("the hot tier answered, and it is not known yet whether the cold tier has older samples of %s", in.Younger))
	}
	if name == Cold && in.Unmeasured != "" {
		warnings = append(warnings, fmt.Sprintf("the cold tier answered, and it is not known yet whether it has all samples of %s", in.Unmeasured))
	}
	return warnings
}
