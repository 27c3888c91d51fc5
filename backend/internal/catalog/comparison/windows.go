package comparison

import (
	"slices"
	"time"
)

// gap is a time in which a tier lacks samples that the other tier has. Its ends are
// exclusive, in milliseconds since the Unix epoch.
type gap struct{ from, to int64 }

// countWindows are the overlapping windows over which samples are counted: the window i ends at
// first + i*step, and is two steps long. So every time that is shorter than a step lies
// within a window. All are in milliseconds.
type countWindows struct {
	first, step int64
	count       int
}

// shortestStep is the shortest step of windows.
const shortestStep = 2 * time.Minute

// countWindowsOf returns the windows that cover a time range, with a step of at least shortest.
func countWindowsOf(since, until int64, shortest time.Duration) countWindows {
	const mostWindows = 240
	count := min(max((until-since)/shortest.Milliseconds(), 2), mostWindows)
	step := max((until-since)/count, 1)
	return countWindows{first: until - (count-2)*step, step: step, count: int(count - 1)}
}

// start and end return the bounds of a window. The start is exclusive.
func (w countWindows) start(i int) int64 { return w.end(i) - 2*w.step }
func (w countWindows) end(i int) int64   { return w.first + int64(i)*w.step }

// lackingWindows returns the times of successive windows in which one tier counts fewer
// samples of a series than the other one, by at least a number of samples.
func (w countWindows) lackingWindows(counts, others []int, least func(others int) int) (list []gap) {
	for i := range w.count {
		if others[i]-counts[i] < least(others[i]) {
			continue
		}
		if last := len(list) - 1; last >= 0 && list[last].to >= w.start(i) {
			list[last].to = w.end(i)
		} else {
			list = append(list, gap{w.start(i), w.end(i)})
		}
	}
	return list
}

// gapsBetween returns the times between two samples of one tier in which the other one has
// at least a number of samples. The time before the first sample and after the last one
// count too: there, a gap begins and ends with the bounds.
func gapsBetween(samples, others []int64, bounds gap, least int) (list []gap) {
	from := bounds.from
	for _, to := range append(slices.Clone(samples), bounds.to) {
		first, _ := slices.BinarySearch(others, from+1)
		after, _ := slices.BinarySearch(others, to)
		if after-first >= least {
			list = append(list, gap{from, to})
		}
		from = to
	}
	return list
}

// joined returns the stretches in order, with those that overlap as one.
func joined(list []gap) (merged []gap) {
	slices.SortFunc(list, func(a, b gap) int {
		switch {
		case a.from < b.from:
			return -1
		case a.from > b.from:
			return 1
		}
		return 0
	})
	for _, each := range list {
		if last := len(merged) - 1; last >= 0 && merged[last].to >= each.from {
			merged[last].to = max(merged[last].to, each.to)
		} else {
			merged = append(merged, each)
		}
	}
	return merged
}

// medianDistance returns the median time between two samples, or zero for fewer than two.
func medianDistance(samples []int64) time.Duration {
	if len(samples) < 2 {
		return 0
	}
	distances := make([]int64, 0, len(samples)-1)
	for i := 1; i < len(samples); i++ {
		distances = append(distances, samples[i]-samples[i-1])
	}
	slices.Sort(distances)
	return time.Duration(distances[len(distances)/2]) * time.Millisecond
}
