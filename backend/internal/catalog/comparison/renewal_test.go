package comparison

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

func TestDueChecks_WhatIsLookedAtAgainAndHow(t *testing.T) {
	now := time.Now()
	at := func(ago time.Duration) int64 { return now.Add(-ago).UnixMilli() }
	current := &comparedSeries{hot: "x", cold: "x"}
	known := func(change func(*measurement)) *measurement {
		made := &measurement{since: at(2*hour + 2*minute), until: at(minute), measured: at(minute), canaries: []comparedSeries{*current}, current: current, interval: 15 * second}
		change(made)
		return made
	}
	const nothing, recent, whole, assumed = "nothing", "recent samples", "all of it", "nothing, and it counts until now"
	for name, test := range map[string]struct {
		record   comparison
		end      time.Duration // of cold, before now
		expected string
	}{
		"in use":                      {record: comparison{known: known(func(*measurement) {})}, expected: recent},
		"not in use any more":         {record: comparison{known: known(func(*measurement) {}), used: now.Add(-inUseFor - second)}, expected: nothing},
		"never measured":              {record: comparison{}, expected: nothing},
		"about to be measured":        {record: comparison{known: known(func(*measurement) {}), waiting: make(chan struct{})}, expected: nothing},
		"two hours, ten minutes ago":  {record: comparison{known: known(func(m *measurement) { m.measured = at(10*minute + second) })}, expected: whole},
		"two hours, nine minutes ago": {record: comparison{known: known(func(m *measurement) { m.measured = at(10*minute - second) })}, expected: recent},
		"days, an hour ago":           {record: comparison{known: known(func(m *measurement) { m.since, m.measured = at(10*day), at(hour+second) })}, expected: whole},
		"days, less than an hour ago": {record: comparison{known: known(func(m *measurement) { m.since, m.measured = at(10*day), at(hour-second) })}, expected: recent},
		"not renewed for five minutes": {record: comparison{known: known(func(m *measurement) {
			m.since, m.measured, m.until = at(10*day), at(5*minute+second), at(5*minute+second)
		})}, expected: whole},
		"no series has samples now": {record: comparison{known: known(func(m *measurement) { m.current = nil })}, expected: assumed},
		"a slow metric":             {record: comparison{known: known(func(m *measurement) { m.interval = renewalWindow/8 + second })}, expected: assumed},
		"cold has moved on": {
			record: comparison{known: known(func(m *measurement) { m.coldLacks = []gap{{at(hour), tier.End}} })}, end: 30 * minute, expected: whole,
		},
		"cold has not": {
			record: comparison{known: known(func(m *measurement) { m.coldLacks = []gap{{at(hour), tier.End}} })}, end: hour, expected: recent,
		},
		"cold reaches to now, and still lacks it": {
			record: comparison{known: known(func(m *measurement) { m.coldLacks = []gap{{at(hour), tier.End}} })}, expected: recent,
		},
		"cold never got it, and moved on": {
			record: comparison{known: known(func(m *measurement) { m.coldLacks = []gap{{tier.Beginning, tier.End}} })}, end: 30 * minute, expected: recent,
		},
		"cold had a hole, and moved on": {
			record: comparison{known: known(func(m *measurement) { m.coldLacks = []gap{{at(hour), at(50 * minute)}} })}, end: 30 * minute, expected: recent,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, _ := comparing(t, nil, nil)
			c.options.LearnInterval, c.options.ProbeInterval = minute, 5*second
			record := test.record
			if record.used.IsZero() {
				record.used = now
			}
			c.comparisons.recent.Add("x", &record)
			checks, before := c.dueChecks(at(test.end), inUseFor, now, now), test.record.known
			got := nothing
			switch {
			case len(c.comparisons.pending) > 0:
				got = whole
			case len(checks) > 0:
				got = recent
			case record.known != before:
				got = assumed
				require.Equal(t, at(0), record.known.until)
			}
			require.Equal(t, test.expected, got)
		})
	}
}

// Of all metrics in use, few are compared as a whole at once. The others wait with their recent samples.
func TestDueChecks_SpreadsWholeComparisons(t *testing.T) {
	c, _, _ := comparing(t, nil, nil)
	c.options.LearnInterval, c.options.ProbeInterval = minute, 5*second
	now := time.Now()
	for i := range 60 {
		c.comparisons.recent.Add(fmt.Sprint(i), &comparison{used: now, known: &measurement{
			until: now.UnixMilli(), checked: now.Add(-time.Duration(i+10) * second), current: &comparedSeries{}, interval: second,
		}})
	}
	checks := c.dueChecks(now.UnixMilli(), inUseFor, now, now)
	require.Len(t, c.comparisons.pending, 1+60*10/60)
	require.Len(t, checks, 60)
	for i := 1; i < len(checks); i++ {
		require.False(t, checks[i-1].known.checked.After(checks[i].known.checked), "the oldest first")
	}
}

func TestRenew_WaitsForTiersThatCanBeCompared(t *testing.T) {
	now := time.Now()
	all := loads(0, 6*hour, ahead)
	for name, prepare := range map[string]func(c *Comparer, s *State){
		"hot rests":             func(c *Comparer, _ *State) { c.options.Hot.Pacer.Rest(hour) },
		"cold rests":            func(c *Comparer, _ *State) { c.options.Cold.Pacer.Rest(hour) },
		"cold is down":          func(_ *Comparer, s *State) { s.Cold.Available = false },
		"cold has lost a store": func(_ *Comparer, s *State) { s.Cold.Notes = []tier.Note{tier.PublicNote("a store is gone")} },
	} {
		t.Run(name, func(t *testing.T) {
			c, requests := over(t, now, all, all)
			state := c.options.State(now)
			prepare(c, &state)
			c.options.State = func(time.Time) State { return state }
			record := &comparison{used: now, known: &measurement{until: now.UnixMilli(), measured: now.UnixMilli(), current: &comparedSeries{hot: "load", cold: "load"}, interval: 30 * second}}
			c.comparisons.recent.Add("load", record)
			c.renew(t.Context(), now.Add(second))
			require.Zero(t, requests.Load())
			require.Empty(t, c.comparisons.pending)
		})
	}
}

// What was measured during a renewal stays. A renewal that fails changes nothing.
func TestCheckRecent_ChangesOnlyWhatItLookedAt(t *testing.T) {
	now := time.Now()
	all := loads(0, 6*hour, ahead)
	known, canary := &measurement{until: now.UnixMilli()}, comparedSeries{hot: "load", cold: "load"}
	for name, test := range map[string]struct {
		record  comparison
		cold    catalogtest.Answers
		renewed bool
	}{
		"as it was":            {comparison{known: known}, nil, true},
		"measured meanwhile":   {comparison{known: &measurement{}}, nil, false},
		"about to be measured": {comparison{known: known, waiting: make(chan struct{})}, nil, true},
		"cold does not answer": {comparison{known: known}, catalogtest.Answers{{"query_range", ""}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := over(t, now, all, all)
			if test.cold != nil {
				c.options.Cold = catalogtest.Asking(t, catalogtest.NewScripted(t, test.cold).URL)
			}
			state, record := c.options.State(now), test.record
			err := c.checkRecent(t.Context(), &state, []recentCheck{{&record, known, canary}}, now.Add(-2*state.ScrapeInterval-ownrequest.Slack), now)
			require.Equal(t, test.cold != nil, err != nil)
			require.Equal(t, test.renewed, record.known != test.record.known)
			require.Empty(t, c.comparisons.pending)
		})
	}
}
