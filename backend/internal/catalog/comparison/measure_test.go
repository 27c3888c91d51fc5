package comparison

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

const (
	second, minute, hour, day = time.Second, time.Minute, time.Hour, 24 * time.Hour
	ahead                     = catalogtest.Ahead
)

// loads are times in which a Prometheus has samples of a metric, before now: from, to, from, to and so on.
func loads(every time.Duration, times ...time.Duration) (parts []catalogtest.Wrote) {
	for i := 0; i < len(times); i += 2 {
		parts = append(parts, catalogtest.Wrote{From: times[i], To: times[i+1], Jobs: []string{"a"}, Metric: "load", Every: every})
	}
	return parts
}

// ofJob changes the series that has the samples.
func ofJob(job string, parts []catalogtest.Wrote) []catalogtest.Wrote {
	for i := range parts {
		parts[i].Jobs = []string{job}
	}
	return parts
}

// lack is a stretch as times before now. beginning and end stand for no bound.
type lack struct{ from, to time.Duration }

const (
	beginning = 1000 * day
	end       = -1000 * day
)

// measurerOf returns a measurer of two worlds whose series have the same labels.
func measurerOf(t *testing.T, now time.Time, hot, cold []catalogtest.Wrote) *measurer {
	t.Helper()
	return &measurer{
		hot:  sampleQuestions{catalogtest.Asking(t, catalogtest.MemoryOf(t, now, hot...))},
		cold: sampleQuestions{catalogtest.Asking(t, catalogtest.MemoryOf(t, now, cold...))}, mapping: &Mapping{}, least: leastMissing,
	}
}

// requireLacks compares stretches whose ends may differ by a time.
func requireLacks(t *testing.T, now time.Time, within time.Duration, expected []lack, found []gap) {
	t.Helper()
	require.Len(t, found, len(expected), "%v", found)
	requireEnd := func(ago time.Duration, at int64) {
		switch ago {
		case beginning:
			require.Equal(t, tier.Beginning, at)
		case end:
			require.Equal(t, tier.End, at)
		default:
			require.WithinDuration(t, now.Add(-ago), time.UnixMilli(at), within)
		}
	}
	for i, each := range expected {
		requireEnd(each.from, found[i].from)
		requireEnd(each.to, found[i].to)
	}
}

// TestMeasure_FindsWhatEachTierLacks measures six hours.
func TestMeasure_FindsWhatEachTierLacks(t *testing.T) {
	now := time.Now().Truncate(minute)
	every := 30 * second
	all := loads(every, 6*hour, ahead)
	var holes []time.Duration // ten of them
	var expected []lack
	for from := 6 * hour; from > 30*minute; from -= 30 * minute {
		holes = append(holes, from, from-20*minute)
		expected = append(expected, lack{from - 20*minute, from - 30*minute})
	}
	for name, test := range map[string]struct {
		hot, cold         []catalogtest.Wrote
		hotLacks, lacking []lack // lacking is what cold does
		within            time.Duration
	}{
		"both have all":                    {hot: all, cold: all},
		"cold has a hole":                  {hot: all, cold: loads(every, 6*hour, 150*minute, 90*minute, ahead), lacking: []lack{{150 * minute, 90 * minute}}},
		"cold has a long hole":             {hot: all, cold: loads(every, 6*hour, 5*hour, 37*minute, ahead), lacking: []lack{{5 * hour, 37 * minute}}},
		"cold has a hole of three samples": {hot: all, cold: loads(every, 6*hour, 92*minute, 90*minute, ahead), lacking: []lack{{92 * minute, 90 * minute}}},
		"cold lacks one sample":            {hot: all, cold: loads(every, 6*hour, 90*minute+every, 90*minute, ahead)},
		"cold has many holes":              {hot: all, cold: loads(every, append(holes, 30*minute, ahead)...), lacking: expected, within: 5 * minute},
		"hot has a hole":                   {hot: loads(every, 6*hour, 150*minute, 90*minute, ahead), cold: all, hotLacks: []lack{{150 * minute, 90 * minute}}},
		"each has a hole": {
			hot: loads(every, 6*hour, 2*hour, hour, ahead), cold: loads(every, 6*hour, 5*hour, 4*hour, ahead), hotLacks: []lack{{2 * hour, hour}}, lacking: []lack{{5 * hour, 4 * hour}},
		},
		"cold never got it":                      {hot: all, cold: []catalogtest.Wrote{{From: 6 * hour, To: ahead, Jobs: []string{"a"}}}, lacking: []lack{{beginning, end}}},
		"cold does not have it yet":              {hot: loads(every, 2*every, ahead), cold: []catalogtest.Wrote{{From: 6 * hour, To: ahead, Jobs: []string{"a"}}}, lacking: []lack{{6 * hour, end}}, within: 5 * minute},
		"cold gets it no more":                   {hot: all, cold: loads(every, 6*hour, 2*hour), lacking: []lack{{2 * hour, end}}},
		"the newest samples are on their way":    {hot: all, cold: loads(every, 6*hour, every)},
		"hot has it for a shorter time":          {hot: loads(every, 20*minute, ahead), cold: loads(every, 2*day, ahead), hotLacks: []lack{{beginning, 20 * minute}}},
		"cold has it for a shorter time":         {hot: all, cold: loads(every, hour, ahead), lacking: []lack{{6 * hour, hour}}, within: 5 * minute},
		"cold had it some hours before":          {hot: all, cold: loads(every, 12*hour, 10*hour, hour, ahead), lacking: []lack{{10 * hour, hour}}, within: 2 * minute},
		"cold had it some days before":           {hot: all, cold: loads(every, 6*day, 5*day, hour, ahead), lacking: []lack{{5 * day, hour}}, within: 2 * hour},
		"a slow metric, and cold has a hole":     {hot: loads(5*minute, 6*hour, ahead), cold: loads(5*minute, 6*hour, 3*hour, 2*hour, ahead), lacking: []lack{{3 * hour, 2 * hour}}, within: 6 * minute},
		"cold has other series only":             {hot: all, cold: ofJob("b", loads(every, 6*hour, ahead))},
		"cold lacks one of two series":           {hot: append(ofJob("b", loads(every, 6*hour, ahead)), all...), cold: all, lacking: []lack{{6 * hour, end}}, within: 5 * minute},
		"cold had it days before, and not since": {hot: all, cold: loads(every, 10*day, 9*day), lacking: []lack{{9 * day, end}}, within: 2 * hour},
		"hot never got it":                       {hot: ofJob("b", loads(every, 6*hour, ahead)), cold: append(ofJob("b", loads(every, 6*hour, ahead)), all...), hotLacks: []lack{{beginning, end}}},
		"hot has nothing of it":                  {hot: []catalogtest.Wrote{{From: 6 * hour, To: ahead, Jobs: []string{"a"}}}, cold: all, hotLacks: []lack{{beginning, end}}},
		"neither has it for a while, then hot":   {hot: loads(every, 6*hour, 4*hour, 2*hour, ahead), cold: loads(every, 6*hour, 4*hour), lacking: []lack{{4 * hour, end}}},
		"neither has it for a while, then cold":  {hot: loads(every, 6*hour, 4*hour), cold: loads(every, 6*hour, 4*hour, 2*hour, ahead), hotLacks: []lack{{4 * hour, end}}},
		"hot has it, then neither, then both":    {hot: loads(every, 5*hour, 4*hour, 2*hour, ahead), cold: loads(every, 2*hour, ahead), lacking: []lack{{6 * hour, 2 * hour}}, within: hour + 5*minute},
		"cold has it, then neither, then both":   {hot: loads(every, 2*hour, ahead), cold: loads(every, 5*hour, 4*hour, 2*hour, ahead), hotLacks: []lack{{beginning, 2 * hour}}},
		"neither has it":                         {hot: ofJob("b", loads(every, 10*day, 9*day)), cold: ofJob("b", loads(every, 10*day, 9*day))},
		"a series of before, replaced in both":   {hot: append(ofJob("b", loads(every, 6*hour, 3*hour)), loads(every, 3*hour, ahead)...), cold: append(ofJob("b", loads(every, 6*hour, 3*hour)), loads(every, 3*hour, ahead)...)},
	} {
		t.Run(name, func(t *testing.T) {
			made, err := measurerOf(t, now, test.hot, test.cold).measure(t.Context(), "load", now.Add(-6*hour).UnixMilli(), now.UnixMilli())
			require.NoError(t, err)
			within := max(test.within, minute)
			requireLacks(t, now, within, test.hotLacks, made.hotLacks)
			requireLacks(t, now, within, test.lacking, made.coldLacks)
		})
	}
}

// Where cold merges replicas, it drops samples where it changes from one to the other.
func TestMeasure_DeduplicationDropsSamples(t *testing.T) {
	now, every := time.Now().Truncate(minute), 30*second
	for _, test := range []struct {
		hole  time.Duration
		lacks []lack
	}{{3 * every, nil}, {10 * every, []lack{{hour + 10*every, hour}}}} {
		made := measurerOf(t, now, loads(every, 6*hour, ahead), loads(every, 6*hour, hour+test.hole, hour, ahead))
		made.least = leastDeduplicated
		found, err := made.measure(t.Context(), "load", now.Add(-6*hour).UnixMilli(), now.UnixMilli())
		require.NoError(t, err)
		requireLacks(t, now, minute, test.lacks, found.coldLacks)
	}
}

// What is measured besides serves the renewals.
func TestMeasure_NotesWhatRenewalsNeed(t *testing.T) {
	now := time.Now().Truncate(minute)
	for name, test := range map[string]struct {
		parts    []catalogtest.Wrote
		interval time.Duration
		current  bool
	}{
		"a metric that is scraped": {loads(30*second, 6*hour, ahead), 30 * second, true},
		"a slow one":               {loads(5*minute, 6*hour, ahead), 5 * minute, true},
		"one that has ended":       {loads(30*second, 6*hour, hour), 30 * second, false},
	} {
		t.Run(name, func(t *testing.T) {
			made, err := measurerOf(t, now, test.parts, test.parts).measure(t.Context(), "load", now.Add(-6*hour).UnixMilli(), now.UnixMilli())
			require.NoError(t, err)
			require.InDelta(t, test.interval, made.interval, float64(test.interval)/4)
			require.Equal(t, test.current, made.current != nil)
			require.Len(t, made.canaries, 1, "the same series of both tiers counts once")
			require.Equal(t, []int64{now.Add(-6 * hour).UnixMilli(), now.UnixMilli(), now.UnixMilli()}, []int64{made.since, made.until, made.measured})
		})
	}
}

// If one request fails, or its answer may lack something, nothing is known.
func TestMeasure_FailsIfARequestDoes(t *testing.T) {
	now, every := time.Now().Truncate(minute), 30*second
	all := loads(every, 6*hour, ahead)
	for name, worlds := range map[string][2][]catalogtest.Wrote{
		"holes":               {loads(every, 6*hour, 2*hour, hour, ahead), loads(every, 6*hour, 5*hour, 150*minute, 30*minute, 20*minute, ahead)},
		"days before":         {all, loads(every, 6*day, 5*day, hour, ahead)},
		"cold never":          {all, nil},
		"neither for a while": {loads(every, 6*hour, 4*hour, 3*hour, 2*hour), loads(every, 6*hour, 4*hour, hour, ahead)},
		"hot has begun":       {loads(every, 20*minute, ahead), loads(every, 2*day, ahead)},
	} {
		hot, cold := catalogtest.MemoryOf(t, now, worlds[0]...), catalogtest.MemoryOf(t, now, worlds[1]...)
		for _, isPartial := range []bool{false, true} {
			for _, ofHot := range []bool{false, true} {
				for number, isReached := int64(1), true; isReached; number++ {
					var count atomic.Int64
					at := map[bool]string{true: hot, false: cold}
					at[ofHot] = catalogtest.Failing(t, at[ofHot], number, isPartial, &count)
					m := &measurer{hot: sampleQuestions{catalogtest.Asking(t, at[true])}, cold: sampleQuestions{catalogtest.Asking(t, at[false])}, mapping: &Mapping{}, least: leastMissing}
					_, err := m.measure(t.Context(), "load", now.Add(-6*hour).UnixMilli(), now.UnixMilli())
					if isReached = number <= count.Load(); isReached {
						require.Error(t, err, "%s, partial %t, of hot %t, request %d", name, isPartial, ofHot, number)
					}
				}
			}
		}
	}
}

// Samples that are on their way are not missing.
func TestMeasure_WhatIsOnItsWay(t *testing.T) {
	now, every := time.Now().Truncate(minute), 30*second
	for _, test := range []struct {
		ends  time.Duration
		lacks int
	}{{every, 0}, {5 * every, 1}} {
		until := now.Add(10 * second)
		made, err := measurerOf(t, now, loads(every, 6*hour, ahead), loads(every, 6*hour, test.ends)).measure(t.Context(), "load", now.Add(-6*hour).UnixMilli(), until.UnixMilli())
		require.NoError(t, err)
		require.Len(t, made.coldLacks, test.lacks)
	}
}

// Where many series have many holes, the ends of some of them are looked for.
func TestMeasure_TakesABoundedNumberOfRequests(t *testing.T) {
	now := time.Now().Truncate(minute)
	var holes []time.Duration
	for from := 6 * hour; from > 20*minute; from -= 20 * minute {
		holes = append(holes, from, from-10*minute)
	}
	jobs := []string{"a", "b", "c"}
	all, parts := catalogtest.Wrote{From: 6 * hour, To: ahead, Jobs: jobs, Metric: "load"}, loads(0, append(holes, 20*minute, ahead)...)
	for i := range parts {
		parts[i].Jobs = jobs
	}
	var requests atomic.Int64
	m := measurerOf(t, now, []catalogtest.Wrote{all}, nil)
	m.cold = sampleQuestions{catalogtest.Asking(t, catalogtest.Failing(t, catalogtest.MemoryOf(t, now, parts...), -1, false, &requests))}
	made, err := m.measure(t.Context(), "load", now.Add(-6*hour).UnixMilli(), now.UnixMilli())
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(made.coldLacks), mostRefined)
	require.LessOrEqual(t, requests.Load(), int64(4+4*mostRefined))
}

func TestLeastOf_MoreWhereColdDropsSamples(t *testing.T) {
	for _, test := range []struct{ least, count, expected int }{{leastMissing, 1000, 2}, {leastDeduplicated, 1000, 20}, {leastDeduplicated, 10, 4}} {
		require.Equal(t, test.expected, (&measurer{least: test.least}).leastOf(test.count))
	}
}
