// Package targets follows which targets a Prometheus could not scrape for a while, although the
// server itself never stopped, and finds out where else they were scraped. It asks servers through
// an Instant, and starts no goroutine of its own.
package targets

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/prometheus/common/model"
)

// End is the To of a hole that has no end yet.
const End int64 = math.MaxInt64

// Target are the labels of a target: those of its series named up, without the name. A nil Target
// stands for any target of the server.
type Target map[string]string

// Series returns the labels of the series named up of the target.
func (t Target) Series() map[string]string {
	named := map[string]string{model.MetricNameLabel: "up"}
	maps.Copy(named, t)
	return named
}

// Hole is a stretch of time for which a server has no samples of a target.
type Hole struct {
	Target Target
	// From and To are the timestamps of the last successful scrape before and of the first one
	// after the stretch, in milliseconds since the Unix epoch. To is End while the target is down.
	From, To int64
}

// Sample is a sample of a series named up.
type Sample struct {
	At int64 // in milliseconds since the Unix epoch
	Up bool
}

// stretch is a Hole without its target.
type stretch struct{ from, to int64 }

// scrapeSlack is how much later than expected a sample may be there.
const scrapeSlack = 5 * time.Second

// holesIn returns the stretches without a successful scrape among the samples of a target between
// since and until, in milliseconds since the Unix epoch. Before its first and after its last
// sample, the target does not exist as far as the server knows: that is no hole.
func holesIn(samples []Sample, since, until int64) (list []stretch) {
	if len(samples) == 0 {
		return nil
	}
	interval := usualInterval(samples)
	tolerance := interval*5/2 + scrapeSlack.Milliseconds()
	// An outage that is as old as the samples began before them.
	from, isDown := since, false
	if samples[0].At-since > tolerance {
		from = samples[0].At - interval
	}
	for i, sample := range samples {
		isLate := i > 0 && sample.At-samples[i-1].At > tolerance
		if sample.Up && (isDown || isLate) {
			list = append(list, stretch{from, sample.At})
		}
		if isDown = !sample.Up; sample.Up {
			from = sample.At
		}
	}
	if last := samples[len(samples)-1]; isDown {
		to := End
		if until-last.At > tolerance {
			to = last.At + interval // The target is gone.
		}
		list = append(list, stretch{from, to})
	}
	return list
}

// usualInterval returns the median time between two samples, or a minute.
func usualInterval(samples []Sample) int64 {
	var distances []int64
	for i := 1; i < len(samples); i++ {
		distances = append(distances, samples[i].At-samples[i-1].At)
	}
	if len(distances) == 0 {
		return time.Minute.Milliseconds()
	}
	slices.Sort(distances)
	return distances[len(distances)/2]
}

// joined returns stretches in order, with those that touch as one.
func joined(list []stretch) (merged []stretch) {
	slices.SortFunc(list, func(a, b stretch) int { return cmp.Compare(a.from, b.from) })
	for _, each := range list {
		if last := len(merged) - 1; last >= 0 && merged[last].to > each.from {
			merged[last].to = max(merged[last].to, each.to)
		} else {
			merged = append(merged, each)
		}
	}
	return merged
}

// fewer joins the stretches with the shortest times between them until there are at most so many.
func fewer(list []stretch, most int) []stretch {
	for len(list) > most {
		closest := 0
		for i := range len(list) - 1 {
			if list[i+1].from-list[i].to < list[closest+1].from-list[closest].to {
				closest = i
			}
		}
		list[closest].to = list[closest+1].to
		list = slices.Delete(list, closest+1, closest+2)
	}
	return list
}
