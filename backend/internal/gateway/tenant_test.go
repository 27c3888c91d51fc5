package gateway_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// portOf returns the port of a test server.
func portOf(t *testing.T, address string) int {
	t.Helper()
	parsed, err := url.Parse(address)
	require.NoError(t, err)
	port, err := strconv.Atoi(parsed.Port())
	require.NoError(t, err)
	return port
}

// seenPaths are the paths at which a tier was asked, probes included, and
// whether the credential was shown there.
type seenPaths struct {
	*httptest.Server
	seen chan string
}

// TestDestination_AnotherPathOfTheOwnServerIsAnotherTenant names other tenants
// of the server that the gateway's own hot tier is on.
func TestDestination_AnotherPathOfTheOwnServerIsAnotherTenant(t *testing.T) {
	tenants := &seenPaths{seen: make(chan string, 1000)}
	hot := faketier.Start(t)
	tenants.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if !strings.HasPrefix(request.URL.Path, "/select/0/prometheus/") {
			select {
			case tenants.seen <- request.URL.EscapedPath() + " " + request.Header.Get("Authorization"):
			default:
			}
		}
		hot.ServeHTTP(w, request)
	}))
	t.Cleanup(tenants.Close)
	paths := map[string]int{
		"/select/0/prometheus": 200, "/select/0/prometheus/": 200, "/select/%30/prometheus": 200,
		"/select/42/prometheus": 403, "/select/0/prometheus2": 403, "/select/0": 403, "": 403, "/": 403, "/select/00/prometheus": 403,
		"//select/0/prometheus": 403, "/select//0/prometheus": 403, "/select/0/prometheus/../../42/prometheus": 403, "/select/0/prometheus/%2e%2e/%2e%2e/42/prometheus": 403,
		"/select/0/prometheus/..%2f..%2f42": 403, "/select/0/prometheus;x=/../42": 403, "/Select/0/prometheus": 403, "/select/0/prometheus//x": 403,
		"/select/42/prometheus/select/0/prometheus": 403,
	}
	specs := map[string]fakeperses.Datasource{}
	names := map[string]string{}
	for path := range paths {
		name := fmt.Sprintf("d%d", len(names))
		names[path] = name
		tiers := fmt.Sprintf(`"hot":{"url":%q},`, tenants.URL+path)
		specs["/globaldatasources/"+name] = fakeperses.Datasource{Tiers: tiers}
		specs["/projects/listed/datasources/"+name] = fakeperses.Datasource{Tiers: tiers}
	}
	perses := fakeperses.Start(t, "", specs)
	g := newGateway(t, func(settings *config.Config) {
		settings.Perses.URL = perses.URL
		settings.Hot.URL = tenants.URL + "/select/0/prometheus"
		settings.Hot.HTTPConfig = running.HTTPConfig(t, "authorization: {credentials: of-the-gateway}")
		settings.Projects = []config.ProjectConfig{{Name: "listed", AllNamespaces: true}}
	})
	for path, status := range paths {
		for _, base := range []string{"/proxy/globaldatasources/", "/proxy/projects/listed/datasources/"} {
			response, body := g.ask(t, http.MethodGet, base+names[path]+query, "")
			if status == http.StatusForbidden && response.StatusCode == http.StatusBadRequest {
				require.Contains(t, body, "is invalid", "the spec itself is refused")
				continue
			}
			require.Equal(t, status, response.StatusCode, "%s: %s", path, body)
		}
	}
	select {
	case path := <-tenants.seen:
		require.FailNow(t, "another path was asked", path)
	default:
	}
}

// twoTenants is a cold tier that answers by the tenant header, and hot one that
// holds the data of the tenant first and ignores the header.
func twoTenants(t *testing.T, specs map[string]fakeperses.Datasource, change func(*config.Config)) *served {
	t.Helper()
	perses := fakeperses.Start(t, "", specs)
	g := newGateway(t, func(settings *config.Config) {
		settings.Perses.URL = perses.URL
		if change != nil {
			change(settings)
		}
	})
	g.hot.Handle(func(w http.ResponseWriter, request *http.Request) {
		_, _ = fmt.Fprint(w, ofTenant(request, "first"))
	})
	g.cold.Handle(func(w http.ResponseWriter, request *http.Request) {
		_, _ = fmt.Fprint(w, ofTenant(request, "tenant "+request.Header.Get("X-Scope-Orgid")))
	})
	return g
}

// ofTenant answers a request with something that names whose data it is.
func ofTenant(request *http.Request, name string) string {
	switch {
	case strings.HasSuffix(request.URL.Path, "/series"):
		return fmt.Sprintf(`{"status":"success","data":[{"__name__":"up","owner":%q}]}`, name)
	case strings.HasSuffix(request.URL.Path, "/labels"), strings.HasSuffix(request.URL.Path, "/values"):
		return fmt.Sprintf(`{"status":"success","data":[%q]}`, name)
	case strings.HasSuffix(request.URL.Path, "/rules"):
		return fmt.Sprintf(`{"status":"success","data":{"groups":[{"name":%q,"rules":[]}]}}`, name)
	case strings.HasSuffix(request.URL.Path, "/alerts"):
		return fmt.Sprintf(`{"status":"success","data":{"alerts":[{"labels":{"owner":%q}}]}}`, name)
	case strings.HasSuffix(request.URL.Path, "/metadata"):
		return fmt.Sprintf(`{"status":"success","data":{"m":[{"type":"gauge","help":%q}]}}`, name)
	}
	return fmt.Sprintf(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"owner":%q},"value":[1,"1"]}]}}`, name)
}

// TestTenantHeader_HotOfAnotherTenantIsNotAsked asks for what the tenant second
// has, in every way.
func TestTenantHeader_HotOfAnotherTenantIsNotAsked(t *testing.T) {
	const second = `"X-Scope-OrgID":"second"`
	specs := map[string]fakeperses.Datasource{
		"/globaldatasources/own":  {Headers: second},
		"/globaldatasources/case": {Headers: `"x-scope-orgid":"second"`},
	}
	var hotURL string
	g := twoTenants(t, specs, func(settings *config.Config) {
		hotURL = settings.Hot.URL
		settings.Destinations = []config.DestinationConfig{{Host: "127.0.0.1", Port: portOf(t, hotURL)}}
		specs["/globaldatasources/named"] = fakeperses.Datasource{Tiers: fmt.Sprintf(`"hot":{"url":%q},`, hotURL), Headers: second}
		specs["/globaldatasources/split"] = fakeperses.Datasource{Tiers: `"strategy":"split",`, Headers: second}
	})
	for _, name := range []string{"own", "case", "named", "split"} {
		base := "/proxy/globaldatasources/" + name
		for _, target := range []string{
			"/api/v1/query?query=count(up)", "/api/v1/query_range?query=up&start=1&end=2&step=1", "/api/v1/series?match[]=up", "/api/v1/labels",
			"/api/v1/label/owner/values", "/api/v1/rules", "/api/v1/alert_thresholds", "/api/v1/alerts", "/api/v1/metadata", "/api/v1/query_exemplars?query=up&start=1&end=2",
		} {
			for _, choice := range []string{"auto", "hot"} {
				response, body := g.ask(t, http.MethodGet, base+target, "", "X-Tier-Choice", choice)
				require.NotContains(t, body, "first", "%s %s, %s", name, target, choice)
				require.NotEqual(t, "hot", response.Header.Get("X-Tier"), "%s %s, %s: %s", name, target, choice, body)
			}
		}
		_, body := g.ask(t, http.MethodGet, base+"/api/v1/query?query=count(up)", "")
		require.Contains(t, body, "tenant second")
		for _, path := range []string{"/api/v1/datasources/health", "/", "/api/v1/datasources/explain?query=up"} {
			_, body := g.ask(t, http.MethodGet, base+path, "")
			require.Contains(t, body, "hot.tenant", "%s says why: %s", path, body)
		}
	}
	require.Empty(t, g.hot.Requests())
}
