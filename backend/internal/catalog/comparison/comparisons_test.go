package comparison

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

func TestWant_WaitsWithOthersAndIsBounded(t *testing.T) {
	p, now := newComparisons(), time.Now()
	from := now.Add(-minute).UnixMilli()
	first := p.want("x", from, now, minute)
	require.Equal(t, first, p.want("x", from, now, minute), "two queries wait for one comparison")
	require.Len(t, p.pending, 1)
	record, _, ok := p.take()
	require.True(t, ok)
	_, _, ok = p.take()
	require.False(t, ok)
	record.failedAt = now
	require.Equal(t, first, p.want("x", from, now, minute), "one that is under way is waited for, also soon after a failure")
	for i := range mostPending {
		require.NotNil(t, p.want(fmt.Sprint(i), from, now, minute))
	}
	require.Nil(t, p.want("one too many", from, now, minute))
}

func TestWant_AReachNeverShrinks(t *testing.T) {
	p, now := newComparisons(), time.Now()
	for _, ago := range []time.Duration{40 * day, 5 * hour, minute} {
		p.want("x", now.Add(-ago).UnixMilli(), now, minute)
		_, reach, _ := p.take()
		if ago == 40*day {
			require.Zero(t, reach)
		}
	}
	record, _ := p.recent.Peek("x")
	require.Zero(t, record.reach, "all of hot's coverage was wanted before")
	p.want("y", now.Add(-5*hour).UnixMilli(), now, minute)
	p.want("y", now.Add(-minute).UnixMilli(), now, minute)
	record, _ = p.recent.Peek("y")
	require.Equal(t, 6*hour, record.reach)
}

func TestInBoth_NamesMetricsThatColdGets(t *testing.T) {
	p := newComparisons()
	some := []comparedSeries{{}}
	for name, known := range map[string]*measurement{
		"in both": {canaries: some}, "never in cold": {canaries: some, coldLacks: []gap{{tier.Beginning, tier.End}}}, "in neither": {}, "unknown": nil,
	} {
		p.recent.Add(name, &comparison{metric: name, known: known})
	}
	require.Equal(t, []string{"in both"}, p.inBoth(5))
	require.Empty(t, p.inBoth(0))
}

func TestOlderThan_ForgetsWhatHasNoBeginning(t *testing.T) {
	known := &measurement{coldLacks: []gap{{tier.Beginning, 100}, {100, 200}, {300, 400}, {450, 600}}}
	require.Equal(t, []gap{{100, 200}, {300, 400}}, olderThan(known, 400))
	require.Empty(t, olderThan(nil, 400))
}

func TestLacks_OfMetricsInUse(t *testing.T) {
	c, _, _ := comparing(t, nil, nil)
	now := time.Now()
	known := &measurement{coldLacks: []gap{{3, 4}, {1, 2}}, hotLacks: []gap{{5, 6}}}
	c.comparisons.recent.Add("b", &comparison{metric: "b", used: now, known: known})
	c.comparisons.recent.Add("a", &comparison{metric: "a", used: now, known: known})
	c.comparisons.recent.Add("old", &comparison{metric: "old", used: now.Add(-inUseFor), known: known})
	c.comparisons.recent.Add("new", &comparison{metric: "new", used: now})
	require.Equal(t, []tier.Missing{{Metric: "a", From: 5, To: 6}, {Metric: "b", From: 5, To: 6}}, c.Lacks(tier.Hot, now))
	require.Equal(t, []tier.Missing{{Metric: "a", From: 1, To: 2}, {Metric: "a", From: 3, To: 4}, {Metric: "b", From: 1, To: 2}, {Metric: "b", From: 3, To: 4}}, c.Lacks(tier.Cold, now))
}

func TestGaps_SaysWhetherATierFailed(t *testing.T) {
	now := time.Now()
	for name, test := range map[string]struct {
		failedAt time.Time
		cold     catalogtest.Answers
		expected bool
	}{
		"no":                  {},
		"a short while ago":   {failedAt: now, expected: true},
		"a while ago":         {failedAt: now.Add(-2*failedFor - second)},
		"another request did": {cold: catalogtest.Answers{{"/", ""}}, expected: true},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, _ := comparing(t, nil, test.cold)
			if test.cold != nil {
				_, err := sampleQuestions{c.options.Cold}.series(t.Context(), "x", 0, 1, 1)
				require.Error(t, err)
			}
			read := reading(now.Add(-minute), "x")
			read.Metrics = append(read.Metrics, tier.MetricRead{Name: "y", Written: true})
			c.comparisons.recent.Add("x", &comparison{metric: "x", failedAt: test.failedAt})
			found := c.Gaps(read, now)
			require.NotNil(t, found.Unmeasured)
			require.Equal(t, test.expected, found.Failed)
		})
	}
}

// Names that only a pattern matches are shown to those who may see them.
func TestGaps_NamesOfPatterns(t *testing.T) {
	c, _, _ := comparing(t, nil, nil)
	now := time.Now()
	c.comparisons.recent.Add("x", &comparison{metric: "x", known: &measurement{until: now.UnixMilli(), checked: now, hotLacks: []gap{{1, tier.End}}}})
	for _, test := range []struct {
		written, detailed bool
		expected          string
	}{{true, false, "x"}, {false, true, "x"}, {false, false, ""}} {
		read := Read{Metrics: []tier.MetricRead{{Name: "x", Written: test.written}}, Detailed: test.detailed, Each: func() []promql.Read { return nil }}
		require.Equal(t, []tier.Missing{{Metric: test.expected, From: 1, To: tier.End}}, c.Gaps(read, now).Hot)
	}
}

// A hole of cold that has no end yet counts up to the end of cold only.
func TestGaps_UntilTheOldestComparison(t *testing.T) {
	c, _, _ := comparing(t, nil, nil)
	now := time.Now()
	for name, ago := range map[string]time.Duration{"x": minute, "y": second} {
		c.comparisons.recent.Add(name, &comparison{metric: name, known: &measurement{until: now.Add(-ago).UnixMilli(), checked: now.Add(-ago)}})
	}
	read := reading(now.Add(-minute), "x")
	read.Metrics = append(read.Metrics, tier.MetricRead{Name: "y"})
	require.Equal(t, now.Add(-minute).UnixMilli(), c.Gaps(read, now).Until)
	read.Metrics = nil
	require.Equal(t, now.UnixMilli(), c.Gaps(read, now).Until)
}
