package upstream

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

func TestTenancy_NamespacesGoIntoTheURL(t *testing.T) {
	fake := faketier.New()
	t.Cleanup(fake.Close)
	made := client(t, fake.URL, nil)
	made.tenancy = &Tenancy{Parameter: "namespace", Probe: "monitoring"}
	do := func(method, rawQuery, body string, confined ...string) faketier.Request {
		t.Helper()
		request := &promapi.Request{Method: method, Path: "/api/v1/query", RawQuery: rawQuery, Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}
		if body != "" {
			request.Body = []byte(body)
		}
		response, err := made.Do(t.Context(), request, confined...)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		seen := fake.Requests()
		return seen[len(seen)-1]
	}
	seen := do(http.MethodPost, "", "query=up", "shop")
	require.Equal(t, http.MethodGet, seen.Method, "a POST that fits into a URL")
	require.Equal(t, url.Values{"query": {"up"}, "namespace": {"shop"}}, seen.Parameters)
	require.Empty(t, seen.Body)
	require.Empty(t, seen.Header.Get("Content-Type"))
	seen = do(http.MethodGet, "query=up", "", "shop", "bank")
	require.Equal(t, url.Values{"query": {"up"}, "namespace": {"shop", "bank"}}, seen.Parameters)
	long := "query=" + strings.Repeat("a", longestQuery)
	seen = do(http.MethodPost, "", long, "shop")
	require.Equal(t, http.MethodPost, seen.Method)
	require.Equal(t, long, seen.Body)
	require.Equal(t, []string{"shop"}, seen.Parameters["namespace"], "such a proxy reads it from the URL only")

	_, err := made.Do(t.Context(), &promapi.Request{Method: http.MethodGet, Path: "/api/v1/query", Header: http.Header{}})
	require.Equal(t, http.StatusForbidden, promapi.AsError(err).Status)
	require.Equal(t, url.Values{"query": {"vector(1)"}, "namespace": {"monitoring"}}, made.tenancy.ofProbe("/api/v1/query", url.Values{"query": {"vector(1)"}}))
	require.Nil(t, made.tenancy.ofProbe("/api/v1/label/__name__/values", nil))
}
