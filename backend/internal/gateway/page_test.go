package gateway_test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

func TestPage_ShowsTheStateOfTheTiers(t *testing.T) {
	synctest.Test(t, testPageShowsTheStateOfTheTiers)
}

func testPageShowsTheStateOfTheTiers(t *testing.T) {
	g := newGatewayInBubble(t, nil, nil)
	g.ask(t, http.MethodGet, query, "") // It waits until the gateway knows what the tiers hold.
	response, body := g.ask(t, http.MethodGet, "/", "")
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, "text/html; charset=utf-8", response.Header.Get("Content-Type"))
	require.Contains(t, response.Header.Get("Content-Security-Policy"), "default-src 'none'")
	for _, expected := range []string{
		`Default datasource: <span class="healthy">healthy</span>`, `<h2 id="hot">hot tier</h2>`, `<h2 id="cold">cold tier</h2>`,
		"<code>" + g.hot.URL + "</code>", "<code>" + g.cold.URL + "</code>", "Coverage starts", "Coverage ends",
		`<a href="api/v1/datasources/health">`,
	} {
		require.Contains(t, body, expected)
	}
	require.NotRegexp(t, regexp.MustCompile(`<(script|link|img|iframe)|\bsrc=|@import|url\(`), body, "nothing is loaded")

	g.hot.HandleProbes(faketier.Status(503, ""))
	waitForProbes()
	_, body = g.ask(t, http.MethodGet, "/", "")
	require.Contains(t, body, `<span class="unavailable">unavailable</span>`)
	require.Contains(t, body, `<span class="degraded">degraded</span>`)
	require.Regexp(t, `<li>hot: .*503`, body)
	response, _ = g.ask(t, http.MethodPost, "/", "")
	require.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
}

// TestPage_OfASavedDatasourceNeedsItsPermission asks for the page with and without
// the right to read the datasource in Perses.
func TestPage_OfASavedDatasourceNeedsItsPermission(t *testing.T) {
	perses := fakeperses.Start(t, "alice", map[string]fakeperses.Datasource{"/globaldatasources/metrics": {}})
	g := newGateway(t, func(settings *config.Config) { settings.Perses.URL = perses.URL })
	const path = "/proxy/globaldatasources/metrics/"
	response, _ := g.ask(t, http.MethodGet, path, "")
	require.Equal(t, http.StatusUnauthorized, response.StatusCode)
	response, body := g.ask(t, http.MethodGet, path, "", "Authorization", "Bearer alice")
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Contains(t, body, "<title>tierproxy: Global datasource &#34;metrics&#34;</title>")
}

// TestHealth_ShowsTierConfigurationToUnconfinedCallers looks for an external label
// of hot in health and page. Unknown and confined callers do not see it.
func TestHealth_ShowsTierConfigurationToUnconfinedCallers(t *testing.T) {
	perses := fakeperses.Start(t, "alice", map[string]fakeperses.Datasource{"/globaldatasources/metrics": {}, "/projects/shop/datasources/metrics": {}})
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("let-me-in"), 0o600))
	hot, cold := faketier.Start(t), faketier.Start(t)
	for _, each := range []*faketier.Tier{hot, cold} {
		each.HandleProbes(faketier.Telling(map[string]string{"/label/": `[]`, "/series": `[]`, "/status/flags": `{}`, "/status/config": `{"yaml":""}`}))
	}
	g := newGatewayAt(t, hot, cold, func(settings *config.Config) {
		settings.Perses.URL = perses.URL
		settings.Hot.ExternalLabels = config.LabelSet{"cluster": "planted"}
		settings.DefaultDatasource.Enabled = true
		settings.DefaultDatasource.TokenFile = token
		settings.Projects = []config.ProjectConfig{{Name: "shop", Namespaces: []string{"shop"}}}
		settings.Enforcement.Datasources = []config.ConfinedDatasource{{Name: "metrics", AllNamespaces: true}}
	})
	require.NotNil(t, g.health(t).Tiers["hot"].ExternalLabels)
	for _, test := range []struct {
		base, token string
		seen        bool
	}{
		{"", "", false}, {"", "let-me-in", true},
		{"/proxy/globaldatasources/metrics", "alice", true}, {"/proxy/projects/shop/datasources/metrics", "alice", false},
	} {
		for _, path := range []string{"/api/v1/datasources/health", "/"} {
			response, body := g.ask(t, http.MethodGet, test.base+path, "", "Authorization", "Bearer "+test.token)
			require.Equal(t, http.StatusOK, response.StatusCode, body)
			require.Equal(t, test.seen, strings.Contains(body, "planted"), "%s as %q: %s", test.base+path, test.token, body)
		}
	}
}
