//go:build e2e

package oracle

import (
	"math/rand"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// faults asks while something is broken. A difference counts unless the gateway
// says in a warning why the answer may differ.
func (w *world) faults(t *testing.T, seed int64, count int, seen *tally) {
	whole := w.prometheus(t, "whole", "all", nil)
	each := max(count/6, 8)
	near := func(times ...time.Time) []question {
		return w.fresh(seed, each, append(times, w.now))
	}

	t.Run("hot was restarted empty", func(t *testing.T) {
		hot, err := stack.Prometheus{
			Name: "empty", Dir: w.dir, Data: filepath.Join(w.dir, "empty"), Retention: "10y", ScrapeItself: true,
			Global: map[string]any{"evaluation_interval": "30s"}, // As the oracle: the answer is that of hot's defaults.
		}.Start(t.Context(), w.prometheusPath)
		require.NoError(t, err)
		t.Cleanup(func() { _ = hot.Stop() })
		g := w.gateway(t, hot.URL, whole.URL, nil)
		result := w.differences(t, g.URL, whole.URL, everything, near(), seen, true)
		require.Zero(t, result.warned, "cold has everything")
	})

	t.Run("hot was down for a while", func(t *testing.T) {
		from, to := w.now.Add(-2*hour), w.now.Add(-2*hour+12*minute)
		w.write(t, "gap", w.series, w.boundary, from, nil)
		w.write(t, "gap", w.series, to, w.now.Add(future), nil)
		hot := w.prometheus(t, "gap", "gap", nil)
		g := w.gateway(t, hot.URL, whole.URL, nil)
		questions := w.fresh(seed+1, 3*each, []time.Time{from, to, to.Add(30 * minute), w.now})
		w.differences(t, g.URL, whole.URL, everything, questions, seen, true)
		// Now it is known that cold has what the questions read.
		result := w.differences(t, g.URL, whole.URL, everything, questions, seen, true)
		require.Zero(t, result.warned, "cold has everything")
		require.NotZero(t, result.tiers["hot"], "hot still answers what it holds since then")
		require.NotZero(t, result.reasons[string(tier.ReasonOlderThanHot)])
	})

	t.Run("hot no longer ingests", func(t *testing.T) {
		w.write(t, "stopped", w.series, w.boundary, w.now.Add(-4*minute), nil)
		hot := w.prometheus(t, "stopped", "stopped", nil)
		g := w.gateway(t, hot.URL, whole.URL, nil)
		result := w.differences(t, g.URL, whole.URL, everything, near(), seen, true)
		require.Equal(t, result.total, result.reasons[string(tier.ReasonHotUnavailable)], "%s\n%+v", result, g.manager.Health())
	})

	hot := w.prometheus(t, "hot-plain", "hot-plain", nil)
	t.Run("cold is down", func(t *testing.T) {
		g := w.gateway(t, hot.URL, "http://127.0.0.1:1", nil)
		result := w.differences(t, g.URL, whole.URL, everything, near(w.boundary), seen, true)
		require.Equal(t, result.total, result.reasons[string(tier.ReasonColdUnavailable)])
	})

	t.Run("a tier fails while it is asked", func(t *testing.T) {
		for _, fault := range []struct {
			tier     tier.Name
			status   int64
			expected tier.Reason
		}{
			{tier.Hot, http.StatusServiceUnavailable, tier.ReasonHotFailed}, {tier.Cold, http.StatusServiceUnavailable, tier.ReasonColdFailed},
			{tier.Cold, http.StatusTooManyRequests, tier.ReasonColdFailed}, {tier.Cold, http.StatusInternalServerError, tier.ReasonColdFailed},
		} {
			var failing atomic.Int64
			at := map[tier.Name]string{tier.Hot: hot.URL, tier.Cold: whole.URL}
			at[fault.tier] = failingProxy(t, at[fault.tier], &failing)
			g := w.gateway(t, at[tier.Hot], at[tier.Cold], nil)
			_, err := ask(t.Context(), g.URL, question{endpoint: "query", values: url.Values{"query": {"up"}}})
			require.NoError(t, err)
			failing.Store(fault.status)
			// Some that are cold's by their length, and some that are hot's.
			questions := w.fresh(seed+2, each, []time.Time{w.now.Add(-2 * hour)})
			for _, span := range []time.Duration{5 * minute, threshold, threshold + hour} {
				questions = append(questions, question{endpoint: "query_range", origin: originAcross, values: url.Values{
					"query": {"sum by (job) (up)"}, "start": {seconds(w.now.Add(-span))}, "end": {seconds(w.now)}, "step": {"60"},
				}})
			}
			result := w.differences(t, g.URL, whole.URL, everything, questions, seen, true)
			require.NotZero(t, result.reasons[string(fault.expected)], "%s with %d\n%s", fault.tier, fault.status, result)
		}
	})

	t.Run("a store of cold is gone", func(t *testing.T) {
		cold := w.thanos(t, "d", map[string][]string{"all": pairs(hotLabels)})
		labelled := w.prometheus(t, "whole-labelled", "labelled", nil)
		hot := w.prometheus(t, "hot", "hot", hotLabels)
		g := w.gateway(t, hot.URL, cold.Query.URL, nil)
		questions := w.fresh(seed+3, each, []time.Time{w.boundary, w.now})
		w.differences(t, g.URL, labelled.URL, everything, questions, seen, false)
		require.NoError(t, cold.Store.Stop())
		require.Eventually(t, func() bool {
			return strings.Contains(g.manager.Health().Tiers["cold"].Error, "cannot reach its store")
		}, 30*time.Second, 100*time.Millisecond, "the health says so")
		result := w.differences(t, g.URL, labelled.URL, everything, questions, seen, true)
		require.NotZero(t, result.excused, "what only the store had is missing\n%s", result)
	})

	t.Run("cold has series that hot lacks, and does not tell its sources", func(t *testing.T) {
		// The same metrics with other labels: only that hot has nothing gives
		// them away.
		var foreign []loadedSeries
		for _, series := range w.others {
			series.labels = labels.NewBuilder(series.labels).Set("job", "foreign").Labels()
			foreign = append(foreign, series)
		}
		w.write(t, "foreign", append(foreign, w.series...), w.now.Add(-400*hour), w.now.Add(future), nil)
		more := w.prometheus(t, "foreign", "foreign", nil)
		g := w.gateway(t, hot.URL, more.URL, nil)
		var questions []question
		for i, query := range []string{
			`up{job="foreign"}`, `sum(rate(http_requests_total{job="foreign"}[5m]))`, `max_over_time(up{job=~"for.*"}[10m])`, `count(process_resident_memory_bytes{job="foreign"}) > 0`,
		} {
			for round := range 3 { // What was empty is remembered.
				at := w.now.Add(-time.Duration(i+round) * minute)
				questions = append(questions,
					question{endpoint: "query", values: url.Values{"query": {query}, "time": {seconds(at)}}, origin: "foreign"},
					question{endpoint: "query_range", values: url.Values{"query": {query}, "start": {seconds(at.Add(-5 * minute))}, "end": {seconds(at)}, "step": {"30"}}, origin: "foreign"})
			}
		}
		result := w.differences(t, g.URL, more.URL, everything, questions, seen, false)
		require.Equal(t, result.total, result.reasons[string(tier.ReasonHotEmpty)]+result.reasons[string(tier.ReasonOlderThanHot)])
	})

	t.Run("one tier only, and callers who choose", func(t *testing.T) {
		g := w.gateway(t, hot.URL, whole.URL, nil)
		var questions []question
		for i, asked := range near(w.boundary) {
			switch i % 3 {
			case 0:
				asked.header = http.Header{"X-Tier-Choice": {"hot"}}
			case 1:
				asked.header = http.Header{"X-Tier-Choice": {"cold"}}
			default:
				asked.values.Set("dedup", "true")
			}
			questions = append(questions, asked)
		}
		w.differences(t, g.URL, whole.URL, everything, questions, seen, true)
		onlyCold := w.gateway(t, "", whole.URL, nil)
		w.differences(t, onlyCold.URL, whole.URL, everything, near(w.boundary), seen, false)
	})
}

// fresh are random questions around the given times.
func (w *world) fresh(seed int64, count int, edges []time.Time) []question {
	var series []labels.Labels
	for _, each := range w.shop("", nil) {
		series = append(series, each.labels)
	}
	g := newGenerator(seed, w.now, edges, series)
	var list []question
	for len(list) < count {
		list = append(list, g.next())
	}
	rand.New(rand.NewSource(seed)).Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// failingProxy stands in front of a tier and, once it is told a status, answers
// everything but the gateway's own probes with that status.
func failingProxy(t *testing.T, target string, failing *atomic.Int64) string {
	t.Helper()
	parsed, err := url.Parse(target)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(parsed)
	server := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if status := int(failing.Load()); status != 0 && !strings.Contains(request.UserAgent(), "probe") {
			response.WriteHeader(status)
			return
		}
		proxy.ServeHTTP(response, request)
	}))
	t.Cleanup(server.Close)
	return server.URL
}
