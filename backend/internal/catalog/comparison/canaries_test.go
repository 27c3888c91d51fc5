package comparison

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// jobsOf returns the values of the label job in the selectors of canaries for hot.
func jobsOf(t *testing.T, canaries []comparedSeries) (jobs []string) {
	t.Helper()
	for _, each := range canaries {
		_, after, found := strings.Cut(each.hot, `job="`)
		require.True(t, found)
		job, _, _ := strings.Cut(after, `"`)
		jobs = append(jobs, job)
	}
	return jobs
}

func TestChooseCanaries_PrefersSeriesOfBothEnds(t *testing.T) {
	now := time.Now().Truncate(minute)
	during := func(from, to time.Duration, jobs ...string) catalogtest.Wrote {
		return catalogtest.Wrote{From: from, To: to, Jobs: jobs, Metric: "load"}
	}
	for name, test := range map[string]struct {
		hot, cold []catalogtest.Wrote
		mapping   Mapping
		expected  []string
	}{
		"three of five":                     {hot: []catalogtest.Wrote{during(6*hour, ahead, "a", "b", "c", "d", "e")}, expected: []string{"a", "b", "c"}},
		"those of both ends first":          {hot: []catalogtest.Wrote{during(hour, ahead, "a", "b", "c"), during(6*hour, ahead, "d")}, expected: []string{"d", "a", "b"}},
		"neither end is without":            {hot: []catalogtest.Wrote{during(hour, ahead, "a", "b", "c"), during(6*hour, hour, "d", "e", "f")}, expected: []string{"a", "d", "b"}},
		"one end alone":                     {hot: []catalogtest.Wrote{during(6*hour, hour, "d", "e", "f", "g")}, expected: []string{"d", "e", "f"}},
		"nothing in between counts":         {hot: []catalogtest.Wrote{during(4*hour, 2*hour, "a")}},
		"labels that are too long":          {hot: []catalogtest.Wrote{during(6*hour, ahead, strings.Repeat("a", longestSeries), "b")}, expected: []string{"b"}},
		"cold's own":                        {cold: []catalogtest.Wrote{during(6*hour, ahead, "a")}, expected: []string{"a"}},
		"the same in both":                  {hot: []catalogtest.Wrote{during(6*hour, ahead, "a", "b")}, cold: []catalogtest.Wrote{during(6*hour, ahead, "b", "c")}, expected: []string{"a", "b", "c"}},
		"cold's are not known from others'": {cold: []catalogtest.Wrote{during(6*hour, ahead, "a")}, mapping: Mapping{IsAmbiguous: true}},
		"hot's have a value of their own":   {hot: []catalogtest.Wrote{during(6*hour, ahead, "a")}, mapping: Mapping{Injected: map[string]string{"job": "x"}}},
	} {
		t.Run(name, func(t *testing.T) {
			m := measurerOf(t, now, test.hot, test.cold)
			m.mapping = &test.mapping
			canaries, err := m.chooseCanaries(t.Context(), "load", now.Add(-6*hour).UnixMilli(), now.UnixMilli())
			require.NoError(t, err)
			require.Equal(t, test.expected, jobsOf(t, canaries))
		})
	}
}

// Cold has two labels in addition, one of which hot's series do not have on their own, and lacks the
// label of the replica.
func TestMapping_LabelsOfASeriesInTheOtherTier(t *testing.T) {
	m := &Mapping{Injected: map[string]string{"cluster": "a", "tenant": "t"}, Removed: []string{"replica"}, Distinct: map[string]string{"zone": "z"}}
	inHot := promql.FormatLabels(map[string]string{"__name__": "x", "job": "j"})
	inCold := promql.FormatLabels(map[string]string{"__name__": "x", "job": "j", "cluster": "a", "tenant": "t"})
	made, ok := m.ofHot(map[string]string{"__name__": "x", "job": "j", "replica": "0"})
	require.True(t, ok)
	require.Equal(t, comparedSeries{hot: promql.FormatLabels(map[string]string{"__name__": "x", "job": "j", "replica": "0"}), cold: inCold}, made)
	_, ok = m.ofHot(map[string]string{"__name__": "x", "tenant": "own"})
	require.False(t, ok)
	require.Equal(t, comparedSeries{hot: inHot, cold: inCold}, m.ofCold(map[string]string{"__name__": "x", "job": "j", "cluster": "a", "tenant": "t", "replica": "1"}))
	require.Equal(t, promql.FormatLabels(map[string]string{"__name__": "x", "cluster": "a", "tenant": "t", "zone": "z"}), m.InCold("x"))
}

func TestContains_ATimeUntilNearlyNow(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	m := &measurement{since: 100, until: 990_000, checked: time.UnixMilli(990_000)}
	require.True(t, m.contains(100, now, 10*second))
	require.False(t, m.contains(99, now, 10*second))
	require.False(t, m.contains(100, now, 10*second-time.Millisecond))
	require.False(t, (*measurement)(nil).contains(100, now, hour))
}
