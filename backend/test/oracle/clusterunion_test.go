//go:build e2e

package oracle

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// sameRules are the rules of each cluster. They have the same names.
const sameRules = `groups:
  - {name: same, interval: 1s, rules: [{alert: Fires, expr: 'vector(1) > 0', labels: {severity: page}}, {record: one, expr: vector(1)}]}
`

// unionWorld has two clusters with servers that take exemplars and evaluate rules. Cold has the samples
// of both, and no exemplars.
type unionWorld struct {
	*clusterWorld
	gateway *runningGateway
	inFront *unwell                  // of cold
	servers map[string]*stack.Server // by name
}

func newUnionWorld(t *testing.T) *unionWorld {
	t.Helper()
	w := &unionWorld{clusterWorld: &clusterWorld{world: shopWorld(t)}, servers: map[string]*stack.Server{}}
	rules := filepath.Join(w.dir, "rules.yaml")
	require.NoError(t, os.WriteFile(rules, []byte(sameRules), 0o600))
	server := func(name string, external map[string]string, rules ...string) string {
		started, err := stack.Prometheus{
			Name: name, Dir: w.dir, Data: filepath.Join(w.dir, name), Retention: "10y", RuleFiles: rules,
			Global:    map[string]any{"scrape_interval": "30s", "evaluation_interval": "30s", "external_labels": external},
			Arguments: []string{"--web.enable-remote-write-receiver", "--enable-feature=exemplar-storage"},
		}.Start(t.Context(), w.prometheusPath)
		require.NoError(t, err)
		t.Cleanup(func() { _ = started.Stop() })
		w.servers[name] = started
		return started.URL
	}
	w.cold, w.oracle = server("cold", nil), server("oracle", nil)
	var hot []string
	for i, cluster := range []string{"a", "b"} {
		external := map[string]string{"cluster": cluster}
		own := server("hot-"+cluster, external, rules)
		hot = append(hot, own)
		series := tenant("", time.Duration(i)*3*hour, w.now.Add(-50*minute), w.now.Add(5*minute))[:20]
		for address, more := range map[string]map[string]string{own: nil, w.oracle: external, w.cold: external} {
			list := samplesOf(series, more, w.now.Add(-50*minute), w.now.Add(5*minute))
			for k := range list {
				if address != w.cold {
					list[k].Exemplars = []prompb.Exemplar{{
						Labels: []prompb.Label{{Name: "trace_id", Value: fmt.Sprint(cluster, k)}}, Value: 1, Timestamp: w.now.Add(-10 * minute).UnixMilli(),
					}}
				}
			}
			send(t, address, list)
			if cluster == "b" {
				send(t, address, samplesOf(renamed(series[0], onlyInB), more, w.now.Add(-50*minute), w.now.Add(5*minute)))
			}
		}
	}
	w.inFront = newUnwell(t, w.cold)
	w.cold = w.inFront.URL
	w.gateway = w.clusterWorld.gateway(t, nil, hot...)
	return w
}

// TestClusters_UnitesExemplarsRulesAndAlerts asks for exemplars, rules and alerts of two clusters that
// have the same names.
func TestClusters_UnitesExemplarsRulesAndAlerts(t *testing.T) {
	t.Parallel()
	w := newUnionWorld(t)
	for _, query := range []string{"up", `up{cluster="a"}`, `up{cluster=~"b"}`, `up{cluster=~"a|b"}`, `up{cluster!="a"}`, `up{cluster="none"}`, `up{cluster="a"} / http_requests_total{cluster="b"}`} {
		t.Run("exemplars of "+query, func(t *testing.T) {
			asked := question{endpoint: "query_exemplars", values: url.Values{"query": {query}, "start": {seconds(w.now.Add(-25 * minute))}, "end": {seconds(w.now)}}}
			expected, err := ask(t.Context(), w.oracle, asked)
			require.NoError(t, err)
			got, err := ask(t.Context(), w.gateway.URL, asked)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, got.status, got.message)
			require.Equal(t, sortedItems(expected.data), sortedItems(got.data))
			require.Empty(t, got.warnings)
		})
	}
	t.Run("alerts", func(t *testing.T) {
		require.Eventually(t, func() bool {
			var firing []string
			for _, alert := range w.list(t, "alerts") {
				labels, _ := alert["labels"].(map[string]any)
				firing = append(firing, fmt.Sprint(labels["alertname"], " ", labels["cluster"]))
			}
			return slices.Equal(slices.Sorted(slices.Values(firing)), []string{"Fires a", "Fires b"})
		}, time.Minute, 50*time.Millisecond, "%v", w.list(t, "alerts"))
	})
	t.Run("rules", func(t *testing.T) {
		groups := w.list(t, "rules")
		require.Len(t, groups, 2)
		var sources []string
		for _, group := range groups {
			require.Equal(t, "same", group["name"])
			require.Len(t, group["rules"], 2)
			sources = append(sources, fmt.Sprint(group["source"]))
		}
		require.ElementsMatch(t, []string{`{cluster="a"}`, `{cluster="b"}`}, sources)
	})
	t.Run("values of the external label without cold", w.valuesWithoutCold)
	t.Run("the only source with a metric stops", w.onlySourceStops)
}

// list returns the rule groups or the alerts of the gateway.
func (w *unionWorld) list(t *testing.T, endpoint string) []map[string]any {
	t.Helper()
	status, body, err := stack.Get(t.Context(), w.gateway.URL+"/api/v1/"+endpoint, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	var answer struct {
		Data struct{ Groups, Alerts []map[string]any }
	}
	require.NoError(t, json.Unmarshal(body, &answer))
	return append(answer.Data.Groups, answer.Data.Alerts...)
}

// sortedItems returns the items of a list as texts, in order.
func sortedItems(data any) (texts []string) {
	list, _ := data.([]any)
	for _, each := range list {
		text, _ := json.Marshal(each) // It was read from JSON.
		texts = append(texts, string(text))
	}
	slices.Sort(texts)
	return texts
}
