//go:build e2e

package victoriametrics

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	vm         = upstream.ServerVictoriaMetrics
	prometheus = upstream.ServerPrometheus
)

// worlds are the tiers of which one is a VictoriaMetrics, or both.
var worlds = map[string][2]upstream.ServerKind{
	"VictoriaMetrics is hot": {vm, prometheus}, "VictoriaMetrics is cold": {prometheus, vm}, "both are VictoriaMetrics": {vm, vm},
}

var questions = []string{"queue", "sum(rate(orders_total[5m]))", "max_over_time(queue[10m])", "increase(orders_total[1m]) > 0", `sum by (instance) (queue{job="shop"})`}

// expect returns how many warnings about the language an answer has to have.
func expect(kinds [2]upstream.ServerKind, tier string) int {
	if (tier == "hot" && kinds[0] == vm) || (tier == "cold" && kinds[1] == vm) {
		return 1
	}
	return 0
}

func TestLanguage_EveryAnswerOfVictoriaMetricsSaysSo(t *testing.T) {
	for name, kinds := range worlds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, content{kind: kinds[0], past: 3 * time.Hour}, content{kind: kinds[1], past: 12 * time.Hour}, nil)
			seen := map[string]int{}
			for _, query := range questions {
				for _, length := range []time.Duration{5 * time.Minute, time.Hour, 6 * time.Hour} {
					for _, choice := range []string{"auto", "hot", "cold"} {
						got := w.ask(t, "/api/v1/query_range", w.over(query, length, time.Minute), "X-Tier-Choice", choice)
						require.Equal(t, http.StatusOK, got.status, got.Error)
						require.Len(t, got.language(), expect(kinds, got.Tier), "%s of %s by %s: %q", query, length, got.Tier, got.Warnings)
						seen[got.Tier+" "+got.Reason]++
					}
				}
				got := w.ask(t, "/api/v1/query", url.Values{"query": {query}})
				require.Len(t, got.language(), expect(kinds, got.Tier))
				seen[got.Tier+" "+got.Reason]++
			}
			require.Zero(t, seen["hot,cold split"], "parts of two languages are not joined")
			for _, reason := range []string{"hot below-threshold", "cold at-or-above-threshold", "cold older-than-hot"} {
				require.Positive(t, seen[reason], "%v", seen)
			}
			for i, store := range []*store{w.hot, w.cold} {
				for _, sent := range store.queries() {
					require.Equal(t, kinds[i] == vm, sent.Get("nocache") == "1", "%v", sent)
				}
			}
			for path, parameters := range map[string]url.Values{"/api/v1/labels": {}, "/api/v1/label/job/values": {}, "/api/v1/series": {"match[]": {"queue"}}} {
				require.Empty(t, w.ask(t, path, parameters).language(), path)
			}
			w.requireElsewhere(t, kinds)
		})
	}
}

// requireElsewhere looks at the warnings outside of the Prometheus API.
func (w *world) requireElsewhere(t *testing.T, kinds [2]upstream.ServerKind) {
	t.Helper()
	now := time.Now()
	for _, length := range []time.Duration{5 * time.Minute, 6 * time.Hour} {
		result, err := w.manager.Router().ExecuteQuery(t.Context(), &datasource.MetricQuery{Query: "queue", Start: now.Add(-length), End: now, Step: time.Minute})
		require.NoError(t, err)
		require.Len(t, answer{Warnings: result.Warnings}.language(), expect(kinds, result.Tier))
		for update, err := range w.manager.Router().Live(t.Context(), &datasource.MetricQuery{Query: "queue", Step: time.Minute}, datasource.LiveOptions{Range: length}) {
			require.NoError(t, err)
			require.NotEqual(t, "hot,cold", update.Tier)
			require.Len(t, answer{Warnings: update.Warnings}.language(), expect(kinds, update.Tier))
			break
		}
		var explained struct {
			Data struct {
				Tier     string
				Warnings []string
				NotCut   string `json:"not_cut"`
				Hot      struct{ Kind string }
				Cold     struct{ Kind string }
			}
		}
		_, body := get(t, w.url+"/api/v1/datasources/explain?"+w.over("queue", length, time.Minute).Encode())
		require.NoError(t, json.Unmarshal([]byte(body), &explained))
		require.Len(t, answer{Warnings: explained.Data.Warnings}.language(), expect(kinds, explained.Data.Tier), body)
		require.Contains(t, explained.Data.NotCut, "MetricsQL")
		require.Equal(t, kinds, [2]upstream.ServerKind{upstream.ServerKind(explained.Data.Hot.Kind), upstream.ServerKind(explained.Data.Cold.Kind)})
	}
	_, body := get(t, w.url+"/api/v1/datasources/health")
	require.Equal(t, strings.Count(fmt.Sprint(kinds), string(vm)), strings.Count(body, promapi.MetricsQLWarning), body)
}

// The answer is that of the server, to its own words.
func TestLanguage_AnswersAreThoseOfTheServer(t *testing.T) {
	w := newWorld(t, content{kind: vm, past: 3 * time.Hour}, content{kind: prometheus, past: 12 * time.Hour}, nil)
	for _, query := range questions {
		parameters := w.over(query, 10*time.Minute, 7*time.Second)
		// Some steps later, no more samples become visible.
		parameters.Set("end", fmt.Sprint(time.Now().Add(-time.Minute).Unix()))
		got := w.ask(t, "/api/v1/query_range", parameters)
		require.Equal(t, "hot", got.Tier)
		parameters.Set("nocache", "1")
		status, body := get(t, w.hot.server.URL+"/api/v1/query_range?"+parameters.Encode())
		require.Equal(t, http.StatusOK, status)
		var direct answer
		require.NoError(t, json.Unmarshal([]byte(body), &direct))
		require.Equal(t, valuesOf(t, direct.Data), valuesOf(t, got.Data), query)
	}
	for query, expected := range map[string]string{
		"sum(": "400 bad_data", "unknown(queue)": "400 bad_data", "queue + on(job) queue": "422 execution",
		`label_replace(queue, "a", "(", "b", "(")`: "422 execution",
	} {
		got := w.ask(t, "/api/v1/query", url.Values{"query": {query}}, "X-Tier-Choice", "hot")
		require.Equal(t, expected, fmt.Sprintf("%d %s", got.status, got.ErrorType), query)
		require.NotContains(t, got.Error, "error when executing")
	}
}

// valuesOf returns the values of the series of an answer, by their labels: VictoriaMetrics does not sort them.
func valuesOf(t *testing.T, data json.RawMessage) map[string]string {
	t.Helper()
	var decoded struct {
		Result []struct {
			Metric map[string]string
			Values json.RawMessage
		}
	}
	require.NoError(t, json.Unmarshal(data, &decoded))
	found := map[string]string{}
	for _, each := range decoded.Result {
		found[fmt.Sprint(each.Metric)] = string(each.Values)
	}
	return found
}

// The series of hot get the external labels that are configured for it.
func TestLanguage_ExternalLabelsOfVictoriaMetrics(t *testing.T) {
	w := newWorld(t, content{kind: vm, past: 3 * time.Hour}, content{kind: prometheus, past: 12 * time.Hour, cluster: "la$b"}, func(config *datasource.Config) {
		config.Hot.ExternalLabels = map[string]string{"cluster": "la$b"}
	})
	for _, query := range []string{`queue`, `queue{cluster="la$b"}`, `sum by (cluster) (rate(orders_total{cluster="la$b"}[5m]))`, `max_over_time(queue{cluster="la$b"}[5m])`} {
		w.requireTier(t, query, "hot", "below-threshold")
		got := w.ask(t, "/api/v1/query", url.Values{"query": {query}})
		require.Contains(t, string(got.Data), `"cluster":"la$b"`, query)
		require.Len(t, got.language(), 1)
	}
	got := w.ask(t, "/api/v1/query", url.Values{"query": {`queue{cluster="la$b"} + on(job) queue{cluster="la$b"}`}}, "X-Tier-Choice", "hot")
	require.Equal(t, 422, got.status)
	require.NotContains(t, got.Error, "label_replace", "hot's external labels are not for every caller")
}

// What one tier lacks is found out although it is a VictoriaMetrics.
func TestCoverage_WhatVictoriaMetricsLacks(t *testing.T) {
	between := func(ago, from, to time.Duration) bool { return ago < from && ago > to }
	isUp := func(series labels.Labels) bool { return series.Get("__name__") == "up" }
	t.Run("hot was down", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, content{kind: vm, past: 3 * time.Hour, lacks: func(_ labels.Labels, ago time.Duration) bool { return between(ago, 90*time.Minute, time.Hour) }}, content{kind: prometheus, past: 12 * time.Hour}, nil)
		w.requireTier(t, "queue offset 50m", "hot", "below-threshold")
		w.requireTier(t, "queue offset 70m", "cold", "older-than-hot")
		w.requireTier(t, "queue offset 2h", "cold", "older-than-hot")
	})
	t.Run("hot could not scrape a target", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, content{kind: vm, past: 3 * time.Hour, lacks: func(series labels.Labels, ago time.Duration) bool {
			return series.Get("instance") == "b:80" && between(ago, 30*time.Minute, 20*time.Minute)
		}}, content{kind: prometheus, past: 12 * time.Hour}, nil)
		w.requireTier(t, "sum(queue offset 25m)", "cold", "older-than-hot")
		w.requireTier(t, "sum(queue offset 10m)", "hot", "below-threshold")
	})
	t.Run("cold ends", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, content{kind: prometheus, past: 3 * time.Hour}, content{kind: vm, past: 12 * time.Hour, lacks: func(_ labels.Labels, ago time.Duration) bool { return ago < time.Hour }}, nil)
		w.requireTier(t, "sum_over_time(queue[30m])", "hot", "newer-than-cold")
		w.requireTier(t, "sum_over_time(queue[30m] offset 80m)", "cold", "at-or-above-threshold")
	})
	t.Run("cold lacks samples of a metric", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, content{kind: prometheus, past: 3 * time.Hour}, content{kind: vm, past: 12 * time.Hour, lacks: func(series labels.Labels, ago time.Duration) bool {
			return !isUp(series) && between(ago, 80*time.Minute, time.Hour)
		}}, nil)
		w.requireTier(t, "sum_over_time(queue[30m] offset 55m)", "hot", "not-in-cold")
		w.requireTier(t, "sum_over_time(queue[30m])", "cold", "at-or-above-threshold")
		w.requireTier(t, "sum_over_time(up[30m] offset 55m)", "cold", "at-or-above-threshold")
	})
}

// requireTier waits until a tier answers an instant query for a reason.
func (w *world) requireTier(t *testing.T, query, tier, reason string) {
	t.Helper()
	var got answer
	require.Eventually(t, func() bool {
		got = w.ask(t, "/api/v1/query", url.Values{"query": {query}})
		return got.Tier == tier && got.Reason == reason
	}, 30*time.Second, 200*time.Millisecond, "%s: %s, %s", query, tier, reason)
}

// A VictoriaMetrics takes the place of a Prometheus, and back.
func TestLanguage_AnotherServerBehindTheSameAddress(t *testing.T) {
	w := newWorld(t, content{kind: prometheus, past: 3 * time.Hour}, content{kind: prometheus, past: 12 * time.Hour}, nil)
	ask := func() answer { return w.ask(t, "/api/v1/query_range", w.over("queue", 6*time.Hour, time.Minute)) }
	got := ask()
	require.Equal(t, []any{"hot,cold", 0}, []any{got.Tier, len(got.language())})
	before := w.cold.server
	w.cold.forwardTo(t, startServer(t, content{kind: vm, past: 12 * time.Hour}, w.now))
	for range 2 {
		got = ask()
		require.Equal(t, []any{"cold", 1}, []any{got.Tier, len(got.language())}, "at once")
	}
	kind := func() string {
		var health struct {
			Tiers map[string]struct{ Kind string }
		}
		_, body, err := stack.Get(t.Context(), w.url+"/api/v1/datasources/health", nil)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(body, &health))
		return health.Tiers["cold"].Kind
	}
	require.Eventually(t, func() bool { return kind() == string(vm) }, 30*time.Second, 50*time.Millisecond)
	w.cold.forwardTo(t, before)
	require.Eventually(t, func() bool { return len(ask().language()) == 0 && kind() == string(prometheus) }, 30*time.Second, 50*time.Millisecond)
}
