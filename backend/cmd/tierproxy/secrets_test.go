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

// TestSecrets_AreSeenNowhere plants a secret of every kind and makes requests that
// succeed and fail. It then looks for the secrets in the most verbose log, answers,
// metrics, profiles, and the headers that other servers see.
func TestSecrets_AreSeenNowhere(t *testing.T) {
	behindHot, behindCold := faketier.New(), faketier.New()
	t.Cleanup(behindHot.Close)
	t.Cleanup(behindCold.Close)
	hot, cold := record(t, behindHot), record(t, behindCold)
	third := record(t, http.RedirectHandler(cold.URL, http.StatusFound))
	const hotToken, coldPassword, key, clientSecret, accessToken, rootToken, session = "planted-hot-token", "planted-cold-password", "planted-api-key",
		"planted-client-secret", "planted-access-token", "planted-root-token", "planted-session"
	tokens := record(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, accessToken)
	}))
	directory := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(directory, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	perses := record(t, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.Header.Get("Authorization") != "Bearer "+session {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		// The datasource names the third server, which has a credential of its own.
		_, _ = fmt.Fprintf(w, `{"kind":"GlobalDatasource","metadata":{"name":"metrics"},"spec":{"plugin":{"kind":"TieredPrometheusDatasource","spec":{
			"hot":{"url":%q},"cold":{"url":%q},"proxy":{"kind":"HTTPProxy","spec":{"url":"http://tierproxy/proxy/globaldatasources/metrics"}}}}}}`, hot.URL, third.URL)
	}))
	host := func(server *recorded) string { return strings.TrimPrefix(server.URL, "http://127.0.0.1:") }
	config := file("tierproxy.yaml", fmt.Sprintf(`
perses: {url: %q, service: {http_config: {authorization: {credentials: planted-service}}, client_names: [perses], datasources: [{name: metrics}]}}
hot: {url: %q, http_config: {authorization: {credentials_file: %s}}}
cold: {url: %q, http_config: {basic_auth: {username: planted-user, password: %s}, http_headers: {X-Api-Key: {secrets: [%s]}}}}
destinations: [{host: 127.0.0.1, port: %s, scheme: http, http_config: {oauth2: {client_id: me, client_secret_file: %s, token_url: %q}}}]
default_datasource: {enabled: true, token_file: %s}
probe: {interval: 200ms}
`, perses.URL, hot.URL, file("hot", hotToken), cold.URL, coldPassword, key, host(third), file("secret", clientSecret), tokens.URL, file("root", rootToken)))
	address, admin := freeAddress(t), freeAddress(t)
	// Planted in the file of the ServiceAccount, and good for none of these hosts.
	environment := []string{"SERVICE_ACCOUNT_TOKEN_PATH=" + file("token", "planted-service-account")}

	var seen strings.Builder
	stop := startTierproxy(t, environment, append([]string{
		"--config", config, "--web.listen-address", address, "--web.admin-address", admin, "--web.enable-pprof", "--log.level", "trace",
	}, tlsArguments(t)...)...)
	asking := caller{t: t, config: insecure(), header: http.Header{"Authorization": {"Bearer " + rootToken}}}
	saved := caller{t: t, config: insecure(), header: http.Header{"Authorization": {"Bearer " + session}, "Cookie": {"jwtRefreshToken=" + session}}}
	ask := func(by caller, target string) int {
		status, body, err := by.get(target)
		if err != nil {
			body = err.Error()
		}
		seen.WriteString(body)
		return status
	}
	asking.eventually("https://"+address+"/-/ready", 200)
	everything := func() {
		for _, path := range []string{
			"/api/v1/query?query=up", "/api/v1/query_range?query=up&start=0&end=1000&step=10", "/api/v1/query?query=up%28", "/api/v1/labels", "/api/v1/targets",
			"/api/v1/status/config", "/api/v1/datasources/health", "/api/v1/datasources/explain?query=up", "/api/v1/datasources/check", "/api/v1/query?query=up&dedup=true", "/nowhere",
		} {
			ask(asking, "https://"+address+path)
			ask(saved, "https://"+address+path)
			ask(saved, "https://"+address+"/proxy/globaldatasources/metrics"+path)
			ask(asking, "https://"+address+"/proxy/globaldatasources/metrics"+path)
		}
		for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1", "/debug/pprof/allocs?debug=1", "/debug/pprof/symbol"} {
			require.Equal(t, http.StatusOK, ask(asking, "https://"+admin+path))
		}
	}
	everything()
	require.Equal(t, http.StatusOK, ask(asking, "https://"+address+"/api/v1/query?query=up"))
	// Both tiers refuse us, then they are gone.
	for _, status := range []int{401, 403, 302, 500} {
		behindHot.Handle(faketier.Status(status, "no"))
		behindCold.Handle(faketier.Status(status, "no"))
		everything()
	}
	require.NoError(t, os.Remove(filepath.Join(directory, "hot")))
	require.NoError(t, os.Remove(filepath.Join(directory, "secret")))
	everything()
	behindHot.CloseClientConnections()
	hot.Close()
	cold.Close()
	everything()
	seen.WriteString(stop())
	text := seen.String()
	require.Contains(t, text, "a request failed", "the log is part of it")
	require.Contains(t, text, "tierproxy_queries_total")
	for _, secret := range []string{
		hotToken, coldPassword, "planted-user", key, clientSecret, accessToken, rootToken, session, "planted-service", "planted-service-account",
		base64.StdEncoding.EncodeToString([]byte("planted-user:" + coldPassword)),
	} {
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret)), strings.ReplaceAll(secret, "-", "%2D")} {
			require.NotContains(t, text, form)
		}
	}
	// Each server saw its own credential and no other.
	require.Contains(t, hot.text(), hotToken)
	require.Contains(t, cold.text(), key)
	require.Contains(t, third.text(), accessToken)
	require.Contains(t, perses.text(), session)
	for _, test := range []struct {
		server *recorded
		own    []string
	}{{hot, []string{hotToken}}, {cold, []string{key}}, {third, []string{accessToken}}, {tokens, nil}, {perses, []string{session, rootToken}}} {
		headers := test.server.text()
		for _, own := range test.own {
			headers = strings.ReplaceAll(headers, own, "")
		}
		require.NotContains(t, headers, "planted")
	}
}
