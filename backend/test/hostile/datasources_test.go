//go:build e2e

package hostile

import (
	"net/url"
	"strings"
	"testing"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
)

// session is the credential of the only caller that Perses knows.
const session = "alice"

// TestGateway_HostileRequestsOfADatasource sends requests to a datasource that is
// confined to the namespace shop. What reaches the tier is confined, and nothing
// of other places.
func TestGateway_HostileRequestsOfADatasource(t *testing.T) {
	tier := newRecorder(t)
	g := startGateway(t, "datasources", map[string]any{
		"cold":     map[string]any{"url": tier.URL},
		"perses":   map[string]any{"url": fakeperses.Start(t, session, map[string]fakeperses.Datasource{"/projects/shop/datasources/metrics": {}}).URL},
		"projects": []any{map[string]any{"name": "shop", "namespaces": []any{"shop"}}},
	})
	g.setBaseline(t)
	runRequests(t, g, tier, datasourceCases())
	g.requireBaseline(t)
}

func datasourceCases() []request {
	const (
		base  = "/proxy/projects/shop/datasources/metrics"
		alice = "Authorization: Bearer " + session
	)
	confined := `POST /api/v1/query query=` + url.QueryEscape(`up{namespace=~"shop"}`) + "&time=1000"
	asked := func(name, status, target string, headers ...string) request {
		return request{name: name, raw: get(target, append([]string{alice}, headers...)...), status: status}
	}
	cases := []request{
		{name: "the datasource", raw: post(base+"/api/v1/query", upParameters, alice), status: "200", reached: confined},
		{name: "no credential", raw: post(base+"/api/v1/query", upParameters), status: "401"},
		{name: "the credential of another", raw: post(base+"/api/v1/query", upParameters, "Authorization: Bearer mallory"), status: "401"},
		{name: "two credentials", raw: post(base+"/api/v1/query", upParameters, "Authorization: Bearer mallory", alice), status: "401"},
		{name: "a credential in the URL", raw: post(base+"/api/v1/query?access_token="+session, upParameters), status: "401"},
		{name: "a query in the URL and another in the body", raw: post(base+"/api/v1/query?query=down", upParameters, alice), status: "400"},
		{name: "another namespace in the URL", raw: post(base+"/api/v1/query?namespace=bank", upParameters, alice), status: "400"},
		{name: "a query with brackets beside the query", raw: post(base+"/api/v1/query", upParameters+"&query[]=bank", alice), status: "400"},
		{name: "no query", raw: post(base+"/api/v1/query", "time=1000", alice), status: "400"},
		{name: "a query in JSON", raw: post(base+"/api/v1/query", `{"query":"up"}`, alice, "Content-Type: application/json"), status: "400"},
		{name: "a query that is no PromQL", raw: post(base+"/api/v1/query", "query=up%7B&time=1000", alice), status: "400"},
		{name: "a query with a NUL", raw: post(base+"/api/v1/query", "query=up%00&time=1000", alice), status: "400"},
		{name: "overlong UTF-8", raw: post(base+"/api/v1/query", "query=%c1%b5p&time=1000", alice), status: "400"},
		{name: "a brace that ends the selector", raw: post(base+"/api/v1/query", "query=up%7D+or+up&time=1000", alice), status: "400"},
		{name: "the root", raw: get(up, alice), status: "404"},
		{name: "the metadata", raw: get(base+"/api/v1/metadata", alice), status: "403"},
		{name: "the rules", raw: get(base+"/api/v1/rules", alice), status: "403"},
		{name: "the stores", raw: get(base+"/api/v1/stores", alice), status: "403"},
		{name: "the configuration", raw: get(base+"/api/v1/status/config", alice), status: "403"},
		{name: "a selector that is an expression", raw: get(base+"/api/v1/series?match[]=sum(up)", alice), status: "400"},
		{name: "a path out of the datasource", raw: get(base+"/../../../other/datasources/metrics/api/v1/query?query=up", alice), status: "400"},
		{name: "an encoded path out of the datasource", raw: get(base+"/%2e%2e/%2e%2e/x/api/v1/query?query=up", alice), status: "400"},
		{name: "an encoded slash in the project", raw: get("/proxy/projects/shop%2F..%2Fbank/datasources/metrics/api/v1/query?query=up", alice), status: "400"},
		asked("another project", "404", "/proxy/projects/bank/datasources/metrics/api/v1/query?query=up"),
		asked("another datasource", "404", "/proxy/projects/shop/datasources/other/api/v1/query?query=up"),
		asked("a global datasource", "404", "/proxy/globaldatasources/metrics/api/v1/query?query=up"),
		asked("a datasource of a dashboard", "404", "/proxy/projects/shop/dashboards/d/datasources/metrics/api/v1/query?query=up"),
		asked("a name with a question mark", "400", "/proxy/projects/shop/datasources/metrics%3Fa/api/v1/query?query=up"),
		asked("a name with a number sign", "400", "/proxy/projects/shop/datasources/metrics%23/api/v1/query?query=up"),
		asked("a name with a line feed", "400", "/proxy/projects/shop/datasources/metrics%0a/api/v1/query?query=up"),
		asked("a name with a NUL", "400", "/proxy/projects/shop/datasources/metrics%00/api/v1/query?query=up"),
		asked("a name of another script", "400", "/proxy/projects/shop/datasources/m%C3%A9trics/api/v1/query?query=up"),
		asked("a name of 76 letters", "400", "/proxy/projects/shop/datasources/"+strings.Repeat("a", 76)+"/api/v1/query?query=up"),
		asked("a name of dots", "400", "/proxy/projects/shop/datasources/.../api/v1/query?query=up"),
		asked("a parameter of the path", "400", "/proxy/projects/shop/datasources/metrics;a=b/api/v1/query?query=up"),
		asked("the datasource's own name in upper case", "404", "/proxy/projects/SHOP/datasources/metrics/api/v1/query?query=up"),
	}
	for _, target := range []string{"/api/v1/admin/tsdb/delete_series", "/api/v1/write", "/-/quit"} {
		cases = append(cases, request{name: "POST of " + target, raw: send("POST", base+target, alice, "Content-Length: 0"), status: "403"})
	}
	return cases
}
