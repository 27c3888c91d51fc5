package comparison

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// over returns a comparer of two worlds whose series have the same labels, and the number of requests
// to cold.
func over(t *testing.T, now time.Time, hot, cold []catalogtest.Wrote, change ...func(*State)) (*Comparer, *atomic.Int64) {
	t.Helper()
	requests := &atomic.Int64{}
	return New(Options{
		Hot: catalogtest.Asking(t, catalogtest.MemoryOf(t, now, hot...)), ProbeInterval: 5 * second, LearnInterval: minute,
		Cold: catalogtest.Asking(t, catalogtest.Failing(t, catalogtest.MemoryOf(t, now, cold...), -1, false, requests)),
		State: func(now time.Time) State {
			state := State{
				Mapping: &Mapping{}, ScrapeInterval: 30 * second,
				Hot: tier.State{Available: true, Oldest: now.Add(-6 * hour).UnixMilli()}, Cold: tier.State{Available: true, Newest: now.UnixMilli()},
			}
			for _, each := range change {
				each(&state)
			}
			return state
		},
	}), requests
}

func TestColdEnd_IsThatOfSeriesThatHotHasNow(t *testing.T) {
	now := time.Now().Truncate(minute)
	up := func(from, to time.Duration) catalogtest.Wrote {
		return catalogtest.Wrote{From: from, To: to, Jobs: []string{"a"}}
	}
	load := func(from, to time.Duration) catalogtest.Wrote { return loads(0, from, to)[0] }
	for name, test := range map[string]struct {
		hot, cold []catalogtest.Wrote
		ago       time.Duration // of the newest sample; negative if it is not found
		change    func(*State)
	}{
		"cold has all":                     {hot: []catalogtest.Wrote{up(6*hour, ahead)}, cold: []catalogtest.Wrote{up(6*hour, ahead)}},
		"it lags":                          {hot: []catalogtest.Wrote{up(6*hour, ahead)}, cold: []catalogtest.Wrote{up(6*hour, 2*hour)}, ago: 2 * hour},
		"it lags by days":                  {hot: []catalogtest.Wrote{up(6*hour, ahead)}, cold: []catalogtest.Wrote{up(20*day, 9*day)}, ago: 9 * day},
		"it lags, and has no up":           {hot: []catalogtest.Wrote{up(6*hour, ahead), load(6*hour, ahead)}, cold: []catalogtest.Wrote{load(6*hour, 2*hour)}, ago: 2 * hour},
		"it gets up no more":               {hot: []catalogtest.Wrote{up(6*hour, ahead), load(6*hour, ahead)}, cold: []catalogtest.Wrote{up(6*hour, hour), load(6*hour, ahead)}},
		"hot has only other series of up":  {hot: []catalogtest.Wrote{load(6*hour, ahead)}, cold: []catalogtest.Wrote{up(6*hour, hour), load(6*hour, ahead)}},
		"hot's series of up have ended":    {hot: []catalogtest.Wrote{up(6*hour, 4*minute), load(6*hour, ahead)}, cold: []catalogtest.Wrote{up(6*hour, 4*minute), load(6*hour, ahead)}},
		"cold has only a series of others": {hot: []catalogtest.Wrote{up(6*hour, ahead)}, cold: []catalogtest.Wrote{{From: 6 * hour, To: ahead, Jobs: []string{"b"}}}},
		"cold is empty":                    {hot: []catalogtest.Wrote{up(6*hour, ahead)}, ago: -1},
		"cold is down":                     {hot: []catalogtest.Wrote{up(6*hour, ahead)}, cold: []catalogtest.Wrote{up(6*hour, ahead)}, ago: -1, change: func(s *State) { s.Cold.Available = false }},
		"hot's labels in cold are unknown": {hot: []catalogtest.Wrote{up(6*hour, ahead)}, cold: []catalogtest.Wrote{up(6*hour, ahead)}, ago: -1, change: func(s *State) { s.Mapping = nil }},
	} {
		t.Run(name, func(t *testing.T) {
			changes := []func(*State){}
			if test.change != nil {
				changes = append(changes, test.change)
			}
			c, _ := over(t, now, test.hot, test.cold, changes...)
			newest, found := NewColdEnd(c).Measure(t.Context(), 0, false, now)
			require.Equal(t, test.ago >= 0, found)
			if found {
				// The search ends ten minutes before the end.
				require.WithinDuration(t, now.Add(-test.ago), time.UnixMilli(newest), 10*minute+30*second)
				require.False(t, time.UnixMilli(newest).After(now.Add(-test.ago)))
			}
		})
	}
}

// The end of a cold tier that lags is searched for once a minute.
func TestColdEnd_IsSearchedForSeldom(t *testing.T) {
	now := time.Now().Truncate(minute)
	c, requests := over(t, now, []catalogtest.Wrote{{From: 6 * hour, To: ahead, Jobs: []string{"a"}}}, []catalogtest.Wrote{{From: 6 * hour, To: 2 * hour, Jobs: []string{"a"}}})
	e := NewColdEnd(c)
	measure := func(previous int64, after time.Duration) (newest, asked int64) {
		before := requests.Load()
		newest, found := e.Measure(t.Context(), previous, true, now.Add(after))
		require.True(t, found)
		return newest, requests.Load() - before
	}
	first, asked := measure(0, 0)
	require.Greater(t, asked, int64(5))
	again, asked := measure(first, 20*second)
	require.Equal(t, []int64{first, 1}, []int64{again, asked})
	again, asked = measure(first, 59*second)
	require.Equal(t, first, again)
	require.LessOrEqual(t, asked, int64(3), "the end is not searched for, but better series are looked for")
	again, asked = measure(first, 60*second)
	require.GreaterOrEqual(t, again, first)
	require.Greater(t, asked, int64(3))
	later := now.Add(-hour).UnixMilli()
	again, _ = measure(later, 61*second)
	require.Equal(t, later, again, "an end never moves back")
}

func TestColdEnd_ScrapeIntervalOfColdsSeries(t *testing.T) {
	now := time.Now().Truncate(minute)
	slow := catalogtest.Wrote{From: 6 * hour, To: ahead, Jobs: []string{"a"}, Every: 2 * minute}
	c, _ := over(t, now, []catalogtest.Wrote{{From: 6 * hour, To: ahead, Jobs: []string{"a"}}}, []catalogtest.Wrote{slow, {From: 6 * hour, To: ahead, Jobs: []string{"b"}, Every: 4 * minute}})
	e := NewColdEnd(c)
	interval, err := e.MeasureInterval(t.Context(), now)
	require.NoError(t, err)
	require.Equal(t, 4*minute, interval, "of all series named up, as long as none is chosen")
	e.Measure(t.Context(), 0, false, now)
	interval, err = e.MeasureInterval(t.Context(), now)
	require.NoError(t, err)
	require.Equal(t, 2*minute, interval)
}

func TestCompareMetric_OnlyWhatBothTiersAnswerCompletely(t *testing.T) {
	now := time.Now().Truncate(minute)
	all, hole := loads(0, 6*hour, ahead), loads(0, 6*hour, hour+90*second, hour, ahead)
	for name, test := range map[string]struct {
		change func(*State)
		reach  time.Duration
		known  bool
		lacks  int
		since  time.Duration // before now
	}{
		"all of hot's coverage":     {known: true, lacks: 1, since: 6 * hour},
		"an hour":                   {reach: hour, known: true, since: hour + hour/8, lacks: 1},
		"more than hot's coverage":  {reach: day, known: true, lacks: 1, since: 6 * hour},
		"cold drops samples":        {change: func(s *State) { s.Deduplicates = true }, known: true, since: 6 * hour},
		"hot is down":               {change: func(s *State) { s.Hot.Available = false }},
		"cold is down":              {change: func(s *State) { s.Cold.Available = false }},
		"cold has lost a store":     {change: func(s *State) { s.Cold.Notes = []tier.Note{tier.PublicNote("a store is gone")} }},
		"labels are not known":      {change: func(s *State) { s.Mapping = nil }},
		"hot's coverage is unknown": {change: func(s *State) { s.Hot.Oldest = tier.NothingCovered }},
	} {
		t.Run(name, func(t *testing.T) {
			changes := []func(*State){}
			if test.change != nil {
				changes = append(changes, test.change)
			}
			c, _ := over(t, now, all, hole, changes...)
			made := c.compareMetric(t.Context(), "load", test.reach)
			require.Equal(t, test.known, made != nil)
			if test.known {
				require.Len(t, made.coldLacks, test.lacks)
				require.WithinDuration(t, time.Now().Add(-test.since), time.UnixMilli(made.since), minute)
			}
		})
	}
}

// TestRenew_ComparesAgainWhatHasChanged compares once in one world, and looks again in another one.
func TestRenew_ComparesAgainWhatHasChanged(t *testing.T) {
	now := time.Now()
	all := loads(0, 6*hour, ahead)
	hole, ended := loads(0, 6*hour, 7*minute, 4*minute, ahead), loads(0, 6*hour, 3*hour)
	for name, test := range map[string]struct {
		hot, cold       []catalogtest.Wrote
		hotNow, coldNow []catalogtest.Wrote
		again           bool
	}{
		"nothing":                         {hot: all, cold: all, hotNow: all, coldNow: all},
		"cold has a new hole":             {hot: all, cold: all, hotNow: all, coldNow: hole, again: true},
		"hot has a new hole":              {hot: all, cold: all, hotNow: hole, coldNow: all, again: true},
		"cold still has its hole":         {hot: all, cold: hole, hotNow: all, coldNow: hole},
		"hot still has its hole":          {hot: hole, cold: all, hotNow: hole, coldNow: all},
		"both have another hole":          {hot: all, cold: hole, hotNow: hole, coldNow: all, again: true},
		"cold gets it no more":            {hot: all, cold: all, hotNow: all, coldNow: loads(0, 6*hour, 5*minute), again: true},
		"cold still does not get it":      {hot: all, cold: ended, hotNow: all, coldNow: ended},
		"cold gets it again":              {hot: all, cold: ended, hotNow: all, coldNow: append(loads(0, 6*hour, 3*hour), loads(0, 5*minute, ahead)...), again: true},
		"another hole besides an old one": {hot: all, cold: loads(0, 6*hour, 3*hour, 2*hour, ahead), hotNow: all, coldNow: loads(0, 6*hour, 3*hour, 2*hour, 7*minute, 4*minute, ahead), again: true},
		"hot gets it no more, either":     {hot: all, cold: ended, hotNow: loads(0, 6*hour, 8*minute), coldNow: ended, again: true},
		"neither gets it any more":        {hot: all, cold: all, hotNow: ended, coldNow: ended, again: true},
	} {
		t.Run(name, func(t *testing.T) {
			before, _ := over(t, now, test.hot, test.cold)
			known := before.compareMetric(t.Context(), "load", 0)
			require.NotNil(t, known)
			known.checked = known.checked.Add(-minute)
			c, _ := over(t, now, test.hotNow, test.coldNow)
			record, later := &comparison{metric: "load", known: known, used: now}, time.Now().Add(second)
			c.comparisons.recent.Add("load", record)
			c.renew(t.Context(), later)
			require.Equal(t, test.again, len(c.comparisons.pending) > 0)
			if !test.again {
				require.Equal(t, later.Add(-minute-ownrequest.Slack).UnixMilli(), record.known.until, "two scrape intervals ago")
			}
		})
	}
}
