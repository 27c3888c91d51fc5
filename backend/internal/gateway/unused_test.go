package gateway_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// thanosThat is a Thanos of two clusters that answers requests for series as series says.
func thanosThat(series http.HandlerFunc) http.HandlerFunc {
	others := faketier.Telling(map[string]string{
		"/stores": `{"sidecar":[{"name":"a","lastError":null,"labelSets":[{"cluster":"lab"}],"minTime":0,"maxTime":9223372036854775807},
			{"name":"b","lastError":null,"labelSets":[{"cluster":"other"}],"minTime":0,"maxTime":9223372036854775807}]}`,
		"/status/flags": `{}`,
	})
	return func(w http.ResponseWriter, request *http.Request) {
		if strings.HasSuffix(request.URL.Path, "/series") {
			series(w, request)
			return
		}
		others(w, request)
	}
}

func TestHealth_HotThatAnswersNothingIsAVisibleState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGatewayInBubble(t, func(settings *config.Config) { settings.Routing.Threshold = config.Duration(time.Hour) }, func(g *served) {
			g.hot.HandleProbes(faketier.Telling(map[string]string{
				"/status/config": `{"yaml":"global: {external_labels: {cluster: lab}}"}`, "/status/flags": `{}`, "/label/__name__": `["up"]`, "/label/cluster": `[]`,
			}))
			g.cold.HandleProbes(thanosThat(faketier.Status(http.StatusServiceUnavailable, "")))
		})
		waitForProbes()
		panel := func() string {
			response, _ := g.ask(t, http.MethodGet, "/api/v1/query?"+url.Values{"query": {"up"}}.Encode(), "")
			return response.Header.Get("X-Tier") + " " + response.Header.Get("X-Tier-Reason")
		}
		for range 9 {
			require.Equal(t, "cold not-in-hot", panel())
			time.Sleep(time.Minute)
		}
		health := g.health(t)
		require.Equal(t, []string{resolve.StatusHealthy, ""}, []string{health.Status, health.HotUnused})
		require.Regexp(t, `^evidence about 1 of 1 metric names in use is missing since \S+Z: cold answered with status 503 \(Service Unavailable\)$`, health.EvidenceMissing)
		time.Sleep(2 * time.Minute)
		require.Equal(t, "cold not-in-hot", panel())
		health = g.health(t)
		require.Equal(t, resolve.StatusDegraded, health.Status)
		require.Regexp(t, `^hot has answered none of 10 queries since \S+Z; the last one went to cold because it is not known yet whether another source has the metric up$`, health.HotUnused)
		_, page := g.ask(t, http.MethodGet, "/", "")
		require.Contains(t, page, "hot has answered none of 10 queries")
		require.Contains(t, page, "evidence about 1 of 1 metric names in use is missing")
		require.InDelta(t, 1, g.metric(t, "tierproxy_hot_unused"), 0)
		require.Positive(t, g.metric(t, `tierproxy_probe_requests_total{kind="series",outcome="failed",tier="cold"}`))

		g.cold.HandleProbes(thanosThat(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"status":"success","data":[]}`) }))
		time.Sleep(2 * time.Minute)
		panel()
		require.Equal(t, "hot below-threshold", panel())
		health = g.health(t)
		require.Equal(t, []string{resolve.StatusHealthy, "", ""}, []string{health.Status, health.HotUnused, health.EvidenceMissing})
	})
}
