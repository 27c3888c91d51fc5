package gateway_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

func TestHandler_AnswersOldRangesFromTheCache(t *testing.T) {
	synctest.Test(t, testHandlerAnswersOldRangesFromTheCache)
}

func testHandlerAnswersOldRangesFromTheCache(t *testing.T) {
	g := newGatewayInBubble(t, nil, func(g *served) {
		g.hot.HandleProbes(faketier.Telling(map[string]string{"/label/__name__": `["up"]`}))
		g.cold.HandleProbes(faketier.Telling(map[string]string{
			"max(timestamp(":  fmt.Sprintf(`{"resultType":"vector","result":[{"metric":{},"value":[1,"%d"]}]}`, time.Now().Unix()),
			"/label/__name__": `["up"]`,
			"/status/config":  `{"yaml":"global: {}"}`, // Of another server, a late sender might change the last day.
		}))
		g.cold.Handle(faketier.Status(http.StatusOK, `{"status":"success","data":["job"]}`))
	})
	admin := gateway.NewAdmin(g.manager, true)
	waitForProbes()
	now := time.Now()
	at := func(ago time.Duration) string { return fmt.Sprint(now.Add(-ago).Unix()) }
	for path, parameters := range map[string]url.Values{
		"/api/v1/labels": {"start": {at(10 * time.Hour)}, "end": {at(5 * time.Hour)}},
		"/api/v1/query":  {"query": {"max_over_time(up[2h])"}, "time": {at(5 * time.Hour)}},
	} {
		ask := func(method string, header ...string) string {
			target, form := path+"?"+parameters.Encode(), ""
			if method == http.MethodPost {
				target, form = path, parameters.Encode()
				header = append(header, "Content-Type", "application/x-www-form-urlencoded")
			}
			response, text := g.ask(t, method, target, form, header...)
			require.JSONEq(t, `{"status":"success","data":["job"]}`, text)
			require.Equal(t, []string{"cold", "at-or-above-threshold"}, []string{response.Header.Get("X-Tier"), response.Header.Get("X-Tier-Reason")})
			return response.Header.Get("X-Tier-Cache")
		}
		require.Equal(t, "miss; steps=0/1", ask(http.MethodGet), path)
		waitForProbes() // The answer is kept if the stores are still the same.
		require.Equal(t, "hit; steps=1/1", ask(http.MethodGet), path)
		before := len(g.cold.Requests())
		require.Equal(t, "hit; steps=1/1", ask(http.MethodPost), path)
		require.Len(t, g.cold.Requests(), before)
		require.Equal(t, "bypass; steps=0/1", ask(http.MethodPost, "Cache-Control", "no-cache"))
		require.Equal(t, "bypass; steps=0/1", ask(http.MethodGet, "Cache-Control", "no-store"))
		require.Len(t, g.cold.Requests(), before+2)
		cleared := httptest.NewRecorder()
		admin.ServeHTTP(cleared, httptest.NewRequest(http.MethodPost, "/api/v1/cache/clear", http.NoBody))
		require.Equal(t, http.StatusOK, cleared.Code)
		require.Equal(t, "miss; steps=0/1", ask(http.MethodGet))
	}
	response, _ := g.ask(t, http.MethodGet, "/api/v1/labels?start="+at(10*time.Hour), "")
	require.Empty(t, response.Header.Get("X-Tier-Cache"), "it ends now")
	_, text := g.ask(t, http.MethodGet, "/metrics", "")
	require.Regexp(t, `tierproxy_cache_queries_total\{result="hit"\} [1-9]`, text[strings.Index(text, "tierproxy_cache_queries_total"):])
}
