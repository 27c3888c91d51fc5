//go:build e2e

package oracle

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// onlyInB is a metric that only cluster b has.
const onlyInB = "only_in_b"

// renamed is a series with another name.
func renamed(series loadedSeries, name string) []loadedSeries {
	series.labels = labels.NewBuilder(series.labels).Set(model.MetricNameLabel, name).Labels()
	return []loadedSeries{series}
}

// valuesWithoutCold asks for the values of cluster while cold is down. Those of its own are all that
// the servers of hot know, and they have series of all clusters.
func (w *unionWorld) valuesWithoutCold(t *testing.T) {
	down := fault(errs)
	w.inFront.fault.Store(&down)
	defer w.inFront.fault.Store(nil)
	valuesOf := func(base string, matches ...string) reply {
		asked := question{endpoint: "label/cluster/values", values: url.Values{"match[]": matches, "start": {seconds(w.now.Add(-20 * minute))}, "end": {seconds(w.now)}}}
		got, err := ask(t.Context(), base, asked)
		require.NoError(t, err)
		return got
	}
	require.Eventually(t, func() bool { return valuesOf(w.gateway.URL).reason == string(tier.ReasonColdUnavailable) }, time.Minute, 50*time.Millisecond)
	for _, matches := range [][]string{
		nil, {"up"}, {onlyInB}, {`up{cluster="a"}`}, {`{cluster="b"}`}, {`up{cluster=~"a|b"}`}, {`up{cluster!="a"}`}, {`up{cluster="c"}`}, {"nobody_has_it"},
		{`up{cluster="a"}`, onlyInB}, {onlyInB + `{cluster="a"}`, `up{cluster="c"}`}, {`up{job="none"}`},
	} {
		expected, got := valuesOf(w.oracle, matches...), valuesOf(w.gateway.URL, matches...)
		require.Equal(t, []any{http.StatusOK, string(tier.Hot), string(tier.ReasonColdUnavailable)}, []any{got.status, got.tier, got.reason}, "%v", matches)
		require.Equal(t, sortedItems(expected.data), sortedItems(got.data), "%v: %v", matches, got.warnings)
	}
	require.NotEmpty(t, valuesOf(w.gateway.URL, "up").warnings, "clusters that only cold has may be missing")
}

// onlySourceStops asks for a metric of one cluster, without naming it, before and after its server stops.
func (w *unionWorld) onlySourceStops(t *testing.T) {
	asked := question{endpoint: "query", values: url.Values{"query": {"sum(" + onlyInB + ")"}, "time": {seconds(w.now)}}}
	awaits := func(expected tier.Name, reason tier.Reason) {
		t.Helper()
		var got reply
		require.Eventually(t, func() bool {
			var err error
			got, err = ask(t.Context(), w.gateway.URL, asked)
			return err == nil && got.tier == string(expected) && got.reason == string(reason)
		}, time.Minute, 50*time.Millisecond, "%+v", &got)
	}
	awaits(tier.Hot, tier.ReasonBelowThreshold)
	require.NoError(t, w.servers["hot-b"].Stop())
	awaits(tier.Cold, tier.ReasonHotUnavailable)
	_, body, err := stack.Get(t.Context(), w.gateway.URL+"/api/v1/datasources/explain?"+asked.values.Encode(), nil)
	require.NoError(t, err)
	var explained struct{ Data struct{ Sentence string } }
	require.NoError(t, json.Unmarshal(body, &explained))
	require.Equal(t, `cold answers: the source {cluster="b"} of the hot tier is unavailable`, explained.Data.Sentence)
}
