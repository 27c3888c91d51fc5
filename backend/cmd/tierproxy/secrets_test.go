package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// recorded keeps the headers of everything that reaches a server.
type recorded struct {
	*httptest.Server
	mutex   sync.Mutex
	headers []http.Header
}

func record(t *testing.T, next http.Handler) *recorded {
	t.Helper()
	r := &recorded{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mutex.Lock()
		r.headers = append(r.headers, request.Header.Clone())
		r.mutex.Unlock()
		next.ServeHTTP(w, request)
	}))
	t.Cleanup(r.Close)
	return r
}

// text is everything that it saw.
func (r *recorded) text() string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return fmt.Sprint(r.headers)
}

// The planted secrets, one of every kind.
const (
	hotToken, coldPassword, apiKey = "planted-hot-token", "planted-cold-password", "planted-api-key"
	clientSecret, accessToken      = "planted-client-secret", "planted-access-token"
	rootToken, session             = "planted-root-token", "planted-session"
)

// plantedGateway is a gateway whose configuration has planted secrets, in front of servers
// that record what they receive.
type plantedGateway struct {
	t                                *testing.T
	behindHot, behindCold            *faketier.Tier
	hot, cold, third, tokens, perses *recorded
	directory, address, admin        string
	// stop ends the gateway and returns its log.
	stop func() string
	// seen is everything that the callers received.
	seen strings.Builder
}

func (g *plantedGateway) file(name, content string) string {
	path := filepath.Join(g.directory, name)
	require.NoError(g.t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func startPlantedGateway(t *testing.T) *plantedGateway {
	t.Helper()
	g := &plantedGateway{t: t, behindHot: faketier.New(), behindCold: faketier.New(), directory: t.TempDir(), address: running.FreeAddress(t), admin: running.FreeAddress(t)}
	t.Cleanup(g.behindHot.Close)
	t.Cleanup(g.behindCold.Close)
	g.hot, g.cold = record(t, g.behindHot), record(t, g.behindCold)
	g.third = record(t, http.RedirectHandler(g.cold.URL, http.StatusFound))
	g.tokens = record(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, accessToken)
	}))
	g.perses = record(t, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.Header.Get("Authorization") != "Bearer "+session {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		// The datasource names the third server, which has a credential of its own.
		_, _ = fmt.Fprintf(w, `{"kind":"GlobalDatasource","metadata":{"name":"metrics"},"spec":{"plugin":{"kind":"TieredPrometheusDatasource","spec":{
			"hot":{"url":%q},"cold":{"url":%q},"proxy":{"kind":"HTTPProxy","spec":{"url":"http://tierproxy/proxy/globaldatasources/metrics"}}}}}}`, g.hot.URL, g.third.URL)
	}))
	config := g.file("tierproxy.yaml", fmt.Sprintf(`
perses: {url: %q, service: {http_config: {authorization: {credentials: planted-service}}, client_names: [perses], datasources: [{name: metrics}]}}
hot: {url: %q, http_config: {authorization: {credentials_file: %s}}}
cold: {url: %q, http_config: {basic_auth: {username: planted-user, password: %s}, http_headers: {X-Api-Key: {secrets: [%s]}}}}
destinations: [{host: 127.0.0.1, port: %s, scheme: http, http_config: {oauth2: {client_id: me, client_secret_file: %s, token_url: %q}}}]
default_datasource: {enabled: true, token_file: %s}
probe: {interval: 200ms}
`, g.perses.URL, g.hot.URL, g.file("hot", hotToken), g.cold.URL, coldPassword, apiKey, strings.TrimPrefix(g.third.URL, "http://127.0.0.1:"),
		g.file("secret", clientSecret), g.tokens.URL, g.file("root", rootToken)))
	// Planted in the file of the ServiceAccount, and good for none of these hosts.
	environment := []string{"SERVICE_ACCOUNT_TOKEN_PATH=" + g.file("token", "planted-service-account")}
	g.stop = startTierproxy(t, environment, append([]string{
		"--config", config, "--web.listen-address", g.address, "--web.admin-address", g.admin, "--web.enable-pprof", "--log.level", "trace",
	}, tlsArguments(t)...)...)
	return g
}

// get records an answer, and returns its status.
func (g *plantedGateway) get(by caller, target string) int {
	status, body, err := by.get(target)
	if err != nil {
		body = err.Error()
	}
	g.seen.WriteString(body)
	return status
}

// getAll sends requests to all endpoints, by callers of both datasources.
func (g *plantedGateway) getAll(ofRoot, ofPerses caller) {
	for _, path := range []string{
		"/api/v1/query?query=up", "/api/v1/query_range?query=up&start=0&end=1000&step=10", "/api/v1/query?query=up%28", "/api/v1/labels", "/api/v1/targets",
		"/api/v1/status/config", "/api/v1/datasources/health", "/api/v1/datasources/explain?query=up", "/api/v1/datasources/check", "/api/v1/query?query=up&dedup=true", "/nowhere",
	} {
		for _, by := range []caller{ofRoot, ofPerses} {
			g.get(by, "https://"+g.address+path)
			g.get(by, "https://"+g.address+"/proxy/globaldatasources/metrics"+path)
		}
	}
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1", "/debug/pprof/allocs?debug=1", "/debug/pprof/symbol"} {
		require.Equal(g.t, http.StatusOK, g.get(ofRoot, "https://"+g.admin+path))
	}
}

// TestSecrets_AreSeenNowhere plants a secret of every kind and makes requests that
// succeed and fail. It then looks for the secrets in the most verbose log, answers,
// metrics, profiles, and the headers that other servers see.
func TestSecrets_AreSeenNowhere(t *testing.T) {
	g := startPlantedGateway(t)
	ofRoot := caller{t: t, config: insecure(), header: http.Header{"Authorization": {"Bearer " + rootToken}}}
	ofPerses := caller{t: t, config: insecure(), header: http.Header{"Authorization": {"Bearer " + session}, "Cookie": {"jwtRefreshToken=" + session}}}
	ofRoot.eventually("https://"+g.address+"/-/ready", 200)
	g.getAll(ofRoot, ofPerses)
	require.Equal(t, http.StatusOK, g.get(ofRoot, "https://"+g.address+"/api/v1/query?query=up"))
	// Both tiers refuse the gateway, then they are down.
	for _, status := range []int{401, 403, 302, 500} {
		g.behindHot.Handle(faketier.Status(status, "no"))
		g.behindCold.Handle(faketier.Status(status, "no"))
		g.getAll(ofRoot, ofPerses)
	}
	require.NoError(t, os.Remove(filepath.Join(g.directory, "hot")))
	require.NoError(t, os.Remove(filepath.Join(g.directory, "secret")))
	g.getAll(ofRoot, ofPerses)
	g.behindHot.CloseClientConnections()
	g.hot.Close()
	g.cold.Close()
	g.getAll(ofRoot, ofPerses)
	text := g.seen.String() + g.stop()
	require.Contains(t, text, "a request failed", "the log is part of it")
	require.Contains(t, text, "tierproxy_queries_total")
	for _, secret := range []string{
		hotToken, coldPassword, "planted-user", apiKey, clientSecret, accessToken, rootToken, session, "planted-service", "planted-service-account",
		base64.StdEncoding.EncodeToString([]byte("planted-user:" + coldPassword)),
	} {
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret)), strings.ReplaceAll(secret, "-", "%2D")} {
			require.NotContains(t, text, form)
		}
	}
	// Each server saw its own credential and no other.
	require.Contains(t, g.hot.text(), hotToken)
	require.Contains(t, g.cold.text(), apiKey)
	require.Contains(t, g.third.text(), accessToken)
	require.Contains(t, g.perses.text(), session)
	for _, test := range []struct {
		server  *recorded
		secrets []string
	}{{g.hot, []string{hotToken}}, {g.cold, []string{apiKey}}, {g.third, []string{accessToken}}, {g.tokens, nil}, {g.perses, []string{session, rootToken}}} {
		headers := test.server.text()
		for _, secret := range test.secrets {
			headers = strings.ReplaceAll(headers, secret, "")
		}
		require.NotContains(t, headers, "planted")
	}
}
