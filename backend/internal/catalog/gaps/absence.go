package gaps

import (
	"math"
	"slices"
	"time"
)

// absence is a time without samples of a series, in milliseconds since the Unix epoch. from is
// the timestamp of the last sample before it, or math.MinInt64 without one, and to is that of
// the first sample after it.
type absence struct{ from, to int64 }

const (
	// intervalsAround is the number of distances between samples by which the scrape interval at
	// an end of a series is measured.
	intervalsAround = 5
	// distancesAround is the number of equally long distances that count as a scrape interval.
	distancesAround = 3
)

// tolerance returns the longest time between two samples of a series that is not a gap.
func tolerance(interval int64) int64 { return 2*interval + interval/2 }

// intervalOf returns the usual time between two samples in milliseconds, or zero if there are
// fewer than three samples. Of two equally usual ones, it returns the shorter.
func intervalOf(times []int64) int64 {
	if len(times) < 3 {
		return 0
	}
	distances := make([]int64, len(times)-1)
	for i := range distances {
		distances[i] = times[i+1] - times[i]
	}
	slices.Sort(distances)
	return distances[(len(distances)-1)/2]
}

// newestInterval and oldestInterval return the interval at the ends of a series.
func newestInterval(times []int64) int64 {
	return intervalOf(times[max(0, len(times)-intervalsAround-1):])
}

func oldestInterval(times []int64) int64 {
	return intervalOf(times[:min(len(times), intervalsAround+1)])
}

// intervalAround returns the scrape interval around the distance after times[at]: the longest one
// that distances next to each other, this one among them, do not fall below. An outage is longer
// than its neighbours, and a changed interval is not.
func intervalAround(times []int64, at int) (interval int64) {
	distances := min(distancesAround, len(times)-1)
	if distances < 2 {
		return 0
	}
	for first := max(0, at-distances+1); first <= at && first+distances < len(times); first++ {
		shortest := int64(math.MaxInt64)
		for i := first; i < first+distances; i++ {
			shortest = min(shortest, times[i+1]-times[i])
		}
		interval = max(interval, shortest)
	}
	return interval
}

// absences returns the times between bottom and top in which a series has no samples although
// it should have some. A distance between two samples is no absence if it suits the scrape
// interval around it, so that a changed interval is none. interval applies where
// there are too few samples to judge by.
func absences(times []int64, interval, bottom, top int64) []absence {
	var found []absence
	add := func(from, to, interval int64) {
		if to = min(to, top); to-max(from, bottom) > tolerance(interval) {
			found = append(found, absence{from, to})
		}
	}
	if len(times) == 0 {
		add(math.MinInt64, top, interval)
		return found
	}
	add(math.MinInt64, times[0], usual(oldestInterval(times), interval))
	for i := range len(times) - 1 {
		add(times[i], times[i+1], usual(intervalAround(times, i), interval))
	}
	add(times[len(times)-1], top, usual(newestInterval(times), interval))
	return found
}

func usual(measured, otherwise int64) int64 {
	if measured > 0 {
		return measured
	}
	return otherwise
}

// intersect returns the times in both of two sorted lists.
func intersect(a, b []absence) []absence {
	var both []absence
	for _, first := range a {
		for _, second := range b {
			if common := (absence{max(first.from, second.from), min(first.to, second.to)}); common.from < common.to {
				both = append(both, common)
			}
		}
	}
	return both
}

// milliseconds returns a duration in milliseconds.
func milliseconds(duration time.Duration) int64 { return duration.Milliseconds() }
