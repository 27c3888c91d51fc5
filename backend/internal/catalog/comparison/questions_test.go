package comparison

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// Counts that no selector or window asks for are no answer, or left out.
func TestCounts_OfWhatWasAskedFor(t *testing.T) {
	over := countWindows{first: 100_000, step: 10_000, count: 3}
	for name, test := range map[string]struct {
		canary, values string
		expected       []int // of the second selector; nil for an error
	}{
		"all windows":       {"1", `[100,"4"],[110,"5"],[120,"6"]`, []int{4, 5, 6}},
		"one of them":       {"1", `[110,"5"]`, []int{0, 5, 0}},
		"other times":       {"1", `[99,"1"],[130,"1"]`, []int{0, 0, 0}},
		"no number":         {"1", `[110,"x"]`, []int{0, 0, 0}},
		"a bad time":        {"1", `["x","5"]`, nil},
		"no pair":           {"1", `7`, nil},
		"another series":    {"2", `[110,"5"]`, nil},
		"a negative series": {"-1", `[110,"5"]`, nil},
		"no such label":     {"", `[110,"5"]`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			answer := fmt.Sprintf(`{"resultType":"matrix","result":[{"metric":{%q:%q},"values":[%s]}]}`, canaryLabel, test.canary, test.values)
			q := sampleQuestions{catalogtest.Asking(t, catalogtest.NewScripted(t, catalogtest.Answers{{"query_range", answer}}).URL)}
			counts, err := q.counts(t.Context(), []string{"x", "y"}, over)
			require.Equal(t, test.expected == nil, err != nil)
			if err == nil {
				require.Equal(t, [][]int{{0, 0, 0}, test.expected}, counts)
			}
		})
	}
}

// A Prometheus warns of the limit. Any other warning says that something may be missing.
func TestSeries_WarningOfTheLimit(t *testing.T) {
	now := time.Now().Truncate(minute)
	q := sampleQuestions{catalogtest.Asking(t, catalogtest.MemoryOf(t, now, catalogtest.Wrote{From: hour, To: ahead, Jobs: []string{"a", "b", "c"}}))}
	for limit, expected := range map[int]int{2: 2, 3: 3, 4: 3} {
		list, err := q.series(t.Context(), "up", now.Add(-hour).UnixMilli(), now.UnixMilli(), limit)
		require.NoError(t, err)
		require.Len(t, list, expected)
	}
}

func TestNewestSample_NoneSinceATime(t *testing.T) {
	now := time.Now().Truncate(minute)
	address := catalogtest.MemoryOf(t, now, catalogtest.Wrote{From: 9 * hour, To: 3 * hour, Jobs: []string{"a"}})
	q := sampleQuestions{catalogtest.Asking(t, address)}
	newest, found, err := q.newestSample(t.Context(), "timestamp(up)", now, now.Add(-day).UnixMilli())
	require.NoError(t, err)
	require.True(t, found)
	require.WithinDuration(t, now.Add(-3*hour), time.UnixMilli(newest), 10*minute)
	_, found, err = q.newestSample(t.Context(), "timestamp(up)", now, now.Add(-2*hour).UnixMilli())
	require.NoError(t, err)
	require.False(t, found)
	_, _, err = q.newestSample(t.Context(), "timestamp(", now, now.Add(-day).UnixMilli())
	require.Error(t, err)
}

// A query waits for comparisons as long as it may, and not at all for a tier that failed.
func TestWait_UntilMetricsAreComparedOrATierFails(t *testing.T) {
	for name, test := range map[string]struct {
		compares bool
		known    bool
		fails    func(c *Comparer) ownrequest.Client
		waits    time.Duration
	}{
		"they are compared": {compares: true},
		"they are known":    {known: true},
		"they are not":      {waits: 500 * time.Millisecond},
		"hot has failed":    {fails: func(c *Comparer) ownrequest.Client { return c.options.Hot }},
		"cold has failed":   {fails: func(c *Comparer) ownrequest.Client { return c.options.Cold }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				down := catalogtest.Answers{{"/", ""}}
				c := New(Options{
					Hot:  ownrequest.NewClient(ownrequest.Options{Upstream: catalogtest.PipeClient(t, down)}),
					Cold: ownrequest.NewClient(ownrequest.Options{Upstream: catalogtest.PipeClient(t, down)}),
				})
				if test.fails != nil {
					_, err := sampleQuestions{test.fails(c)}.series(t.Context(), "x", 0, 1, 1)
					require.Error(t, err)
				}
				if test.known {
					c.comparisons.recent.Add("x", &comparison{known: &measurement{until: time.Now().UnixMilli(), checked: time.Now()}})
				}
				if test.compares {
					go func() {
						synctest.Wait()
						record, _, _ := c.comparisons.take()
						c.comparisons.finish(record, &measurement{checked: time.Now()})
					}()
				}
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				defer cancel()
				began := time.Now()
				c.Wait(ctx, []tier.MetricRead{{Name: "x"}}, 0)
				require.Equal(t, test.waits, time.Since(began))
			})
		})
	}
}
