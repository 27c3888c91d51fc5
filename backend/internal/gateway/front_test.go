package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
)

// saved is a path of a datasource of Perses, and sessionCookie the session of a browser.
const (
	saved         = "/proxy/globaldatasources/metrics"
	sessionCookie = "theme=dark; jwtPayload=ann; jwtSignature=signature; jwtRefreshToken=refresh"
)

// newFront returns a gateway behind a Perses with authentication.
func newFront(t *testing.T) (*served, *persesOfUsers) {
	t.Helper()
	authority := newPersesOfUsers(t, true)
	return newGateway(t, func(settings *config.Config) { settings.Perses.URL = authority.URL }), authority
}

func TestFront_CrossSiteRequestsAreRefused(t *testing.T) {
	g, authority := newFront(t)
	host := strings.TrimPrefix(g.URL, "http://")
	session := func(header ...string) []string { return append([]string{"Cookie", sessionCookie}, header...) }
	for _, test := range []struct {
		name    string
		header  []string
		allowed bool
	}{
		{"a page of Perses", session("Sec-Fetch-Site", "same-origin", "Origin", "https://"+host), true},
		{"a page of Perses over plain HTTP", session("Origin", "http://"+host), true},
		{"the address bar", session("Sec-Fetch-Site", "none"), true},
		{"a program with cookies", session(), true},
		{"a page of another site", session("Sec-Fetch-Site", "cross-site"), false},
		{"a page of a subdomain", session("Sec-Fetch-Site", "same-site"), false},
		{"an unknown relation", session("Sec-Fetch-Site", "elsewhere"), false},
		{"a page of another site that claims the origin", session("Sec-Fetch-Site", "cross-site", "Origin", "https://"+host), false},
		{"another origin over plain HTTP", session("Origin", "http://evil.example"), false},
		{"another port over plain HTTP", session("Origin", "http://127.0.0.1:1"), false},
		{"an opaque origin", session("Origin", "null"), false},
		{"the refresh token alone", []string{"Cookie", "jwtRefreshToken=refresh", "Sec-Fetch-Site", "cross-site"}, false},
		{"a second header of cookies", session("Cookie", "x=y", "Sec-Fetch-Site", "cross-site"), false},
		{"a browser that adds its password for the ingress", session("Sec-Fetch-Site", "cross-site", "Authorization", "Basic YTpi"), false},

		// What Perses passes on: the token that it makes of the cookies, and the headers of the browser.
		{"through Perses", session("Sec-Fetch-Site", "same-origin", "Origin", "https://perses.example", "Authorization", "Bearer ann"), true},
		{"through Perses over plain HTTP", session("Origin", "http://perses.example", "Authorization", "Bearer ann"), true},
		{"through Perses, from an origin that it allows", session("Sec-Fetch-Site", "cross-site", "Origin", "https://portal.example", "Authorization", "bearer ann"), true},
		{"through Perses with a secret of the datasource", session("Sec-Fetch-Site", "same-origin", "Origin", "https://perses.example", "Authorization", "Basic YTpi"), true},
		{"the same over plain HTTP", session("Origin", "http://perses.example", "Authorization", "Basic YTpi"), true},
		{"a program with a token", []string{"Authorization", "Bearer ann"}, true},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			t.Run(test.name+" "+method, func(t *testing.T) {
				before := authority.lookups.Load()
				target, body := saved+"/api/v1/query?query=up", ""
				if method == http.MethodPost {
					target, body = saved+"/api/v1/query", "query=up"
					test.header = append(test.header, "Content-Type", "application/x-www-form-urlencoded")
				}
				response, answer := g.ask(t, method, target, body, test.header...)
				require.Empty(t, response.Header.Values("Access-Control-Allow-Origin"))
				if test.allowed {
					require.Equal(t, http.StatusOK, response.StatusCode, answer)
					return
				}
				require.Equal(t, http.StatusForbidden, response.StatusCode, answer)
				require.Contains(t, answer, `"errorType":"forbidden"`)
				require.Contains(t, answer, "query from Perses itself")
				require.Equal(t, before, authority.lookups.Load(), "the session is not even used at Perses")
			})
		}
	}
}

// Every path of a datasource is guarded, and no other is.
func TestFront_EveryEndpointOfADatasourceIsGuarded(t *testing.T) {
	g, _ := newFront(t)
	for path, method := range map[string]string{
		"/api/v1/labels": http.MethodGet, "/api/v1/datasources/health": http.MethodGet, "/api/v1/datasources/explain?query=up": http.MethodGet,
		"/api/v1/datasources/check": http.MethodPost, "/api/v1/metrics/query": http.MethodPost, "/api/v1/alert_thresholds": http.MethodGet, "/": http.MethodGet, "/-/healthy": http.MethodGet, "/nothing": http.MethodGet,
	} {
		response, answer := g.ask(t, method, saved+path, "", "Cookie", sessionCookie, "Sec-Fetch-Site", "cross-site")
		require.Equal(t, http.StatusForbidden, response.StatusCode, "%s: %s", path, answer)
		require.Contains(t, answer, "a page of another origin", path)
	}
	response, _ := g.ask(t, http.MethodGet, "/-/healthy", "", "Cookie", sessionCookie, "Sec-Fetch-Site", "cross-site")
	require.Equal(t, http.StatusOK, response.StatusCode)
}

func TestFront_ConnectionsOfAnIngressAreKept(t *testing.T) {
	g, _ := newFront(t)
	host := strings.TrimPrefix(g.URL, "http://")
	for _, test := range []struct {
		name   string
		header []string
		kept   bool
	}{
		{"a browser behind an ingress", []string{"Cookie", sessionCookie}, true},
		{"without a session, behind an ingress that names the host", []string{"X-Forwarded-Host", host}, true},
		{"with a token, behind such an ingress", []string{"X-Forwarded-Host", "forged", "X-Forwarded-Host", host, "Authorization", "Bearer ann"}, true},
		{"through Perses", []string{"Cookie", sessionCookie, "Authorization", "Bearer ann"}, false},
		{"through Perses, behind an ingress", []string{"Cookie", sessionCookie, "Authorization", "Bearer ann", "X-Forwarded-Host", "perses.example"}, false},
		{"through a Perses without authentication", nil, false},
		{"the same with other cookies", []string{"Cookie", "theme=dark"}, false},
		{"a host that a client claims", []string{"X-Forwarded-Host", host, "X-Forwarded-Host", "perses.example"}, false},
	} {
		response, _ := g.ask(t, http.MethodGet, saved+"/api/v1/query?query=up", "", test.header...)
		require.Equal(t, test.kept, !response.Close, test.name)
	}
}

func TestFront_AnswersAreNotForSharedCaches(t *testing.T) {
	g, _ := newFront(t)
	for _, path := range []string{"/api/v1/query?query=up", "/api/v1/query?query=(", "/api/v1/labels", "/api/v1/datasources/health", "/api/v1/datasources/explain?query=up", "/", "/nothing"} {
		for _, header := range [][]string{{"Cookie", sessionCookie}, nil} {
			response, _ := g.ask(t, http.MethodGet, saved+path, "", header...)
			require.Equal(t, []string{"no-store"}, response.Header.Values("Cache-Control"), path)
		}
	}
}
