package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// metric returns the value of one series.
func (g *served) metric(t *testing.T, series string) float64 {
	t.Helper()
	_, body := g.ask(t, http.MethodGet, "/metrics", "")
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(body)
	require.NotNil(t, found, "%s is not in\n%s", series, body)
	value, err := strconv.ParseFloat(found[1], 64)
	require.NoError(t, err)
	return value
}

func TestMetrics_CountRequestsByEndpointAndOutcome(t *testing.T) {
	g := newGateway(t, nil)
	count := func(endpoint, outcome string) float64 {
		return g.metric(t, `tierproxy_requests_total{endpoint="`+endpoint+`",outcome="`+outcome+`"}`)
	}
	require.Zero(t, count("labels", "canceled"), "there from the start")

	g.ask(t, http.MethodGet, query, "")
	g.ask(t, http.MethodGet, "/api/v1/query?query=up)", "") // The tier is asked what it makes of it.
	g.hot.Handle(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnprocessableEntity) })
	g.ask(t, http.MethodGet, query, "")
	require.InDelta(t, 3, count("query", "success")+count("query", "rejected"), 0)
	require.Positive(t, count("query", "rejected"))

	g.ask(t, http.MethodGet, query, "", "X-Tier-Choice", "warm")
	require.InDelta(t, 4, count("query", "success")+count("query", "rejected"), 0, "a refusal of the gateway")

	g.hot.Handle(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	g.cold.Handle(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	g.ask(t, http.MethodGet, query, "")
	require.InDelta(t, 1, count("query", "failed"), 0)
	require.InDelta(t, 1, g.metric(t, `tierproxy_upstream_retries_total{next="cold"}`), 0)
	require.Zero(t, g.metric(t, `tierproxy_upstream_retries_total{next="replica"}`))

	_, err := g.manager.Router().ExecuteQuery(t.Context(), &datasource.MetricQuery{Query: "up"})
	require.Error(t, err)
	require.InDelta(t, 2, count("query", "failed"), 0, "those of Go programs count too")
}

func TestMetrics_CountAnswersThatWereCutOff(t *testing.T) {
	g := newGateway(t, nil)
	g.hot.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`{"status":"success","data":{`))
		http.NewResponseController(w).Flush() //nolint:errcheck // What follows is cut off in any case.
		panic(http.ErrAbortHandler)
	})
	response, err := http.Get(g.URL + query)
	if err == nil {
		_ = response.Body.Close()
	}
	require.Eventually(t, func() bool {
		return g.metric(t, `tierproxy_requests_total{endpoint="query",outcome="aborted"}`)+
			g.metric(t, `tierproxy_requests_total{endpoint="query",outcome="canceled"}`) == 1
	}, 5*time.Second, 10*time.Millisecond)
}

func TestMetrics_ShowTheStateOfTheTiers(t *testing.T) {
	g := newGateway(t, nil)
	require.Positive(t, g.metric(t, `tierproxy_tier_last_probe_timestamp_seconds{tier="cold"}`))
	require.Positive(t, g.metric(t, `tierproxy_tier_probe_duration_seconds{tier="cold"}`))
	require.InDelta(t, float64(time.Now().Unix()), g.metric(t, "tierproxy_cold_coverage_end_timestamp_seconds"), 3600)
	require.InDelta(t, 1, g.metric(t, `tierproxy_health_status{status="healthy"}`)+
		g.metric(t, `tierproxy_health_status{status="degraded"}`)+g.metric(t, `tierproxy_health_status{status="unhealthy"}`), 0)
	require.Zero(t, g.metric(t, `tierproxy_discovered_service_state{state="found",tier="hot"}`))
	require.Zero(t, g.metric(t, `tierproxy_hot_replicas{state="available"}`))
}

// TestMetrics_EndWithTheirTier reloads without hot. A value that stayed would keep
// an alert firing forever.
func TestMetrics_EndWithTheirTier(t *testing.T) {
	g := newGateway(t, nil)
	require.InDelta(t, 1, g.metric(t, `tierproxy_tier_available{tier="hot"}`), 0)
	require.Positive(t, g.metric(t, "tierproxy_hot_coverage_start_timestamp_seconds"))
	next := running.Start(t, running.TwoTiers("", g.cold.URL), nil, datasource.Replacing(g.manager))

	metrics := httptest.NewRecorder()
	gateway.New(next).ServeHTTP(metrics, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	require.Contains(t, metrics.Body.String(), `tierproxy_tier_available{tier="cold"} `)
	require.Contains(t, metrics.Body.String(), "\ntierproxy_hot_coverage_start_timestamp_seconds NaN\n")
	for _, name := range []string{"tierproxy_tier_available", "tierproxy_tier_probe_duration_seconds", "tierproxy_tier_last_probe_timestamp_seconds"} {
		require.NotContains(t, metrics.Body.String(), name+`{tier="hot"}`)
	}
	require.Contains(t, metrics.Body.String(), `tierproxy_hot_replicas{state="available"} 0`)
}

func TestMetrics_CountReloadsOfCredentials(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	write := func(text string) { require.NoError(t, os.WriteFile(token, []byte(text), 0o600)) }
	write("one")
	g := newGateway(t, func(settings *config.Config) {
		settings.Hot.HTTPConfig = running.HTTPConfig(t, "authorization: {credentials_file: "+token+"}")
	})
	g.hot.Handle(faketier.Success)
	count := func(outcome string) float64 {
		return g.metric(t, `tierproxy_credential_reloads_total{outcome="`+outcome+`"}`)
	}
	g.ask(t, http.MethodGet, query, "", "X-Tier-Choice", "hot")
	require.Zero(t, count("success"))
	write("two")
	g.ask(t, http.MethodGet, query, "", "X-Tier-Choice", "hot")
	require.InDelta(t, 1, count("success"), 0)
	require.Zero(t, count("failure"))
	write("")
	g.ask(t, http.MethodGet, query, "", "X-Tier-Choice", "hot")
	require.Positive(t, count("failure"))
}

// TestMetrics_WholeAnswerIsASuccess closes the connection as soon as the whole
// answer has arrived. That is no canceled query.
func TestMetrics_WholeAnswerIsASuccess(t *testing.T) {
	g := newGateway(t, nil)
	const asked = 50
	for range asked {
		response, _ := g.ask(t, http.MethodGet, query, "", "Connection", "close")
		require.Equal(t, http.StatusOK, response.StatusCode)
	}
	require.Eventually(t, func() bool {
		return g.metric(t, `tierproxy_requests_total{endpoint="query",outcome="success"}`) == asked
	}, 5*time.Second, 10*time.Millisecond)
	require.Zero(t, g.metric(t, `tierproxy_requests_total{endpoint="query",outcome="canceled"}`))
}
