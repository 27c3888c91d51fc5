package gateway

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

const (
	// leastRatio and leastDifference say from when on one tier counts as faster than the other.
	leastRatio      = 1.5
	leastDifference = 5 * time.Millisecond
)

// faster returns the faster one of both tiers, and the slower tier's time divided by its time. It returns
// an empty name if both take about the same: the difference is small, or smaller than that between
// the slower tier's own answers.
func (t *rangeLatency) faster() (name tier.Name, ratio float64) {
	fast, slow, name := t.hot, t.cold, tier.Hot
	if slow.median < fast.median {
		fast, slow, name = slow, fast, tier.Cold
	}
	ratio = float64(slow.median) / float64(max(fast.median, 1))
	if ratio < leastRatio || slow.median-fast.median < leastDifference || fast.median >= slow.fastest {
		return "", 1
	}
	return name, ratio
}

// recommendation is what Advise recommends for the threshold.
type recommendation struct {
	// threshold is the current one.
	threshold time.Duration
	// coverage is how far back hot reaches. No longer threshold is recommended.
	coverage time.Duration
	// measured are the ranges that both tiers hold, the shortest first.
	measured []rangeLatency
	// isKept is set if queries at or above the threshold are split, and what cold answers is kept.
	isKept bool
	// newest is the newest part, of which hot's time is known, or nil.
	newest *rangeLatency
}

// finding returns the recommendation. There must be a measured range.
func (r *recommendation) finding() Finding {
	made := Finding{Subject: "routing", Severity: SeverityOK}
	current := formatRange(r.threshold)
	if fastUntil := r.hotFasterUntil(); fastUntil != nil && fastUntil.length >= r.threshold {
		if better := r.above(fastUntil.length); better > 0 {
			r.raise(&made, fastUntil, better)
			return made
		}
	}
	if i := r.coldFasterFrom(); i >= 0 && r.measured[i].length < r.threshold {
		from := &r.measured[i]
		better := from.length
		if i > 0 {
			better = min(better, r.above(r.measured[i-1].length))
		}
		_, ratio := from.faster()
		made.Severity = SeverityWarning
		made.Message = fmt.Sprintf("cold is %s as fast as hot for %s, but queries below the threshold of %s go to hot", formatRatio(ratio, from.hot), formatRange(from.length), current)
		made.Remedy = fmt.Sprintf("consider routing.threshold: %s", formatRange(better))
		return made
	}
	isHotFaster, isColdFaster := false, false
	for i := range r.measured {
		name, _ := r.measured[i].faster()
		isHotFaster, isColdFaster = isHotFaster || name == tier.Hot, isColdFaster || name == tier.Cold
	}
	made.Message = fmt.Sprintf("the threshold of %s suits the measured times", current)
	if !isHotFaster && !isColdFaster {
		made.Message = fmt.Sprintf("both tiers take about the same, so the threshold of %s is as good as another one", current)
	}
	return made
}

// raise recommends a longer threshold.
func (r *recommendation) raise(made *Finding, until *rangeLatency, better time.Duration) {
	ratio := r.ratios(until.length)
	if !r.isKept {
		made.Severity = SeverityWarning
		made.Message = fmt.Sprintf("hot is %s as fast as cold up to %s, but queries that read %s or more go to cold", ratio, formatRange(until.length), formatRange(r.threshold))
		made.Remedy = fmt.Sprintf("consider routing.threshold: %s", formatRange(better))
		return
	}
	made.Severity = SeverityNote
	made.Message = fmt.Sprintf("hot is %s as fast as cold up to %s. With kept answers, that is so for the first load alone: a refresh reads hot's newest part", ratio, formatRange(until.length))
	if r.newest != nil && r.newest.hot != nil {
		made.Message += fmt.Sprintf(" of %s, which takes %s", formatRange(r.newest.length), FormatTook(r.newest.hot.median))
	}
	made.Remedy = fmt.Sprintf("if first loads matter more than refreshes, consider routing.threshold: %s. Each refresh of %s then takes hot %s",
		formatRange(better), formatRange(until.length), FormatTook(until.hot.median))
}

// hotFasterUntil returns the longest range for which hot is faster, without a shorter one for which cold is; nil
// if there is none.
func (r *recommendation) hotFasterUntil() (until *rangeLatency) {
	for i := range r.measured {
		switch name, _ := r.measured[i].faster(); name {
		case tier.Hot:
			until = &r.measured[i]
		case tier.Cold:
			return until
		default:
		}
	}
	return until
}

// coldFasterFrom returns the index of the shortest range from which on cold is faster and hot never, or -1.
func (r *recommendation) coldFasterFrom() int {
	from := -1
	for i := range r.measured {
		switch name, _ := r.measured[i].faster(); {
		case name == tier.Hot:
			from = -1
		case name == tier.Cold && from < 0:
			from = i
		}
	}
	return from
}

// ratios returns by how much hot is faster, for the ranges that go to cold and are not longer than the given one.
func (r *recommendation) ratios(until time.Duration) string {
	least, most := math.Inf(1), 0.0
	var gaveUp *latency
	for i := range r.measured {
		each := &r.measured[i]
		if name, ratio := each.faster(); name == tier.Hot && each.length >= r.threshold && each.length <= until {
			least, most = min(least, ratio), max(most, ratio)
			if each.cold.gaveUp {
				gaveUp = each.cold
			}
		}
	}
	if from, to := formatNumber(least), formatRatio(most, gaveUp); from+" ×" != to && gaveUp == nil {
		return from + " to " + to
	}
	return formatRatio(least, gaveUp)
}

// formatRatio formats a ratio. The slower tier may have been stopped before it answered.
func formatRatio(ratio float64, slower *latency) string {
	text := formatNumber(ratio) + " ×"
	if slower != nil && slower.gaveUp {
		text = "at least " + text
	}
	return text
}

func formatNumber(number float64) string {
	digits := 1
	if number >= 10 {
		digits = 0
	}
	return strings.TrimSuffix(strconv.FormatFloat(number, 'f', digits, 64), ".0")
}

// above returns a threshold with which queries over a range go to hot. Their span is a step longer than
// the range at most. It returns zero if hot does not reach back so far.
func (r *recommendation) above(length time.Duration) time.Duration {
	more := 24 * time.Hour
	switch {
	case length < time.Hour:
		more = 5 * time.Minute
	case length < 6*time.Hour:
		more = 15 * time.Minute
	case length < 48*time.Hour:
		more = time.Hour
	}
	if better := min(length+more, r.coverage.Truncate(time.Minute)); better > length {
		return better
	}
	return 0
}

// comparison adds what was measured, and the recommendation for the threshold.
func (a *advice) comparison() {
	if len(a.measured.ranges) > 0 || a.measured.stopped != "" {
		a.measuredTable()
	}
	if !a.hasHot() {
		return
	}
	if why, remedy := a.notCompared(); why != "" {
		a.add("routing", SeverityNote, "the tiers were not compared: "+why, remedy)
		return
	}
	made := recommendation{threshold: a.resolved.Datasource.Threshold, newest: a.measured.newest}
	for _, each := range a.measured.ranges {
		if each.hot != nil && each.cold != nil {
			made.measured = append(made.measured, each)
		}
	}
	if len(made.measured) == 0 {
		return
	}
	longest := a.queryOf(made.measured[len(made.measured)-1].length).plan
	made.coverage = time.Duration(longest.Input.Now-longest.Input.Hot.Oldest) * time.Millisecond
	for _, query := range a.queries {
		made.isKept = made.isKept || (query.plan.Cut != nil && query.plan.NotCached() == "")
	}
	a.findings = append(a.findings, made.finding())
}

// measuredTable adds what was measured.
func (a *advice) measuredTable() {
	text := fmt.Sprintf("measured %s", a.typical.template)
	if a.typical.series > 0 {
		text += fmt.Sprintf(", of %d series", a.typical.series)
	}
	if a.measured.stopped != "" {
		text += "; " + a.measured.stopped
	}
	made := Finding{Subject: "routing", Severity: SeverityNote, Message: text}
	for i := range a.measured.ranges {
		made.Measurements = append(made.Measurements, a.measured.ranges[i].view(0))
	}
	if newest := a.measured.newest; newest != nil {
		made.Measurements = append(made.Measurements, newest.view(a.measured.longest().length))
	}
	a.findings = append(a.findings, made)
}

// notCompared says why no typical query can go to either tier, and what to do. It returns empty texts if
// one can.
func (a *advice) notCompared() (why, remedy string) {
	shortest := a.queries[0].plan
	for _, query := range a.queries {
		if query.isCompared() {
			return "", ""
		}
	}
	switch shortest.Rule {
	case 3:
		return fmt.Sprintf("hot does not reach back %s", formatRange(a.queries[0].length)), "wait until hot has collected more samples, or increase its retention"
	case 4:
		return shortest.Input.CompletenessWhy, remedyOfNotCut(a.resolved.Datasource, shortest)
	case 5:
		return "cold lacks the newest samples, so hot answers all queries that end now and that it covers, whatever the threshold is", ""
	}
	return "they do not both hold what a typical query reads", ""
}
