package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/apierror"
)

// withPerses returns a manager whose Perses answers by path, and 403 otherwise.
func withPerses(t *testing.T, answers map[string]string, change func(*config.Config)) *Gateway {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, incoming *http.Request) {
		text, found := answers[incoming.URL.Path]
		if !found {
			w.WriteHeader(http.StatusForbidden)
		}
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(server.Close)
	return runningGateway(t, func(settings *config.Config) {
		settings.Perses.URL = server.URL
		if change != nil {
			change(settings)
		}
	})
}

func asked(t *testing.T, m *Gateway, method, path, body string) (status int, text string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	m.ServeHTTP(recorder, httptest.NewRequest(method, path, strings.NewReader(body)))
	return recorder.Code, recorder.Body.String()
}

func TestHandler_TheProxyOfADatasourceAllowsEndpoints(t *testing.T) {
	m := withPerses(t, map[string]string{"/api/v1/globaldatasources/metrics": `{"metadata":{"name":"metrics"},"spec":{"plugin":{"kind":"TieredPrometheusDatasource","spec":{
		"proxy":{"kind":"HTTPProxy","spec":{"url":"http://tierproxy/proxy/globaldatasources/metrics","allowedEndpoints":[{"endpointPattern":"^/-/healthy$","method":"GET"}]}}}}}}`}, nil)
	status, text := asked(t, m, http.MethodGet, "/proxy/globaldatasources/metrics/api/v1/query?query=up", "")
	require.Equal(t, http.StatusForbidden, status)
	require.Contains(t, text, "do not include GET /api/v1/query")
	status, text = asked(t, m, http.MethodGet, "/proxy/globaldatasources/metrics"+thresholdsPath, "")
	require.Equal(t, http.StatusForbidden, status)
	require.Contains(t, text, "do not include GET "+thresholdsPath)
	_, text = asked(t, m, http.MethodGet, "/proxy/globaldatasources/metrics/-/healthy", "")
	require.NotContains(t, text, "do not include")
}

func TestHandler_DatasourcesOfDashboardsAreServedOnRequestOnly(t *testing.T) {
	m := withPerses(t, nil, nil)
	status, text := asked(t, m, http.MethodGet, "/proxy/projects/p/dashboards/d/datasources/s/api/v1/query?query=up", "")
	require.Equal(t, http.StatusNotFound, status)
	require.Contains(t, text, "perses.dashboard_datasources")
}

func TestCheck_IsForThoseWhoMayReadDatasources(t *testing.T) {
	confined := func(settings *config.Config) {
		settings.Projects = []config.ProjectConfig{{Name: "shop", Namespaces: []string{"shop"}}}
	}
	m := withPerses(t, map[string]string{"/api/v1/projects/bank/datasources": "[]"}, confined)
	for project, message := range map[string]string{"shop": "Perses", "bank": "its project has none"} {
		status, text := asked(t, m, http.MethodPost, "/proxy/projects/"+project+"/datasources/x"+checkPath, "{}")
		require.Equal(t, http.StatusForbidden, status, text)
		require.Contains(t, text, message)
	}
}

func TestRules_OnConflictAndTheLabelHoldForEachRule(t *testing.T) {
	m := runningGateway(t, func(settings *config.Config) {
		settings.Enforcement.Label, settings.Enforcement.OnConflict, settings.Enforcement.ProjectIsNamespace = "team", "error", true
		settings.DefaultDatasource.Namespaces = []string{"x"}
		settings.Projects = []config.ProjectConfig{{Name: "listed", Namespaces: []string{"x"}}}
		settings.Enforcement.Datasources = []config.ConfinedDatasource{{Name: "global", Namespaces: []string{"x"}}}
	})
	confine := func(confined *resolve.Resolved, query, namespace string) (*promapi.Request, error) {
		request, err := promapi.NewRequest(promapi.Query, "/api/v1/query", url.Values{"query": {query}}, time.Now())
		require.NoError(t, err)
		changed, _, err := m.core.Resolver.Confine(confined, request, namespace)
		return changed, err
	}
	sources := map[string]*resolve.Resolved{"own": {Rule: m.core.Resolver.DefaultRule()}, "named in the query": {}}
	for name, reference := range map[string]perses.Reference{"project": {Project: "listed", Name: "a"}, "datasource": {Name: "global"}, "project as namespace": {Project: "x", Name: "a"}} {
		rule, err := m.core.Resolver.RuleOf(reference)
		require.NoError(t, err, name)
		sources[name] = &resolve.Resolved{Rule: rule}
	}
	for name, confined := range sources {
		request, err := confine(confined, "up", "x")
		require.NoError(t, err, name)
		require.Equal(t, `up{team=~"x"}`, request.Parameters.Get("query"), name)
		_, err = confine(confined, `up{team="y"}`, "x")
		require.Error(t, err, name)
	}
	_, err := confine(&resolve.Resolved{WantsNamespace: true, Label: "metrics"}, "up", "")
	apierror.Require(t, err, http.StatusForbidden, "answers only requests that are confined to namespaces")
}

func TestHasTokenOf_TakesOneBearerToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("planted\n"), 0o600))
	for value, expected := range map[string]bool{"Bearer planted": true, "bearer planted": true, "Basic planted": false, "planted": false, "Bearer other": false} {
		incoming := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		incoming.Header.Set("Authorization", value)
		isSent, err := hasTokenOf(file, "admin.token_file", incoming)
		require.NoError(t, err)
		require.Equal(t, expected, isSent, value)
	}
}

func TestHasCertificate_MatchesURIs(t *testing.T) {
	leaf := &x509.Certificate{URIs: []*url.URL{{Scheme: "spiffe", Host: "cluster", Path: "/perses"}}}
	state := &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf}}}
	require.True(t, hasCertificate(state, []string{"spiffe://cluster/perses"}))
	require.False(t, hasCertificate(state, []string{"spiffe://cluster/other"}))
}

// What a caller writes into the header itself stands in front of what Perses adds.
func TestSavedCaller_TheLastAddressCounts(t *testing.T) {
	m := withPerses(t, nil, nil)
	of := func(forwarded ...string) uint64 {
		incoming := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		incoming.Header["X-Forwarded-For"] = forwarded
		return m.savedCaller(incoming, perses.Reference{Name: "a"}).ID
	}
	for _, forwarded := range [][]string{{"1.1.1.1, 10.0.0.1"}, {"1.1.1.1", "10.0.0.1"}, {"::ffff:10.0.0.1"}} {
		require.Equal(t, of("10.0.0.1"), of(forwarded...), forwarded)
	}
	require.NotEqual(t, of("10.0.0.1"), of("10.0.0.2"))
	require.NotEqual(t, of("::ffff:10.0.0.1"), of("::ffff:10.0.0.2"))
}

func TestApplyCacheControl_ReadsDirectives(t *testing.T) {
	for _, test := range []struct {
		values          []string
		noRead, noStore bool
	}{
		{[]string{"max-age=0"}, false, false},
		{[]string{"no-cache"}, true, false},
		{[]string{"No-Store"}, true, true},
		{[]string{"max-age=0, no-cache"}, true, false},
		{[]string{"max-age=0", "no-store"}, true, true},
	} {
		caching := &engine.CacheControl{}
		applyCacheControl(caching, http.Header{"Cache-Control": test.values})
		require.Equal(t, []bool{test.noRead, test.noStore}, []bool{caching.NoRead, caching.NoStore}, test.values)
	}
}
