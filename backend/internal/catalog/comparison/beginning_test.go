package comparison

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// younger returns the metric that hot may have for a shorter time than cold, after hot was asked.
func younger(t *testing.T, c *Comparer, read Read, now time.Time) string {
	t.Helper()
	for _, metric := range read.Metrics {
		c.comparisons.want(metric.Name, read.From, now, c.staleAfter())
	}
	c.FindBeginnings(t.Context(), time.Second, read, now)
	if found := c.Gaps(read, now); found.Younger != nil {
		return *found.Younger
	}
	return ""
}

func TestGaps_HotIsAskedForTheBeginningOfWhatIsNotCompared(t *testing.T) {
	for name, test := range map[string]struct {
		hot      catalogtest.Answers
		expected string
	}{
		"hot has the metric":            {catalogtest.Answers{{"/series", `[{"__name__":"x"}]`}}, ""},
		"hot does not have it yet":      {catalogtest.Answers{{"/series", `[]`}}, "x"},
		"hot does not answer":           {catalogtest.Answers{{"/series", ""}}, "x"},
		"hot does not tell what it has": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, hot, cold := comparing(t, test.hot, nil)
			now := time.Now()
			require.Equal(t, test.expected, younger(t, c, reading(now.Add(-time.Hour), "x"), now))
			asked := hot.Requests("/series")
			require.Len(t, asked, 1)
			// Until two scrape intervals after the beginning.
			require.Contains(t, asked[0], "end="+formatMilliseconds(now.Add(-time.Hour+30*time.Second).UnixMilli())+"&limit=1&match%5B%5D=%7B__name__%3D%22x%22%7D")
			require.Contains(t, asked[0], "start="+formatMilliseconds(now.Add(-2*time.Hour).UnixMilli()))
			require.Empty(t, cold.Requests(""))
		})
	}
}

func TestFindBeginnings_AsksOnlyForWhatIsNotKnown(t *testing.T) {
	now := time.Now()
	ago := func(since time.Duration) time.Time { return now.Add(-since) }
	for name, test := range map[string]struct {
		answer   string
		then     Read // after a request that reads the last hour
		at       time.Time
		requests int
		expected string
	}{
		"the same again":                          {`[{}]`, reading(ago(time.Hour), "x"), now, 0, ""},
		"a shorter time":                          {`[{}]`, reading(ago(time.Minute), "x"), now, 0, ""},
		"a longer time":                           {`[{}]`, reading(ago(2*time.Hour), "x"), now, 1, ""},
		"hot's coverage begins later":             {`[{}]`, withHotOldest(reading(ago(time.Minute), "x"), ago(59*time.Minute)), now, 1, ""},
		"hot had none":                            {`[]`, reading(ago(time.Hour), "x"), now, 0, "x"},
		"hot had none, a longer time":             {`[]`, reading(ago(2*time.Hour), "x"), now, 0, "x"},
		"hot had none, a shorter time":            {`[]`, reading(ago(time.Minute), "x"), now, 1, "x"},
		"hot had none, a while ago":               {`[]`, reading(ago(time.Hour), "x"), now.Add(failedFor + time.Minute), 1, "x"},
		"nothing that hot covers can be compared": {`[]`, Read{Metrics: []tier.MetricRead{{Name: "x"}}}, now, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, hot, _ := comparing(t, catalogtest.Answers{{"/series", test.answer}}, nil)
			younger(t, c, reading(ago(time.Hour), "x"), now)
			hot.Set(catalogtest.Answers{{"/series", test.answer}})
			require.Equal(t, test.expected, younger(t, c, test.then, test.at))
			require.Len(t, hot.Requests("/series"), test.requests)
		})
	}
}

func TestFindBeginnings_ComparedMetricsNeedNone(t *testing.T) {
	c, hot, _ := comparing(t, catalogtest.Answers{{"/series", `[]`}}, nil)
	now := time.Now()
	c.comparisons.recent.Add("x", &comparison{metric: "x", known: &measurement{until: now.UnixMilli(), checked: now}})
	require.Empty(t, younger(t, c, reading(now.Add(-time.Hour), "x"), now))
	require.Empty(t, hot.Requests(""))
}

// Of one request, the beginnings of a few metrics are looked for.
func TestFindBeginnings_IsBounded(t *testing.T) {
	c, hot, _ := comparing(t, catalogtest.Answers{{"/series", `[{}]`}}, nil)
	now := time.Now()
	read := reading(now.Add(-time.Hour), "x")
	for i := range 2 * mostBeginnings {
		read.Metrics = append(read.Metrics, tier.MetricRead{Name: string(rune('a' + i))})
	}
	require.Equal(t, "", younger(t, c, read, now), "the name may not be seen")
	require.NotNil(t, c.Gaps(read, now).Younger)
	require.Len(t, hot.Requests("/series"), mostBeginnings)
}

// What begins is what a selector of the metric reads, and not the whole extent of the query.
func TestRead_OldestOfAMetric(t *testing.T) {
	selecting := func(name string, oldest int64) promql.Read {
		return promql.Read{Selector: promql.Selector{labels.MustNewMatcher(labels.MatchEqual, "__name__", name)}, Oldest: oldest}
	}
	read := Read{From: 100, Each: func() []promql.Read {
		return []promql.Read{selecting("x", 300), selecting("x", 200), selecting("x", 400), selecting("y", 50)}
	}}
	require.EqualValues(t, []int64{200, 100, 100}, []int64{read.oldestOf("x"), read.oldestOf("y"), read.oldestOf("z")})
}

// withHotOldest returns a request at a time at which hot's coverage begins then.
func withHotOldest(read Read, oldest time.Time) Read {
	read.HotOldest = oldest.UnixMilli()
	return read
}
