//go:build e2e

package oracle

import (
	"math/rand"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// splitThreshold is short, so that most of the questions can be cut.
const splitThreshold = 10 * minute

// split asks a gateway with the default strategy, and a threshold that lets it cut most range queries.
func (w *world) split(t *testing.T, hot, cold, oracle string, held coverage, seed int64, count int, beyond time.Duration, edges []time.Time, pinned []*labels.Matcher, seen *tally) {
	t.Helper()
	g := w.gateway(t, hot, cold, func(settings *config.Config) {
		settings.Routing.Threshold = config.Duration(splitThreshold)
	})
	result := w.compare(t, g.URL, oracle, held, w.ranges(seed, count, beyond, edges, pinned, 0), seen)
	require.GreaterOrEqual(t, result.reasons[string(tier.ReasonSplit)], count/4, "enough of them are cut\n%s", result)
}

// routed asks a gateway that neither cuts queries nor keeps answers.
func (w *world) routed(t *testing.T, hot, oracle string, questions []question, seen *tally) {
	t.Helper()
	g := w.gateway(t, hot, oracle, func(settings *config.Config) {
		settings.Routing.Strategy, settings.Cache.Enabled = config.StrategyRoute, false
	})
	result := w.compare(t, g.URL, oracle, everything, questions, seen)
	require.GreaterOrEqual(t, result.hotShare(), 0.4, "hot answers too little")
	require.NotZero(t, result.reasons[string(tier.ReasonAtOrAboveThreshold)], "nothing is long enough to be cut\n%s", result)
	require.Zero(t, result.reasons[string(tier.ReasonSplit)], "none is cut\n%s", result)
	require.Zero(t, result.cacheable, "the cache is off")
}

// ranges are range queries that can be cut, or nearly: those of dashboards and
// random ones, at any phase, with times frozen or not. They begin before a time
// that lies so far back. A part of them, between 0 and 1, is of dashboards only,
// which ask for nothing that is fixed or in the future.
func (w *world) ranges(seed int64, count int, beyond time.Duration, edges []time.Time, pinned []*labels.Matcher, dashboards float64) []question {
	var series []labels.Labels
	for _, each := range w.shop("", nil) {
		series = append(series, each.labels)
	}
	g := newGenerator(seed, w.now, edges, series)
	g.pinned = pinned
	random := rand.New(rand.NewSource(seed))
	var list []question
	for len(list) < count {
		end := w.now.Add(-g.upTo(12 * minute))
		if random.Intn(4) == 0 {
			end = g.time()
		}
		root := g.expression()
		if random.Intn(2) == 0 {
			g.disturb(root, end)
		}
		query := root.String()
		if random.Float64() < dashboards {
			query = g.typical()
		}
		span := splitThreshold + beyond + g.upTo([]time.Duration{hour, 5 * hour, 8 * hour}[random.Intn(3)])
		step := max(time.Second, span/time.Duration(2+random.Intn(120)), g.upTo(90*time.Second)).Truncate(time.Millisecond)
		list = append(list, question{endpoint: "query_range", origin: "range", values: url.Values{
			"query": {query}, "start": {seconds(end.Add(-span))}, "end": {seconds(end)}, "step": {strconv.FormatFloat(step.Seconds(), 'f', 3, 64)},
		}})
	}
	return list
}
