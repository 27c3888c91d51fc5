package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// TestHealth_SaysUpToWhenAnswersOfColdAloneAreKept reads health, page and explanation of a datasource without hot.
func TestHealth_SaysUpToWhenAnswersOfColdAloneAreKept(t *testing.T) {
	thanos := faketier.Start(t)
	thanos.HandleProbes(func(w http.ResponseWriter, request *http.Request) {
		points := `{"resultType":"matrix","result":[{"metric":{},"values":[[1,"%d"]]}]}`
		faketier.Telling(map[string]string{
			"/stores": `{"sidecar":[{"name":"a","lastError":null,"labelSets":[{"cluster":"a"}],"maxTime":9223372036854775807}]}`, "/status/config": `"x"`,
			"/status/flags": `{"query.lookback-delta":"5m"}`, "/series": `[{"__name__":"up","cluster":"a"}]`,
			"max(timestamp(": fmt.Sprintf(points, time.Now().Add(-2*time.Hour).Unix()), "min(count_over_time(": fmt.Sprintf(points, 30),
		})(w, request)
	})
	g := newGateway(t, func(settings *config.Config) {
		settings.Hot.URL, settings.Cold.URL, settings.Cache.Enabled = "", thanos.URL, true
		settings.Probe.Interval, settings.Probe.LearnInterval = config.Duration(50*time.Millisecond), config.Duration(time.Second)
	})
	cold := func() resolve.TierHealth {
		var health resolve.Health
		_, body := g.ask(t, http.MethodGet, "/api/v1/datasources/health", "")
		require.NoError(t, json.Unmarshal([]byte(body), &health), body)
		return health.Tiers["cold"]
	}
	end := time.Now()
	parameters := url.Values{"query": {"up"}, "start": {fmt.Sprint(end.Add(-6 * time.Hour).Unix())}, "end": {fmt.Sprint(end.Unix())}, "step": {"60"}}
	explain := func() (explained struct{ Data gateway.Explanation }) {
		_, body := g.ask(t, http.MethodGet, "/api/v1/datasources/explain?"+parameters.Encode(), "")
		require.NoError(t, json.Unmarshal([]byte(body), &explained), body)
		return explained
	}
	require.NotEmpty(t, cold().NotCached, "nothing is measured before a query needs it")
	require.Nil(t, cold().CachedUntil)
	require.Eventually(t, func() bool { return explain().Data.NotCached == "" }, 30*time.Second, 20*time.Millisecond)
	known := cold()
	require.Equal(t, "measured", known.CacheFreshness)
	require.NotNil(t, known.CachedUntil)
	require.InDelta(t, 131, end.Sub(*known.CachedUntil).Minutes(), 1.5, "two hours, the freshness and two scrape intervals ago")
	require.Equal(t, `the source {cluster="a"} of the cold tier gets its samples late`, known.NotCached)
	_, page := g.ask(t, http.MethodGet, "/", "")
	require.Contains(t, page, "Answers are kept")
	require.Contains(t, page, "measured: the source {cluster=&#34;a&#34;} of the cold tier gets its samples late")
	parameters.Set("start", fmt.Sprint(end.Add(-time.Hour).Unix())) // All of it is too new.
	require.Contains(t, explain().Data.NotCached, "may still change")
}
