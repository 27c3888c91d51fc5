// Package race tells tests whether the race detector is on, which makes them take about six times
// as long. Tests of sequential code that are long because of their sizes do less with it. CI runs
// their packages a second time without it: make test-sizes.
package race

import "time"

// Size returns the size of a test: full without the race detector, and small with it.
func Size(full, small int) int {
	if Enabled {
		return small
	}
	return full
}

// Time is Size for times.
func Time(full, small time.Duration) time.Duration { return time.Duration(Size(int(full), int(small))) }
