package comparison

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

func TestSampleInterval_IsTheUsualOneOfTheSlowestSeries(t *testing.T) {
	matrix := func(seconds ...int) string {
		var values []string
		for _, at := range seconds {
			values = append(values, fmt.Sprintf(`[%d,"1"]`, at))
		}
		return fmt.Sprintf(`{"resultType":"matrix","result":[{"metric":{},"values":[%s]}]}`, strings.Join(values, ","))
	}
	server := httptest.NewServer(catalogtest.Answers{
		{"slow", matrix(0, 60, 120)}, {"restarted", matrix(0, 5, 35, 65, 300)}, {"new", matrix(0)}, {"none", catalogtest.EmptyMatrix}, {"fails", ""},
	})
	t.Cleanup(server.Close)
	asked := catalogtest.Asking(t, server.URL)
	for _, test := range []struct {
		series   []string
		expected time.Duration
	}{
		{[]string{"slow", "restarted"}, time.Minute}, {[]string{"restarted"}, 30 * time.Second},
		{[]string{"restarted", "slow", "new"}, time.Minute}, {[]string{"new", "none"}, 0}, {nil, 0},
	} {
		found, err := sampleInterval(t.Context(), asked, test.series, time.Now())
		require.NoError(t, err)
		require.Equal(t, test.expected, found, test.series)
	}
	_, err := sampleInterval(t.Context(), asked, []string{"slow", "fails"}, time.Now())
	require.Error(t, err)
}

// A tier that does not let its series be listed has no canaries, which is no
// failure.
func TestUpSeries_WhereTheyCannotBeListed(t *testing.T) {
	server := httptest.NewServer(catalogtest.Answers{{"x", ""}})
	t.Cleanup(server.Close)
	found, err := upSeries(t.Context(), catalogtest.Asking(t, server.URL), "up", time.Now(), time.Now(), 1)
	require.NoError(t, err)
	require.Empty(t, found)
	_, err = upSeries(t.Context(), catalogtest.Asking(t, server.URL), "x", time.Now(), time.Now(), 1)
	require.Error(t, err)
}

// Cold gets up still, and the chosen metric no more.
func TestColdEnd_ChoosesOtherSeriesIfItLags(t *testing.T) {
	now := time.Now().Truncate(minute)
	up := catalogtest.Wrote{From: 6 * hour, To: ahead, Jobs: []string{"a"}}
	for name, test := range map[string]struct {
		ends   time.Duration // when hot has the chosen one no more, before now
		lags   bool
		chosen time.Duration // before now
		ago    time.Duration // of the end that is found
	}{
		"it lags, and the choice is old":        {ahead, true, minute, 0},
		"it lags, and the choice is new":        {ahead, true, minute - second, hour},
		"it did not lag":                        {ahead, false, hour, hour},
		"hot has the chosen one no more":        {3 * minute, false, endCanaryInterval, 0},
		"hot has it no more, the choice is new": {3 * minute, true, endCanaryInterval - second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := over(t, now, append(loads(0, 6*hour, test.ends), up), append(loads(0, 6*hour, hour), up))
			e := NewColdEnd(c)
			e.canaries, e.chosen = []comparedSeries{{hot: "load", cold: "load"}}, now.Add(-test.chosen)
			newest, found := e.Measure(t.Context(), 0, test.lags, now)
			require.True(t, found)
			require.WithinDuration(t, now.Add(-test.ago), time.UnixMilli(newest), 10*minute+30*second)
		})
	}
}

func TestColdEnd_LooksAmongAFewMetrics(t *testing.T) {
	now := time.Now().Truncate(minute)
	var parts []catalogtest.Wrote
	for _, name := range strings.Split("abcdefghijklmnop", "") {
		parts = append(parts, catalogtest.Wrote{From: hour, To: ahead, Jobs: []string{"x"}, Metric: name})
	}
	c, _ := over(t, now, append(parts, catalogtest.Wrote{From: hour, To: ahead, Jobs: []string{"x"}}), nil)
	e := NewColdEnd(c)
	for i := range 6 {
		name := string(rune('a' + i))
		c.comparisons.recent.Add(name, &comparison{metric: name, known: &measurement{canaries: []comparedSeries{{}}}})
	}
	metrics := e.endMetrics(t.Context(), now)
	require.Equal(t, []string{"up", "a", "b", "c", "d", "e", "g", "i"}, metrics, "up, those that queries read, and others of hot")
	e.options.Hot = catalogtest.Asking(t, catalogtest.NewScripted(t, nil).URL)
	require.Equal(t, []string{"up", "a", "b", "c", "d"}, e.endMetrics(t.Context(), now))
}

func TestColdEnd_SeriesThatBothHave(t *testing.T) {
	now := time.Now().Truncate(minute)
	during := func(jobs ...string) []catalogtest.Wrote {
		return []catalogtest.Wrote{{From: hour, To: ahead, Jobs: jobs}}
	}
	for name, test := range map[string]struct {
		hot, cold []catalogtest.Wrote
		mapping   Mapping
		expected  int
	}{
		"three of four":                   {during("a", "b", "c", "d"), during("a", "b", "c", "d"), Mapping{}, 3},
		"one":                             {during("a", "b"), during("b"), Mapping{}, 1},
		"hot's have a value of their own": {during("a"), during("a"), Mapping{Injected: map[string]string{"job": "x"}}, 0},
		"hot has none":                    {nil, during("a"), Mapping{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := over(t, now, test.hot, test.cold)
			canaries, err := NewColdEnd(c).commonCanaries(t.Context(), &test.mapping, "up", now)
			require.NoError(t, err)
			require.Len(t, canaries, test.expected)
		})
	}
	c, _ := over(t, now, during("a"), nil)
	c.options.Cold = catalogtest.Asking(t, catalogtest.NewScripted(t, catalogtest.Answers{{"/series", ""}}).URL)
	_, err := NewColdEnd(c).commonCanaries(t.Context(), &Mapping{}, "up", now)
	require.Error(t, err, "cold does not answer")
}

func TestUpInCold_HasTheLabelsOfHot(t *testing.T) {
	require.Equal(t, `up{cluster="a"}`, (&State{Mapping: &Mapping{Injected: map[string]string{"cluster": "a"}}}).upInCold())
	require.Equal(t, "up", (&State{}).upInCold())
}
