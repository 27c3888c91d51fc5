package gateway_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/certificates"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// TestEnforcement_KnownTricksFail asks as a caller of one namespace for the samples
// of another.
func TestEnforcement_KnownTricksFail(t *testing.T) {
	perses := fakeperses.Start(t, "alice", map[string]fakeperses.Datasource{"/projects/shop/datasources/metrics": {}, "/globaldatasources/metrics": {}, "/projects/other/datasources/metrics": {}})
	g := newGateway(t, func(settings *config.Config) {
		settings.Perses.URL = perses.URL
		settings.Projects = []config.ProjectConfig{{Name: "shop", Namespaces: []string{"shop"}}}
	})
	const base = "/proxy/projects/shop/datasources/metrics"
	const alice = "Bearer alice"
	form := []string{"Authorization", alice, "Content-Type", "application/x-www-form-urlencoded"}
	for _, test := range []struct {
		name, method, target, body string
		status                     int
		seen                       url.Values // what reaches the tier
	}{
		{"a plain query", "GET", "/api/v1/query?query=up", "", 200, url.Values{"query": {`up{namespace=~"shop"}`}}},
		{"a matcher in a subquery", "GET", "/api/v1/query?query=" + url.QueryEscape(`max_over_time(up{namespace="bank"}[1h:1m])`), "", 200, nil},
		{"info()", "GET", "/api/v1/query?query=info(up)", "", 400, nil},
		{"a conflict beside another selector", "GET", "/api/v1/query?query=" + url.QueryEscape(`up or up{namespace="bank"}`), "", 200, url.Values{"query": {`up{namespace=~"shop"} or up{namespace=~"shop",namespace="bank"}`}}},
		{"a comment that MetricsQL does not end", "GET", "/api/v1/query?query=" + url.QueryEscape("up#\r{}"), "", 200, url.Values{"query": {`up{namespace=~"shop"}`}}},
		{"such a comment in match[]", "GET", "/api/v1/series?match[]=" + url.QueryEscape("up#\r{}"), "", 200, url.Values{"match[]": {`up{namespace=~"shop"}`}}},
		{"such a comment of a program", "POST", "/api/v1/metrics/query", `{"query":"up#\r{}"}`, 200, url.Values{"query": {`up{namespace=~"shop"}`}}},
		{"other stores", "GET", "/api/v1/query?query=up&storeMatch[]=" + url.QueryEscape(`{cluster="b"}`), "", 400, nil},
		{"absent", "GET", "/api/v1/query?query=" + url.QueryEscape(`absent(up)`), "", 200, url.Values{"query": {`absent(up{namespace=~"shop"})`}}},
		{"label_replace", "GET", "/api/v1/query?query=" + url.QueryEscape(`label_replace(up,"namespace","shop","","")`), "", 200, url.Values{"query": {`label_replace(up{namespace=~"shop"}, "namespace", "shop", "", "")`}}},
		{"a name by pattern", "GET", "/api/v1/query?query=" + url.QueryEscape(`{__name__=~".+"}`), "", 200, url.Values{"query": {`{namespace=~"shop",__name__=~".+"}`}}},
		{"a pattern for every namespace", "GET", "/api/v1/query?query=" + url.QueryEscape(`up{namespace=~".*"}`), "", 200, url.Values{"query": {`up{namespace=~"shop",namespace=~".*"}`}}},
		{"in URL and body, the same", "POST", "/api/v1/query?query=up", "query=up", 200, url.Values{"query": {`up{namespace=~"shop"}`}}},
		{"in URL and body, different", "POST", "/api/v1/query?query=up", "query=down", 400, nil},
		{"twice", "GET", "/api/v1/query?query=up&query=down", "", 400, nil},
		{"a body that is no form by its type", "POST", "/api/v1/query", "query=up", 200, url.Values{"query": {`up{namespace=~"shop"}`}}},
		{"encoded bytes", "GET", "/api/v1/query?%71uery=%75p%7B%6Eamespace%3D%22bank%22%7D", "", 200, nil},
		{"a semicolon", "GET", "/api/v1/query?query=up;query=down", "", 400, nil},
		{"a null byte", "GET", "/api/v1/query?query=up%00", "", 400, nil},
		{"match[] missing at labels", "GET", "/api/v1/labels", "", 200, url.Values{"match[]": {`{namespace=~"shop"}`}}},
		{"match[] missing at series", "GET", "/api/v1/series", "", 400, nil},
		{"one match[] of two", "GET", "/api/v1/series?match[]=up&match[]=" + url.QueryEscape(`{namespace="bank"}`), "", 200, url.Values{"match[]": {`up{namespace=~"shop"}`, `{namespace=~"shop",namespace="bank"}`}}},
		{"the values of the label itself", "GET", "/api/v1/label/namespace/values", "", 200, url.Values{"match[]": {`{namespace=~"shop"}`}}},
		{"an empty match[]", "GET", "/api/v1/labels?match[]=", "", 400, nil},
		{"another parameter", "GET", "/api/v1/query?query=up&extra_filters=x", "", 400, nil},
		{"the namespace as a parameter", "GET", "/api/v1/query?query=up&namespace=bank", "", 400, nil},
		{"removing the label", "GET", "/api/v1/query?query=up&replicaLabels[]=namespace", "", 400, nil},
		{"targets", "GET", "/api/v1/targets", "", 403, nil},
		{"rules", "GET", "/api/v1/rules", "", 403, nil},
		{"metadata", "GET", "/api/v1/metadata", "", 403, nil},
		{"the configuration", "GET", "/api/v1/status/config", "", 403, nil},
		{"the statistics", "GET", "/api/v1/status/tsdb", "", 403, nil},
		{"a decision about everything", "GET", "/api/v1/datasources/explain?query=info(up)", "", 400, nil},
		{"a program", "POST", "/api/v1/metrics/query", `{"query":"up"}`, 200, url.Values{"query": {`up{namespace=~"shop"}`}}},
		{"a program that names another", "POST", "/api/v1/metrics/query", `{"query":"up","namespace":"bank"}`, 403, nil},
		{"a header", "GET", "/api/v1/query?query=up", "", 200, url.Values{"query": {`up{namespace=~"shop"}`}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(g.hot.Requests()) + len(g.cold.Requests())
			header := append([]string{"X-Scope-OrgID", "bank", "X-Namespace", "bank"}, form...)
			response, body := g.ask(t, test.method, base+test.target, test.body, header...)
			require.Equal(t, test.status, response.StatusCode, body)
			seen := append(g.hot.Requests(), g.cold.Requests()...)
			if test.seen == nil {
				require.Len(t, seen, before, "nothing reaches a tier")
				return
			}
			require.Len(t, seen, before+1)
			newest := g.hot.Requests()
			if response.Header.Get("X-Tier") == "cold" {
				newest = g.cold.Requests()
			}
			got := newest[len(newest)-1]
			require.Equal(t, test.seen, untimed(got.Parameters))
			require.Empty(t, got.Header.Get("X-Scope-Orgid"))
		})
	}
	// Where projects are confined, nothing else is served.
	for _, path := range []string{"/proxy/globaldatasources/metrics", "/proxy/projects/other/datasources/metrics"} {
		response, body := g.ask(t, http.MethodGet, path+query, "", "Authorization", alice)
		require.Equal(t, http.StatusForbidden, response.StatusCode, body)
	}
	_, body := g.ask(t, http.MethodGet, base+"/api/v1/datasources/explain?query=up&endpoint=query", "", "Authorization", alice)
	require.Contains(t, body, `"tier":"hot"`)
	require.Contains(t, body, `"confined_to":["shop"]`)
}

func TestEnforcement_HoldsForTheLibrary(t *testing.T) {
	g := newGateway(t, func(settings *config.Config) { settings.DefaultDatasource.Namespaces = []string{"shop", "till"} })
	ask := func(query, namespace string) error {
		_, err := g.manager.Router().ExecuteQuery(t.Context(), &datasource.MetricQuery{Query: query, Namespace: namespace})
		return err
	}
	require.NoError(t, ask("up", ""))
	require.NoError(t, ask("up", "till"))
	require.ErrorContains(t, ask("up", "bank"), `namespace "bank" is not one of the values`)
	_, _ = g.ask(t, http.MethodGet, query, "")
	var seen []string
	for _, request := range g.hot.Requests() {
		seen = append(seen, request.Parameters.Get("query"))
	}
	require.Equal(t, []string{`up{namespace=~"shop|till"}`, `up{namespace=~"till"}`, `up{namespace=~"shop|till"}`}, seen)
}

func TestTenancy_TierAnswersForNamespacesOnly(t *testing.T) {
	g := newGateway(t, func(settings *config.Config) {
		settings.Cold.Tenancy = config.TenancyConfig{Parameter: "namespace", ProbeNamespace: "monitoring"}
	})
	response, body := g.ask(t, http.MethodGet, query, "", "X-Tier-Choice", "cold")
	require.Equal(t, http.StatusForbidden, response.StatusCode)
	require.Contains(t, body, "answers only requests that are confined to namespaces")
	response, body = g.ask(t, http.MethodPost, "/api/v1/metrics/query", `{"query":"up","namespace":"shop"}`, "X-Tier-Choice", "cold")
	require.Equal(t, http.StatusOK, response.StatusCode, body)
	require.Equal(t, "cold", response.Header.Get("X-Tier"))
	seen := g.cold.Requests()[0]
	require.Equal(t, http.MethodGet, seen.Method, "a POST that fits into a URL")
	require.Equal(t, url.Values{"query": {`up{namespace=~"shop"}`}, "namespace": {"shop"}}, untimed(seen.Parameters))
	require.True(t, g.manager.Health().Tiers["cold"].Available)
}

func TestPerses_ServiceCredentialGoesToPersesOnly(t *testing.T) {
	perses := fakeperses.Start(t, "of the gateway", map[string]fakeperses.Datasource{"/globaldatasources/listed": {}, "/globaldatasources/other": {}})
	authority := certificates.NewAuthority(t)
	tomorrow := time.Now().Add(24 * time.Hour)
	g := newGateway(t, func(settings *config.Config) {
		settings.Perses.URL = perses.URL
		settings.Perses.Service = config.PersesServiceConfig{
			HTTPConfig: running.HTTPConfig(t, "authorization: {credentials: of the gateway}"), ClientNames: []string{"perses"},
			Datasources: []config.ServedDatasource{{Name: "listed"}},
		}
	})
	server := httptest.NewUnstartedServer(gateway.New(g.manager))
	server.TLS = &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: authority.Pool(), MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	ask := func(path string, header http.Header, pairs ...certificates.Pair) int {
		t.Helper()
		config := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		for _, pair := range pairs {
			config.Certificates = append(config.Certificates, pair.TLS(t))
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, http.NoBody)
		require.NoError(t, err)
		request.Header = header
		response, err := (&http.Transport{TLSClientConfig: config, DisableKeepAlives: true}).RoundTrip(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	ofPerses, ofOthers := authority.Issue(tomorrow, "perses"), authority.Issue(tomorrow, "grafana")
	const listed, other = "/proxy/globaldatasources/listed" + query, "/proxy/globaldatasources/other" + query
	require.Equal(t, 200, ask(listed, http.Header{}, ofPerses))
	require.Equal(t, 401, ask(listed, http.Header{}), "no certificate")
	require.Equal(t, 401, ask(listed, http.Header{}, ofOthers), "of somebody else")
	require.Equal(t, 401, ask(other, http.Header{}, ofPerses), "a datasource that the operator does not list")
	require.Equal(t, 401, ask(listed, http.Header{"Authorization": {"Bearer mallory"}}), "the answer for the gateway is not remembered for others")
	require.Equal(t, 404, ask(query, http.Header{}, ofPerses), "the root stays closed")
	response, body := g.ask(t, http.MethodGet, listed, "")
	require.Equal(t, http.StatusUnauthorized, response.StatusCode, "without TLS")
	require.Contains(t, body, "perses.service")
}

// TestPerses_DoesNotSeeTheTokenOfTheRoot checks that the credential of a caller of
// the default datasource stays in the gateway.
func TestPerses_DoesNotSeeTheTokenOfTheRoot(t *testing.T) {
	perses := fakeperses.Start(t, "x", nil)
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("of the root"), 0o600))
	g := newGateway(t, func(settings *config.Config) {
		settings.Perses.URL = perses.URL
		settings.DefaultDatasource = config.DefaultDatasourceConfig{Enabled: true, TokenFile: token}
	})
	root := []string{"Authorization", "Bearer of the root"}
	response, body := g.ask(t, http.MethodPost, "/api/v1/datasources/check", `{"proxy":{"kind":"HTTPProxy","spec":{"url":"http://tierproxy/proxy/globaldatasources/x"}}}`, root...)
	require.Equal(t, http.StatusOK, response.StatusCode, body)
	require.Contains(t, body, `"mistakes":[]`)
	for method, path := range map[string]string{http.MethodGet: query, http.MethodPost: "/api/v1/datasources/explain?query=up"} {
		response, body = g.ask(t, method, path, "", root...)
		require.Equal(t, http.StatusOK, response.StatusCode, body)
	}
	require.Zero(t, perses.Asked())
	require.Empty(t, g.hot.Requests()[0].Header.Get("Authorization"))
}

// TestPerses_AuthorityIsReloaded rotates the authority of Perses' certificate while
// the gateway runs.
func TestPerses_AuthorityIsReloaded(t *testing.T) {
	specs := map[string]fakeperses.Datasource{}
	for _, name := range []string{"a", "b", "c", "d"} {
		specs["/globaldatasources/"+name] = fakeperses.Datasource{}
	}
	perses := fakeperses.Start(t, "alice", specs)
	file := filepath.Join(t.TempDir(), "ca.pem")
	authorities := []*certificates.Authority{certificates.NewAuthority(t), certificates.NewAuthority(t)}
	var current atomic.Pointer[tls.Certificate]
	use := func(authority *certificates.Authority) {
		pair := authority.Issue(time.Now().Add(time.Hour), "127.0.0.1").TLS(t)
		current.Store(&pair)
	}
	server := httptest.NewUnstartedServer(perses.Config.Handler)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*current.Load()}}, nil
	}}
	server.Config.SetKeepAlivesEnabled(false) // Every request meets the certificate of the moment.
	use(authorities[0])
	server.StartTLS()
	t.Cleanup(server.Close)
	certificates.Replace(t, file, authorities[0].PEM)
	g := newGateway(t, func(settings *config.Config) { settings.Perses.URL, settings.Perses.CAFile = server.URL, file })
	status := func(name string) int {
		t.Helper()
		response, _ := g.ask(t, http.MethodGet, "/proxy/globaldatasources/"+name+query, "", "Authorization", "Bearer alice")
		return response.StatusCode
	}
	require.Equal(t, http.StatusOK, status("a"))
	certificates.Replace(t, file, []byte("half of a"))
	require.Equal(t, http.StatusOK, status("b"), "in the middle of being written")
	use(authorities[1])
	require.GreaterOrEqual(t, status("c"), http.StatusInternalServerError, "nobody knows this authority")
	certificates.Replace(t, file, authorities[1].PEM)
	require.Equal(t, http.StatusOK, status("d"))
	use(authorities[0])
	require.GreaterOrEqual(t, status("c"), http.StatusInternalServerError, "the old authority is no longer trusted")
}

// TestProxy_IsForTheGatewaysOwnTiers checks that no host of a datasource is asked
// through the proxy of hot. The gateway could not check where the proxy connects.
func TestProxy_IsForTheGatewaysOwnTiers(t *testing.T) {
	var through sync.Map // by host
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if !request.URL.IsAbs() {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		through.Store(request.URL.Host, true)
		outgoing := request.Clone(request.Context())
		outgoing.RequestURI = ""
		response, err := http.DefaultTransport.RoundTrip(outgoing)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer func() { _ = response.Body.Close() }()
		w.WriteHeader(response.StatusCode)
		_, _ = io.Copy(w, response.Body)
	}))
	t.Cleanup(proxy.Close)
	named := faketier.Start(t)
	at, err := url.Parse(named.URL)
	require.NoError(t, err)
	port, err := strconv.Atoi(at.Port())
	require.NoError(t, err)
	perses := fakeperses.Start(t, "alice", map[string]fakeperses.Datasource{
		"/globaldatasources/own":     {},
		"/globaldatasources/allowed": {Tiers: fmt.Sprintf(`"cold":{"url":%q},`, named.URL)},
		"/globaldatasources/other":   {Tiers: `"cold":{"url":"http://169.254.169.254"},`},
	})
	g := newGateway(t, func(settings *config.Config) {
		settings.Perses.URL = perses.URL
		settings.Cold.HTTPConfig = running.HTTPConfig(t, "proxy_url: "+proxy.URL)
		settings.Destinations = []config.DestinationConfig{{Host: at.Hostname(), Port: port}}
	})
	ask := func(name string) int {
		t.Helper()
		response, _ := g.ask(t, http.MethodGet, "/proxy/globaldatasources/"+name+query, "", "Authorization", "Bearer alice", "X-Tier-Choice", "cold")
		return response.StatusCode
	}
	require.Equal(t, http.StatusOK, ask("own"))
	require.Len(t, g.cold.Requests(), 1)
	require.Equal(t, http.StatusOK, ask("allowed"))
	require.Len(t, named.Requests(), 1)
	require.Equal(t, http.StatusForbidden, ask("other"))
	own, err := url.Parse(g.cold.URL)
	require.NoError(t, err)
	var hosts []any
	through.Range(func(host, _ any) bool {
		hosts = append(hosts, host)
		return true
	})
	require.Equal(t, []any{own.Host}, hosts, "the proxy carries what is for the own tier, and nothing else")
}
