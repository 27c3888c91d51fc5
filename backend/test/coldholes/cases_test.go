package coldholes

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hole is a cold tier without the samples between two ages.
func hole(from, to time.Duration) isHeld {
	return func(_ string, age time.Duration) bool { return age >= from || age <= to }
}

// without is a cold tier that never gets a metric.
func without(metric string) isHeld {
	return func(name string, _ time.Duration) bool { return name != metric }
}

// asked is a question and what answers it.
type asked struct {
	query     string
	span, ago time.Duration
	// tier and reason are those of a query that is not cut.
	tier, reason string
	// warning is a part of the warning, also where the query is cut. Without one, the
	// answer equals that of one Prometheus.
	warning string
}

// requireAnswers asks the questions without cuts and the cache, and twice with the default
// configuration.
func requireAnswers(t *testing.T, w *world, questions []asked) {
	t.Helper()
	routed, cut := w.gateway(t, route), w.gateway(t, nil)
	for _, question := range questions {
		t.Run(question.query, func(t *testing.T) {
			expected := w.ask(t, w.whole.URL, question.query, question.span, question.ago)
			got := w.ask(t, routed, question.query, question.span, question.ago)
			require.Equal(t, []string{question.tier, question.reason}, []string{got.tier, got.reason})
			requireEqualOrWarned(t, question, expected, got)
			for range 2 {
				requireEqualOrWarned(t, question, expected, w.ask(t, cut, question.query, question.span, question.ago))
			}
		})
	}
}

func requireEqualOrWarned(t *testing.T, question asked, expected, got *answer) {
	t.Helper()
	if question.warning == "" {
		require.Empty(t, got.Warnings)
		require.Equal(t, expected.Data, got.Data)
		return
	}
	require.NotEmpty(t, got.Warnings)
	require.Contains(t, strings.Join(got.Warnings, "\n"), question.warning)
}

// Cases 1 and 2: the sender of cold was down for a while.
func TestHole_HotAnswersWhatReadsIt(t *testing.T) {
	w := newWorld(t, everything, hole(150*minute, 90*minute))
	requireAnswers(t, w, []asked{
		{query: `demo_temp`, span: 3 * hour, tier: "hot", reason: "not-in-cold"},
		{query: `sum(increase(demo_requests_total[3h]))`, tier: "hot", reason: "not-in-cold"},
		{query: `rate(demo_requests_total[5m])`, span: 20 * minute, ago: 2 * hour, tier: "hot", reason: "not-in-cold"},
		{query: `{__name__=~"demo_.*"} offset 2h`, span: 30 * minute, tier: "hot", reason: "not-in-cold"},
		{query: `max_over_time(demo_temp[1h:1m])`, span: 20 * minute, tier: "cold", reason: "at-or-above-threshold"},
	})
	// Each tier lacks a part: a query that is not cut carries a warning.
	routed := w.ask(t, w.gateway(t, route), `sum(demo_temp)`, 12*hour, 0)
	require.Equal(t, []string{"cold", "older-than-hot"}, []string{routed.tier, routed.reason})
	require.Contains(t, routed.Warnings[0], "has no samples of demo_temp between")
	cut := w.gateway(t, nil)
	for range 3 {
		got := w.ask(t, cut, `sum(demo_temp)`, 12*hour, 0)
		require.Equal(t, []string{"hot,cold", "split"}, []string{got.tier, got.reason})
		requireEqualOrWarned(t, asked{}, w.ask(t, w.whole.URL, `sum(demo_temp)`, 12*hour, 0), got)
	}
}

// Cases 3 to 6: cold never gets a metric.
func TestDroppedMetric_HotAnswers(t *testing.T) {
	w := newWorld(t, everything, without("demo_temp"))
	requireAnswers(t, w, []asked{
		{query: `demo_temp`, span: hour, tier: "hot", reason: "not-in-cold"},
		{query: `sum(demo_temp) or vector(0)`, span: hour, tier: "hot", reason: "not-in-cold"},
		{query: `absent(demo_temp)`, span: hour, tier: "hot", reason: "not-in-cold"},
		{query: `demo_temp * on (instance) up`, span: hour, tier: "hot", reason: "not-in-cold"},
		{query: `demo_requests_total`, span: hour, tier: "cold", reason: "at-or-above-threshold"},
		{query: `demo_temp`, span: 24 * hour, tier: "hot", reason: "not-in-cold", warning: "the hot tier answered, whose data begins at"},
	})
	got := w.ask(t, w.gateway(t, nil), `demo_temp`, 24*hour, 0)
	require.GreaterOrEqual(t, got.points(), 2*6*60, "hot's 6 h are there")
	g := w.gateway(t, nil)
	w.ask(t, g, `demo_temp`, hour, 0)
	require.Equal(t, []string{"has no samples of demo_temp"}, w.health(t, g).Tiers["cold"].Missing)
}

// Case 7: cold lags, and the series by which that is seen first are not in it.
func TestLag_IsMeasuredWithoutUp(t *testing.T) {
	w := newWorld(t, everything, func(metric string, age time.Duration) bool { return metric != "up" && age >= 2*hour })
	requireAnswers(t, w, []asked{
		{query: `demo_temp`, span: hour, tier: "hot", reason: "newer-than-cold"},
		{query: `sum(rate(demo_requests_total[1h]))`, tier: "hot", reason: "newer-than-cold"},
		{query: `demo_temp`, span: hour, ago: 3 * hour, tier: "cold", reason: "at-or-above-threshold"},
	})
	cut := w.gateway(t, nil)
	health := w.health(t, cut)
	require.Regexp(t, `^2h`, health.Tiers["cold"].Behind)
	got := w.ask(t, cut, `demo_temp`, 12*hour, 0)
	require.Equal(t, "split", got.reason)
	requireEqualOrWarned(t, asked{}, w.ask(t, w.whole.URL, `demo_temp`, 12*hour, 0), got)
}

// Case 8: hot has a metric for a shorter time than cold.
func TestBackfilledPast_ColdAnswers(t *testing.T) {
	w := newWorld(t, func(metric string, age time.Duration) bool { return metric != "job:demo:sum" || age <= 20*minute }, everything)
	requireAnswers(t, w, []asked{
		{query: `job:demo:sum`, span: 14 * minute, ago: 10 * minute, tier: "cold", reason: "older-than-hot"},
		{query: `job:demo:sum`, span: 5 * minute, tier: "hot", reason: "below-threshold"},
		{query: `job:demo:sum offset 1h`, tier: "cold", reason: "older-than-hot"},
		{query: `demo_temp`, span: 14 * minute, ago: 10 * minute, tier: "hot", reason: "below-threshold"},
	})
}

// Another cluster has the same metrics: neither tier holds all that is read, and cold has a hole.
func TestHole_OfAMetricThatOthersHaveToo(t *testing.T) {
	w := newWorld(t, everything, hole(150*minute, 90*minute))
	data, other := t.TempDir(), map[string]string{"cluster": "other"}
	w.write(t, data, external, hole(150*minute, 90*minute))
	w.write(t, data, other, everything)
	w.cold = serve(t, data)
	g := w.gateway(t, nil)
	require.Eventually(t, func() bool {
		got := w.ask(t, g, `sum(demo_temp)`, 3*hour, 0)
		require.Equal(t, []string{"cold", "not-in-hot"}, []string{got.tier, got.reason})
		return len(got.Warnings) == 1 && strings.Contains(got.Warnings[0], "has no samples of demo_temp between")
	}, 30*time.Second, 50*time.Millisecond)
	got := w.ask(t, g, `sum(demo_temp{cluster="lab"})`, 3*hour, 0)
	require.Equal(t, []string{"hot,cold", "split"}, []string{got.tier, got.reason})
	requireEqualOrWarned(t, asked{}, w.ask(t, w.whole.URL, `sum(demo_temp{cluster="lab"})`, 3*hour, 0), got)
	require.Empty(t, w.ask(t, g, `sum(demo_temp)`, hour, 0).Warnings, "the hole is not read")
}

// A hole that begins before hot's coverage: neither tier holds its older part.
func TestHole_NeitherTierHasIt(t *testing.T) {
	w := newWorld(t, everything, hole(7*hour, 5*hour))
	requireAnswers(t, w, []asked{
		{query: `demo_temp`, span: 12 * hour, tier: "cold", reason: "older-than-hot", warning: "which has no samples of demo_temp between " + w.now.Add(-7*hour).UTC().Format(time.RFC3339)},
		{query: `demo_temp`, span: 4 * hour, tier: "cold", reason: "at-or-above-threshold"},
		{query: `demo_temp`, span: 330 * minute, tier: "hot", reason: "not-in-cold"},
	})
}
