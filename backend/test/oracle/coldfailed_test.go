//go:build e2e

package oracle

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// coldsQuestions read what both tiers hold, and are cold's by their length.
func (w *world) coldsQuestions() []question {
	bounds := func(parameters ...string) url.Values {
		made := url.Values{"start": {seconds(w.now.Add(-3 * hour))}, "end": {seconds(w.now)}}
		for i := 0; i < len(parameters); i += 2 {
			made.Set(parameters[i], parameters[i+1])
		}
		return made
	}
	list := []question{
		{endpoint: "series", values: bounds("match[]", "http_requests_total")},
		{endpoint: "labels", values: bounds("match[]", "http_requests_total")},
		{endpoint: "label/job/values", values: bounds("match[]", "http_requests_total")},
	}
	for _, query := range []string{"up", "sum by (job) (rate(http_requests_total[5m]))", "absent(up)", "count(process_resident_memory_bytes)"} {
		list = append(list, question{endpoint: "query_range", values: bounds("query", query, "step", "60")})
	}
	for _, query := range []string{"sum(increase(http_requests_total[3h]))", "max_over_time(up[2h])"} {
		list = append(list, question{endpoint: "query", values: url.Values{"query": {query}, "time": {seconds(w.now)}}})
	}
	return list
}

// coldFails asks what hot has to answer because cold cannot.
func (w *world) coldFails(t *testing.T, g *runningGateway, oracle string) {
	t.Helper()
	for _, asked := range w.coldsQuestions() {
		expected, err := ask(t.Context(), oracle, asked)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, expected.status)
		got, err := ask(t.Context(), g.URL, asked)
		require.NoError(t, err)
		require.Empty(t, difference(expected, got), "%s", asked)
		require.Equal(t, []string{"hot", string(tier.ReasonColdFailed)}, []string{got.tier, got.reason}, "%s", asked)
		require.Empty(t, got.warnings, "%s", asked)
	}
}

// withStrategy switches cuts and the cache on, as they are by default, or off.
func withStrategy(strategy string) func(*config.Config) {
	return func(settings *config.Config) {
		settings.Routing.Strategy, settings.Cache.Enabled = strategy, strategy == config.StrategySplit
	}
}

// TestColdFailed_HotAnswersForAFault puts a proxy in front of a Thanos that answers the
// queries, but not the gateway's own, with a status.
func TestColdFailed_HotAnswersForAFault(t *testing.T) {
	w, oracle, hot, cold := coldWorld(t)
	parsed, err := url.Parse(cold)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(parsed)
	var status atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if fault := int(status.Load()); fault != 0 && !strings.Contains(request.UserAgent(), "probe") {
			response.Header().Set("Retry-After", "7")
			response.WriteHeader(fault)
			_, _ = fmt.Fprint(response, "<html>of a proxy</html>")
			return
		}
		proxy.ServeHTTP(response, request)
	}))
	t.Cleanup(server.Close)
	for _, strategy := range []string{config.StrategyRoute, config.StrategySplit} {
		status.Store(0)
		g := w.gateway(t, hot, server.URL, withStrategy(strategy))
		for _, fault := range []int{429, 500, 502, 503, 504} {
			t.Run(fmt.Sprintf("%s, %d", strategy, fault), func(t *testing.T) {
				status.Store(int64(fault))
				w.coldFails(t, g, oracle)
				got, err := ask(t.Context(), g.URL, question{endpoint: "query", values: url.Values{"query": {"sum(increase(http_requests_total[5d]))"}, "time": {seconds(w.now)}}})
				require.NoError(t, err)
				require.Equal(t, []any{fault, "cold"}, []any{got.status, got.tier}, "hot does not hold it: %s", got.message)
				require.Contains(t, []string{"unavailable", "internal", "timeout"}, got.errorType)
			})
		}
	}
}

// TestColdFailed_HotAnswersWithoutAStore stops the store of a Thanos that gives no partial
// responses. Until the Thanos has noticed, its 422 says that the store is unavailable.
func TestColdFailed_HotAnswersWithoutAStore(t *testing.T) {
	w, oracle, hot, _ := coldWorld(t)
	for _, strategy := range []string{config.StrategyRoute, config.StrategySplit} {
		t.Run(strategy, func(t *testing.T) {
			cold := w.thanos(t, "aborting-"+strategy, map[string][]string{"cold": pairs(hotLabels)}, "--no-query.partial-response")
			g := w.gateway(t, hot, cold.Query.URL, withStrategy(strategy))
			asked := w.coldsQuestions()[3]
			before, err := ask(t.Context(), g.URL, asked)
			require.NoError(t, err)
			require.Contains(t, before.tier, "cold")
			require.NoError(t, cold.Store.Stop())
			direct, err := ask(t.Context(), cold.Query.URL, asked)
			require.NoError(t, err)
			require.Equal(t, http.StatusUnprocessableEntity, direct.status, direct.message)
			w.coldFails(t, g, oracle)
			got, err := ask(t.Context(), g.URL, question{endpoint: "query", values: url.Values{"query": {"sum(increase(http_requests_total[5d]))"}, "time": {seconds(w.now)}}})
			require.NoError(t, err)
			require.Equal(t, []any{503, "unavailable"}, []any{got.status, got.errorType}, "hot does not hold it: %s", got.message)
		})
	}
}

// coldWorld is a world in which hot and a Thanos hold the same hours of one cluster, and
// an oracle with everything.
func coldWorld(t *testing.T) (w *world, oracle, hot, cold string) {
	t.Helper()
	w = shopWorld(t)
	series := w.shop("", nil)
	w.write(t, "labelled", series, w.boundary, w.now.Add(future), labelsInCold)
	w.write(t, "hot", series, w.boundary, w.now.Add(future), nil)
	require.NoError(t, os.CopyFS(filepath.Join(w.dir, "cold"), os.DirFS(filepath.Join(w.dir, "hot"))))
	whole := w.prometheus(t, "whole", "labelled", nil)
	hotServer := w.prometheus(t, "hot", "hot", hotLabels)
	thanos := w.thanos(t, "thanos", map[string][]string{"cold": pairs(hotLabels)})
	return w, whole.URL, hotServer.URL, thanos.Query.URL
}
