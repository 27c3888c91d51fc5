package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
)

func TestHandler_MethodsOfEachPath(t *testing.T) {
	const saved = "/proxy/globaldatasources/metrics"
	perses := fakeperses.Start(t, "alice", map[string]fakeperses.Datasource{"/globaldatasources/metrics": {}, "/globaldatasources": {}})
	g := newGateway(t, func(settings *config.Config) { settings.Perses.URL = perses.URL })
	gateways := map[string]*served{"": newGateway(t, nil), saved: g}
	methods := map[string]string{
		"/api/v1/query":               "GET, POST, OPTIONS",
		"/api/v1/metadata":            "GET, OPTIONS",
		"/api/v1/label/U__x/values":   "GET, OPTIONS",
		"/api/v1/datasources/explain": "GET, POST, OPTIONS",
		"/api/v1/datasources/check":   "POST, OPTIONS",
		"/api/v1/metrics/query":       "POST, OPTIONS",
		"/api/v1/alert_thresholds":    "GET, POST, OPTIONS",
		"/api/v1/datasources/health":  "GET, HEAD, OPTIONS",
		"/-/healthy":                  "GET, HEAD, OPTIONS",
		"/-/ready":                    "GET, HEAD, OPTIONS",
		"/":                           "GET, HEAD, OPTIONS",
	}
	for path, allowed := range methods {
		for base, g := range gateways {
			// Nobody has to sign in to be told.
			response, body := g.ask(t, http.MethodOptions, base+path, "")
			require.Equal(t, []any{http.StatusNoContent, allowed, ""}, []any{response.StatusCode, response.Header.Get("Allow"), body}, base+path)
			for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodHead, http.MethodPost, "TRACE", "get"} {
				if strings.Contains(allowed, method) {
					continue
				}
				response, body := g.ask(t, method, base+path, "", "Authorization", "Bearer alice")
				require.Equal(t, []any{http.StatusMethodNotAllowed, allowed}, []any{response.StatusCode, response.Header.Get("Allow")}, "%s %s: %s", method, base+path, body)
				if method == http.MethodHead {
					continue
				}
				var decoded map[string]string
				require.NoError(t, json.Unmarshal([]byte(body), &decoded), body)
				require.Equal(t, path+" does not take the method "+method+": use "+strings.ReplaceAll(allowed, ", ", " or "), decoded["error"])
			}
		}
	}
	for _, g := range gateways {
		require.Empty(t, append(g.hot.Requests(), g.cold.Requests()...), "nothing reached a tier")
	}

	for path, status := range map[string]int{"/graph": 404, "/api/v1/write": 403, saved + "/api/v1/nonsense": 404} {
		response, body := g.ask(t, http.MethodOptions, path, "")
		require.Equal(t, status, response.StatusCode, path)
		require.Contains(t, body, `"status":"error"`)
	}
	// Who may not ask learns that first.
	response, _ := g.ask(t, http.MethodPut, saved+"/api/v1/query", "")
	require.Equal(t, http.StatusUnauthorized, response.StatusCode)
}

func TestHandler_PagesOfAnotherOriginMayNotAsk(t *testing.T) {
	g := newGateway(t, nil)
	response, body := g.ask(t, http.MethodOptions, "/api/v1/query", "", "Origin", "http://elsewhere.example", "Access-Control-Request-Method", "POST")
	require.Equal(t, http.StatusForbidden, response.StatusCode)
	require.Contains(t, body, "pages of another origin may not query tierproxy: query through Perses")
	require.Empty(t, response.Header.Get("Access-Control-Allow-Origin"))
}

// A base URL with a slash at its end makes two of them.
func TestHandler_EmptySegmentsLeadToThePlainPath(t *testing.T) {
	g := newGateway(t, nil)
	for path, plain := range map[string]string{
		"//api/v1/query?query=up&time=1000":               "/api/v1/query?query=up&time=1000",
		"/api//v1/query?query=up":                         "/api/v1/query?query=up",
		"////api///v1/query":                              "/api/v1/query",
		"//evil.example/api/v1/query":                     "/evil.example/api/v1/query",
		"/proxy/globaldatasources/metrics//api/v1/labels": "/proxy/globaldatasources/metrics/api/v1/labels",
		"//api/v1/label/caf%C3%A9/values":                 "/api/v1/label/caf%C3%A9/values",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			response, body := g.raw(t, method, path)
			require.Equal(t, []any{http.StatusTemporaryRedirect, plain, ""}, []any{response.StatusCode, response.Header.Get("Location"), body}, path)
		}
	}
	// What two servers could read in two ways is an error that says so.
	for _, path := range []string{"/proxy/projects//datasources/b/api/v1/query", "//api/../v1/query", "//a%2Fb", "//%5Cevil.example/"} {
		response, body := g.raw(t, http.MethodGet, path)
		require.Equal(t, http.StatusBadRequest, response.StatusCode, path)
		require.Contains(t, body, "remove it")
	}
	require.Empty(t, append(g.hot.Requests(), g.cold.Requests()...))

	// Whoever follows gets the answer, of a POST too.
	for method, body := range map[string]string{http.MethodGet: "", http.MethodPost: "query=up"} {
		request, err := http.NewRequestWithContext(t.Context(), method, g.URL+"//api/v1/query?query=up", strings.NewReader(body))
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, []any{http.StatusOK, "/api/v1/query"}, []any{response.StatusCode, response.Request.URL.Path})
	}
	require.Len(t, append(g.hot.Requests(), g.cold.Requests()...), 2)
}
