//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// newFrontSite starts a Perses with authentication, tierproxy, and nginx in front of
// both. Where page is not nil, it returns the server of the page, which leads to
// Perses as well. An editor may do everything, an outsider nothing.
func newFrontSite(t *testing.T, perses stack.Perses, page func(*site) string) (*site, *front) {
	t.Helper()
	perses.Authentication = true
	perses.Provision = append([]document{user("admin"), user("editor"), user("outsider"), {"kind": "Project", "metadata": document{"name": "shop"}, "spec": document{}}},
		append(role("", "admin", []string{"*"}, []string{"*"}, "admin"), role("", "editor", []string{"*"}, []string{"*"}, "editor")...)...)
	s := newSite(t, perses, document{"projects": []document{{"name": "shop", "all_namespaces": true}}})
	require.Eventually(t, func() bool {
		// A session may be short: it starts anew with each try.
		if _, err := s.runPercli("login", s.perses.URL, "--username", "admin", "--password", password); err != nil {
			return false
		}
		_, err := s.runPercli("describe", "globalrolebinding", "editor")
		return err == nil
	}, 30*time.Second, 50*time.Millisecond)
	s.apply(s.global("metrics", nil), s.global("metrics2", nil), s.project("shop", "metrics", nil))
	behind := s.perses.URL
	if page != nil {
		behind = page(s)
	}
	return s, startFront(t, behind, s.tierproxy.URL)
}

// ask sends a request through nginx.
func (f *front) ask(method, target string, header http.Header) (status int, answered http.Header, body string) {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.t.Context(), method, f.URL()+target, nil)
	require.NoError(f.t, err)
	request.Header = header.Clone()
	response, err := f.client.Do(request)
	require.NoError(f.t, err)
	text, err := io.ReadAll(response.Body)
	require.NoError(f.t, err)
	require.NoError(f.t, response.Body.Close())
	return response.StatusCode, response.Header, string(text)
}

// upstreamOf returns the address that nginx sent the last request with a target to.
func (f *front) upstreamOf(target string) string {
	f.t.Helper()
	upstream := ""
	// The line is written after the answer has gone out.
	require.Eventually(f.t, func() bool {
		for _, line := range f.log(target) {
			if line.Target == target {
				upstream = line.Upstream
			}
		}
		return upstream != ""
	}, 30*time.Second, 10*time.Millisecond, target)
	return upstream
}

// TestFront_NginxSendsTieredDatasourcesToTierproxy runs nginx as deploy/nginx
// configures it, in front of Perses with authentication and of tierproxy.
func TestFront_NginxSendsTieredDatasourcesToTierproxy(t *testing.T) {
	t.Parallel()
	s, f := newFrontSite(t, stack.Perses{}, nil)
	editor, outsider := header(nil, s.session("editor")), header(nil, s.session("outsider"))
	global, ofShop := "/proxy/globaldatasources/metrics", "/proxy/projects/shop/datasources/metrics"
	query := "/api/v1/query?" + url.Values{"query": {"up"}}.Encode()

	t.Run("who may ask", func(t *testing.T) {
		for _, path := range []string{global, ofShop} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				for _, each := range []struct {
					header http.Header
					status int
				}{{editor, 200}, {outsider, 403}, {nil, 401}, {header(s.session("editor"), nil), 200}, {editor, 200}} {
					status, answered, body := f.ask(method, path+query, each.header)
					require.Equal(t, each.status, status, body)
					require.Equal(t, "no-store", answered.Get("Cache-Control"))
					require.Empty(t, answered.Values("Set-Cookie"))
					if status == http.StatusOK {
						require.NotEmpty(t, answered.Get("X-Tier"))
					}
				}
				require.Equal(t, f.tierproxy, f.upstreamOf(path+query))
			}
		}
	})
	t.Run("everything else is for Perses", func(t *testing.T) {
		for _, path := range []string{
			"/metrics", "/-/healthy", "/-/ready", query, "/api/v1/datasources/health", "/debug/pprof/", "/", "/proxy/globaldatasources/metrics2" + query,
			"/proxy/unsaved/globaldatasources" + query, "/PROXY/globaldatasources/metrics" + query, "/proxy/globaldatasources/METRICS" + query, "/proxy/globaldatasources/metrics./x",
		} {
			_, answered, body := f.ask(http.MethodGet, path, editor)
			require.Equal(t, f.perses, f.upstreamOf(path), path)
			require.NotContains(t, body, "tierproxy_build_info", path)
			if !strings.Contains(path, "metrics2") && !strings.Contains(path, "METRICS") { // Perses ignores the case.
				require.Empty(t, answered.Get("X-Tier"), path)
			}
		}
	})
	t.Run("pages of other origins are refused", func(t *testing.T) {
		for site, status := range map[string]int{"same-origin": 200, "none": 200, "same-site": 403, "cross-site": 403} {
			asked := editor.Clone()
			asked.Set("Sec-Fetch-Site", site)
			got, _, body := f.ask(http.MethodGet, global+query, asked)
			require.Equal(t, status, got, body)
		}
		for origin, status := range map[string]int{f.URL(): 200, "https://" + f.evil: 403, "null": 403} {
			asked := editor.Clone()
			asked.Set("Origin", origin)
			got, _, body := f.ask(http.MethodPost, global+query, asked)
			require.Equal(t, status, got, body)
			// Perses itself lets all of them pass, with its own token.
			got, _, body = f.ask(http.MethodPost, "/proxy/globaldatasources/metrics2"+query, asked)
			require.Equal(t, http.StatusOK, got, body)
		}
	})
	t.Run("connections are kept for nginx only", func(t *testing.T) { frontKeepsConnections(t, s, f, editor) })
	t.Run("tricks with paths and framing", func(t *testing.T) { frontRefusesTricks(t, f, editor) })
	t.Run("live queries are not buffered", func(t *testing.T) { frontFollows(t, s, f, editor, header(s.session("editor"), nil)) })
	t.Run("a revoked permission takes effect", func(t *testing.T) { frontRevokes(t, s, f, editor) })
	text, err := os.ReadFile(s.tierproxy.LogFile)
	require.NoError(t, err)
	for pair := range strings.SplitSeq(editor.Get("Cookie"), "; ") {
		_, value, _ := strings.Cut(pair, "=")
		require.NotContains(t, string(text), value)
	}
}

// frontRevokes takes the permission of a user away: queries are refused, and live queries end.
func frontRevokes(t *testing.T, s *site, f *front, editor http.Header) {
	t.Helper()
	const global = "/proxy/globaldatasources/metrics"
	query := "/api/v1/query?" + url.Values{"query": {"up"}}.Encode()
	following := []*liveClient{
		followLive(t, "editor, through Perses", s.perses.URL+global, http.DefaultClient, editor), followLive(t, "editor, through nginx", f.URL()+global, f.client, editor),
	}
	for _, each := range following {
		each.awaitAppends(1)
	}
	status, _, body := f.ask(http.MethodGet, global+query, editor)
	require.Equal(t, http.StatusOK, status, body)
	output, err := s.runPercli("delete", "globalrolebinding", "editor")
	require.NoError(t, err, output)
	revoked := time.Now()
	require.Eventually(t, func() bool {
		status, _, _ := f.ask(http.MethodGet, global+query, editor)
		return status == http.StatusForbidden
	}, 30*time.Second, 50*time.Millisecond)
	require.LessOrEqual(t, time.Since(revoked), 2*lookupFreshness)
	frontEndsStreams(t, s, f, following)
}

// TestFront_InABrowser runs the tests of plugin/e2e of front mode: a session of a
// user in a real browser, which expires every few seconds.
func TestFront_InABrowser(t *testing.T) {
	t.Parallel()
	s, f := newFrontSite(t, stack.Perses{AccessTokenTTL: "5s"}, func(s *site) string { return servePage(t, s, "0.53") })
	asAdmin := []string{"--username", "admin", "--password", password} // That session expires, too.
	s.login(asAdmin...)
	s.apply(frontDashboard())
	control := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.login(asAdmin...)
		if output, err := s.runPercli("delete", "globalrolebinding", "editor"); err != nil || r.URL.Path != "/revoke" {
			http.Error(w, fmt.Sprint(output, err), http.StatusInternalServerError)
		}
	}))
	t.Cleanup(control.Close)
	runBrowser(t, "front", "FRONT_URL="+f.URL(), "EVIL_URL=https://"+f.evil, "FRONT_PERSES="+f.perses, "FRONT_TIERPROXY="+f.tierproxy,
		"FRONT_LOG="+f.accessLog, "FRONT_PASSWORD="+password, "GATEWAY_URL="+s.tierproxy.URL, "CONTROL_URL="+control.URL)
}

// frontDashboard has one panel, of the datasource metrics.
func frontDashboard() document {
	query := document{"kind": "TieredPrometheusTimeSeriesQuery", "spec": document{
		"datasource": document{"kind": "TieredPrometheusDatasource", "name": "metrics"}, "query": "sum by (job) (rate(http_requests_total[5m]))", "seriesNameFormat": "{{job}}",
	}}
	panel := document{"kind": "Panel", "spec": document{
		"display": document{"name": "Requests"}, "plugin": document{"kind": "TimeSeriesChart", "spec": document{"legend": document{"position": "bottom", "mode": "list"}}},
		"queries": []document{{"kind": "TimeSeriesQuery", "spec": document{"plugin": query}}},
	}}
	return document{"kind": "Dashboard", "metadata": document{"name": "front", "project": "shop"}, "spec": document{
		"duration": "5m", "variables": []any{}, "panels": document{"requests": panel},
		"layouts": []document{{"kind": "Grid", "spec": document{"items": []document{{"x": 0, "y": 0, "width": 16, "height": 10, "content": document{"$ref": "#/spec/panels/requests"}}}}}},
	}}
}

// frontKeepsConnections checks that nginx keeps its connections to tierproxy, and that
// Perses keeps none.
func frontKeepsConnections(t *testing.T, s *site, f *front, editor http.Header) {
	opened := func() int {
		count, err := s.tierproxy.OpenFiles()
		require.NoError(t, err)
		return count
	}
	const requests = 100
	ask := func(path string) {
		for i := range requests {
			status, _, body := f.ask(http.MethodGet, fmt.Sprintf("%s/api/v1/query?query=%d", path, i), editor)
			require.Equal(t, http.StatusOK, status, body)
		}
	}
	ask("/proxy/globaldatasources/metrics")
	kept := opened()
	ask("/proxy/globaldatasources/metrics")
	require.Less(t, opened(), kept+requests/5, "connections of nginx are used again")
	ask("/proxy/globaldatasources/metrics2")
	require.Eventually(t, func() bool { return opened() < kept+requests/5 }, 30*time.Second, 50*time.Millisecond, "Perses leaves no connection")
}

// frontRefusesTricks checks that no request reaches another path of tierproxy than one
// of the datasource, however nginx reads it.
func frontRefusesTricks(t *testing.T, f *front, editor http.Header) {
	const base = "/proxy/globaldatasources/metrics"
	atTierproxy := 0
	for i, path := range []string{
		base + "/../../../metrics", base + "/..%2f..%2f../metrics", base + "/%2e%2e/%2e%2e/%2e%2e/metrics", base + "/..;/..;/..;/metrics", base + `/..\..\..\metrics`, base + "/%5c..%5cmetrics",
		"/metrics/.." + base + "/", "/metrics/%2e%2e" + base + "/", "/metrics%2f.." + base + "/", "/metrics#/.." + base + "/", "/metrics?/.." + base + "/", "//metrics/.." + base + "/",
		"/proxy%2fglobaldatasources/metrics/metrics", "//proxy//globaldatasources//metrics//..//..//..//metrics", "/./proxy/./globaldatasources/metrics/metrics", "/%70roxy/globaldatasources/metrics/../../../metrics",
		"https://tierproxy/metrics", "https://tierproxy" + base + "/../../../metrics", base + "/%00/../../../../metrics", base + "/%252e%252e/%252e%252e/%252e%252e/metrics", "//evil.example/.." + base + "/",
	} {
		mark := fmt.Sprintf("trick=%d.", i)
		separator := "?"
		if strings.Contains(path, "?") {
			separator = "&"
		}
		if before, after, found := strings.Cut(path, "#"); found {
			path = before + "?" + mark + "#" + after
		} else {
			path += separator + mark
		}
		answer := f.raw("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: " + editor.Get("Cookie") + "\r\n\r\n")
		status, _, _ := strings.Cut(answer, "\r\n")
		require.NotContains(t, answer, "tierproxy_build_info", "%s: the metrics of Perses may be read", path)
		require.NotContains(t, answer, "Location: //", path)
		require.NotContains(t, answer, "Location: http", path)
		var lines []logged
		require.Eventually(t, func() bool {
			lines = f.log(mark)
			return len(lines) == 1 || strings.Contains(answer, "<center>nginx") // Refused, and perhaps logged without a target.
		}, 30*time.Second, 10*time.Millisecond, "%s: %s", path, answer)
		if len(lines) == 1 && lines[0].throughTierproxy {
			atTierproxy++
			require.Regexp(t, `^HTTP/1.1 (307|400|404) `, status, path)
		}
	}
	require.Greater(t, atTierproxy, 5, "nginx sends some of them on")
	// One request is one request: nginx and tierproxy agree where it ends.
	hidden := "GET " + base + "/api/v1/query?query=42&smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for _, framing := range []string{
		fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%s", len(hidden)+5, hidden),
		fmt.Sprintf("Content-Length: 0\r\nContent-Length: %d\r\n\r\n%s", len(hidden), hidden),
		"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + hidden,
		"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden,
		fmt.Sprintf("Content-Length: +%d\r\n\r\n%s", len(hidden), hidden),
		"Content-Length: 0\r\nConnection: Content-Length\r\n\r\n" + hidden,
	} {
		answer := f.raw("POST " + base + "/api/v1/query?query=1&outer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: " + editor.Get("Cookie") + "\r\n" + framing)
		require.LessOrEqual(t, strings.Count(answer, `"status":"success"`), 1, "%s\n%s", framing, answer)
		require.NotContains(t, answer, `"42"`, framing)
		status, _, body := f.ask(http.MethodGet, base+"/api/v1/query?query=7", editor)
		require.Equal(t, http.StatusOK, status, body)
		require.Contains(t, body, `"7"`, "the next request on the connection gets its own answer")
	}
}
