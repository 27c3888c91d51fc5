package comparison

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// comparing returns a comparer of two tiers of which it is known that hot has an external label.
func comparing(t *testing.T, hot, cold catalogtest.Answers) (c *Comparer, hotTier, coldTier *catalogtest.Scripted) {
	t.Helper()
	hotTier, coldTier = catalogtest.NewScripted(t, hot), catalogtest.NewScripted(t, cold)
	own := map[string]string{"cluster": "a"}
	return New(Options{
		Hot: catalogtest.Asking(t, hotTier.URL), Cold: catalogtest.Asking(t, coldTier.URL), ProbeInterval: time.Hour, LearnInterval: time.Hour,
		State: func(now time.Time) State {
			return State{
				Mapping: &Mapping{Injected: own, Distinct: own}, ScrapeInterval: 15 * time.Second,
				Hot:  tier.State{Available: true, Oldest: now.Add(-6 * time.Hour).UnixMilli()},
				Cold: tier.State{Available: true, Newest: now.UnixMilli()},
			}
		},
	}), hotTier, coldTier
}

// reading is a request that reads a metric since a time.
func reading(from time.Time, metric string) Read {
	return Read{
		Metrics: []tier.MetricRead{{Name: metric, Written: true}}, From: from.UnixMilli(), IsComparable: true,
		ColdEnd: time.Now().UnixMilli(), Each: func() []promql.Read { return nil },
	}
}

func TestGaps_ReportsTheStretchesThatAreRead(t *testing.T) {
	c, _, _ := comparing(t, nil, nil)
	now := time.Now()
	at := func(ago time.Duration) int64 { return now.Add(-ago).UnixMilli() }
	c.comparisons.recent.Add("x", &comparison{metric: "x", known: &measurement{
		since: at(7 * time.Hour), until: now.UnixMilli(), checked: now,
		coldLacks: []gap{{at(3 * time.Hour), at(2 * time.Hour)}, {at(time.Hour), tier.End}}, hotLacks: []gap{{tier.Beginning, at(5 * time.Hour)}},
	}})
	read := reading(now.Add(-6*time.Hour), "x")
	found := c.Gaps(read, now)
	require.Nil(t, found.Unmeasured)
	require.Equal(t, []tier.Missing{{Metric: "x", From: tier.Beginning, To: at(5 * time.Hour)}}, found.Hot)
	require.Equal(t, []tier.Missing{{Metric: "x", From: at(3 * time.Hour), To: at(2 * time.Hour)}, {Metric: "x", From: at(time.Hour), To: tier.End}}, found.Cold)

	selecting := func(name string) promql.Selector {
		return promql.Selector{labels.MustNewMatcher(labels.MatchEqual, "__name__", name)}
	}
	read.Each = func() []promql.Read {
		return []promql.Read{
			{Selector: selecting("x"), Oldest: at(4 * time.Hour), Newest: at(3*time.Hour + time.Minute)},
			{Selector: selecting("y"), Oldest: at(6 * time.Hour), Newest: at(0)},
			{Selector: selecting("x"), Oldest: at(30 * time.Minute), Newest: at(0)},
		}
	}
	found = c.Gaps(read, now)
	require.Empty(t, found.Hot)
	require.Equal(t, []tier.Missing{{Metric: "x", From: at(time.Hour), To: tier.End}}, found.Cold, "a hole between two reads is not read")

	read.ColdEnd = at(90 * time.Minute)
	require.Empty(t, c.Gaps(read, now).Cold, "it is known that cold ends there")
}

// A tier that does not tell what it has is believed. One that does not answer is not.
func TestGaps_WithoutAnAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		cold       catalogtest.Answers
		unmeasured bool
	}{
		"cold has no such endpoint":      {nil, false},
		"cold fails":                     {catalogtest.Answers{{"/series", ""}}, true},
		"neither has series of the name": {catalogtest.Answers{{"/series", "[]"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, _ := comparing(t, catalogtest.Answers{{"/series", "[]"}}, test.cold)
			record := &comparison{metric: "x", reach: time.Hour, waiting: make(chan struct{})}
			c.comparisons.recent.Add("x", record)
			c.comparisons.finish(record, c.compareMetric(t.Context(), "x", time.Hour))
			found := c.Gaps(reading(time.Now().Add(-30*time.Minute), "x"), time.Now())
			require.Equal(t, test.unmeasured, found.Unmeasured != nil)
			require.Empty(t, append(found.Hot, found.Cold...))
		})
	}
}

// All metrics in use are renewed by few requests, whatever series there are.
func TestRenew_TakesFewRequests(t *testing.T) {
	now := time.Now()
	count := `{"resultType":"matrix","result":[]}`
	c, hot, cold := comparing(t, catalogtest.Answers{{"query_range", count}}, catalogtest.Answers{{"query_range", count}})
	const metrics = 200
	for i := range metrics {
		name := fmt.Sprintf("metric_%d", i)
		set := comparedSeries{hot: fmt.Sprintf(`{__name__=%q, instance="a"}`, name), cold: fmt.Sprintf(`{__name__=%q, cluster="a", instance="a"}`, name)}
		used := now
		if i >= metrics/2 {
			used = now.Add(-inUseFor - time.Second)
		}
		c.comparisons.recent.Add(name, &comparison{metric: name, used: used, known: &measurement{
			until: now.UnixMilli(), measured: now.UnixMilli(), canaries: []comparedSeries{set}, current: &set, interval: 15 * time.Second,
		}})
	}
	c.renew(t.Context(), now)
	for _, of := range []*catalogtest.Scripted{hot, cold} {
		asked := of.Requests("")
		require.NotEmpty(t, asked)
		require.LessOrEqual(t, len(asked), 3)
		for _, each := range asked {
			require.Less(t, len(each), 6*mostQueryBytes, "servers bound the length of a query")
		}
		require.Equal(t, metrics/2, strings.Count(strings.Join(asked, " "), "count_over_time"), "those that no query reads any more are left alone")
	}
	// Where the newest samples are missing, the metrics are compared anew.
	require.Len(t, c.comparisons.pending, metrics/2)
	c.renew(t.Context(), now)
	require.LessOrEqual(t, len(cold.Requests("")), 3, "a tier rests after that")
}

func TestWant_ComparesAsFarBackAsQueriesRead(t *testing.T) {
	p, now := newComparisons(), time.Now()
	require.NotNil(t, p.want("x", now.Add(-30*time.Minute).UnixMilli(), now, time.Minute))
	record, reach, ok := p.take()
	require.True(t, ok)
	require.Equal(t, time.Hour, reach)
	p.finish(record, &measurement{since: now.Add(-time.Hour).UnixMilli(), until: now.UnixMilli(), checked: now})
	require.Nil(t, p.want("x", now.Add(-59*time.Minute).UnixMilli(), now, time.Minute))
	require.NotNil(t, p.want("x", now.Add(-61*time.Minute).UnixMilli(), now, time.Minute), "more is read")
	record, reach, _ = p.take()
	require.Equal(t, 6*time.Hour, reach)
	p.finish(record, nil)
	require.Nil(t, p.want("x", now.Add(-61*time.Minute).UnixMilli(), now, time.Minute), "after a failure it waits a while")
	require.NotNil(t, p.want("x", now.Add(-61*time.Minute).UnixMilli(), now.Add(failedFor+time.Second), time.Hour))
	p.want("x", now.Add(-40*24*time.Hour).UnixMilli(), now, time.Minute)
	_, reach, _ = p.take()
	require.Zero(t, reach, "all of hot's coverage")
	require.NotNil(t, p.want("y", now.UnixMilli(), now, time.Minute))
}

func TestFinish_RemembersOlderHoles(t *testing.T) {
	p := newComparisons()
	record := &comparison{metric: "x", waiting: make(chan struct{}), known: &measurement{coldLacks: []gap{{100, 200}, {250, 350}}}}
	p.finish(record, &measurement{since: 300, coldLacks: []gap{{400, 500}}})
	require.Equal(t, []gap{{100, 200}, {400, 500}}, record.known.coldLacks, "hot no longer covers the first one, and the second one was filled")
}

// countsOf returns an answer to a question for the counts of one series, in every window.
func countsOf(now time.Time, count int) string {
	var values []string
	for ago := 20 * time.Minute; ago >= 0; ago -= time.Second {
		values = append(values, fmt.Sprintf(`[%d,"%d"]`, now.Add(-ago).Unix(), count))
	}
	return fmt.Sprintf(`{"resultType":"matrix","result":[{"metric":{"tierproxy_canary":"0"},"values":[%s]}]}`, strings.Join(values, ","))
}

// After a time without queries, a metric is checked before its last comparison counts again.
func TestWait_ChecksAMetricAfterAPause(t *testing.T) {
	now := time.Now()
	set := comparedSeries{hot: `{__name__="x"}`, cold: `{__name__="x", cluster="a"}`}
	for name, test := range map[string]struct {
		inCold            int
		ago               time.Duration
		checks, measuring int
	}{
		"a moment ago":                         {16, 10 * time.Second, 0, 0},
		"cold still gets its samples":          {16, 4 * time.Minute, 1, 0},
		"cold gets none since":                 {0, 4 * time.Minute, 1, 1},
		"the last check is too long ago":       {16, time.Hour, 0, 1},
		"a metric that is scraped rarely, too": {16, 30 * time.Second, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			series := catalogtest.Answers{{"/series", "[]"}}
			c, hot, cold := comparing(t, append(catalogtest.Answers{{"query_range", countsOf(now, 16)}}, series...), append(catalogtest.Answers{{"query_range", countsOf(now, test.inCold)}}, series...))
			c.options.ProbeInterval = 5 * time.Second
			c.renewals = ownrequest.NewRefresher(5 * time.Second)
			checked := now.Add(-test.ago)
			c.comparisons.recent.Add("x", &comparison{metric: "x", reach: time.Hour, known: &measurement{
				since: now.Add(-time.Hour).UnixMilli(), until: checked.UnixMilli(), measured: now.UnixMilli(), checked: checked, canaries: []comparedSeries{set}, current: &set, interval: time.Minute,
			}})
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { c.Run(ctx); close(done) }()
			for range 2 {
				c.Wait(ctx, []tier.MetricRead{{Name: "x", Written: true}}, now.Add(-time.Minute).UnixMilli())
			}
			stop()
			<-done
			for _, of := range []*catalogtest.Scripted{hot, cold} {
				require.Len(t, of.Requests("query_range"), test.checks)
				require.Equal(t, test.measuring > 0, len(of.Requests("/series")) > 0)
			}
		})
	}
}
