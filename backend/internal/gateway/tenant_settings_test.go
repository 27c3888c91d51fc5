package gateway_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// TestTenantHeader_HotIsAskedForTheTenantThatItHolds declares which tenant hot
// holds.
func TestTenantHeader_HotIsAskedForTheTenantThatItHolds(t *testing.T) {
	specs := map[string]fakeperses.Datasource{}
	for name, header := range map[string]string{
		"none": "", "first": `"X-Scope-OrgID":"first"`, "second": `"X-Scope-OrgID":"second"`, "both": `"X-Scope-OrgID":"first|second"`, "twice": `"X-Scope-OrgID":"first|first"`,
		"thanos": `"THANOS-TENANT":"first"`, "mixed": `"X-Scope-OrgID":"first","THANOS-TENANT":"second"`, "upper": `"X-Scope-OrgID":"First"`,
	} {
		specs["/globaldatasources/"+name] = fakeperses.Datasource{Headers: header}
	}
	g := twoTenants(t, specs, func(settings *config.Config) {
		settings.Hot.Tenant = "first"
		for name, header := range map[string]string{"named-first": `"X-Scope-OrgID":"first"`, "named-second": `"X-Scope-OrgID":"second"`} {
			specs["/globaldatasources/"+name] = fakeperses.Datasource{Tiers: fmt.Sprintf(`"hot":{"url":%q},`, settings.Hot.URL), Headers: header}
		}
	})
	for name, expected := range map[string]string{
		"none": "hot", "first": "hot", "thanos": "hot", "named-first": "hot",
		"second": "cold", "both": "cold", "twice": "cold", "mixed": "cold", "upper": "cold", "named-second": "cold",
	} {
		response, body := g.ask(t, http.MethodGet, "/proxy/globaldatasources/"+name+query, "")
		require.Equal(t, http.StatusOK, response.StatusCode, body)
		require.Equal(t, expected, response.Header.Get("X-Tier"), name)
	}
}

// TestTenantHeader_ConfiguredNamesCountEverywhere selects tenants by a header that the operator names. Without
// that, the header selects nothing, and reaches no tier.
func TestTenantHeader_ConfiguredNamesCountEverywhere(t *testing.T) {
	specs := map[string]fakeperses.Datasource{
		"/globaldatasources/first": {Headers: `"x-team":"first"`}, "/globaldatasources/second": {Headers: `"X-Team":"second"`}, "/globaldatasources/third": {Headers: `"X-Team":"third"`},
		"/globaldatasources": {}, "/globaldatasources/variable": {Headers: `"X-Team":"$team"`}, "/globaldatasources/twice": {Headers: `"X-Team":"first","x-team":"second"`},
	}
	for _, isConfigured := range []bool{false, true} {
		g := twoTenants(t, specs, func(settings *config.Config) {
			settings.Hot.Tenant, settings.Cache.Enabled = "first", true
			if isConfigured {
				settings.TenantHeaders = []string{"X-Team"}
			}
		})
		g.cold.Handle(func(w http.ResponseWriter, request *http.Request) {
			_, _ = fmt.Fprint(w, ofTenant(request, "tenant "+request.Header.Get("X-Team")))
		})
		for range 2 { // The second answer may be a kept one.
			for name, tier := range map[string]string{"first": "hot", "second": "cold", "third": "cold"} {
				response, body := g.ask(t, http.MethodGet, "/proxy/globaldatasources/"+name+query, "")
				require.Equal(t, http.StatusOK, response.StatusCode, body)
				if !isConfigured {
					require.Equal(t, "hot", response.Header.Get("X-Tier"), name)
					continue
				}
				require.Equal(t, tier, response.Header.Get("X-Tier"), name)
				if tier == "cold" {
					require.Contains(t, body, `"tenant `+name+`"`)
				}
			}
		}
		for name, message := range map[string]string{"variable": "must be the tenant itself, not a dashboard variable", "twice": `is the same header as \"X-Team\": remove one of them`} {
			response, body := g.ask(t, http.MethodGet, "/proxy/globaldatasources/"+name+query, "")
			require.Equal(t, isConfigured, response.StatusCode == http.StatusBadRequest && strings.Contains(body, message), "%s: %s", name, body)
		}
		for _, request := range slices.Concat(g.hot.Requests(), g.cold.Requests()) {
			require.True(t, isConfigured || request.Header.Get("X-Team") == "", "a header that selects no tenant reaches no tier")
		}
		spec := `{"proxy": {"kind": "HTTPProxy", "spec": {"url": "http://tierproxy/proxy/globaldatasources/new", "headers": {"X-Team": "${team}"}}}}`
		_, body := g.ask(t, http.MethodPost, "/proxy/globaldatasources/first/api/v1/datasources/check", spec)
		require.Equal(t, isConfigured, strings.Contains(body, `"field":"spec.proxy.spec.headers.\"X-Team\""`), body)
	}
}

// TestCheck_SaysWhyATenantHeaderLeavesHotUnused checks specs. The gateway's own hot tier may hold another tenant; a
// hot tier that the spec itself names, and that would get no query, is a mistake.
func TestCheck_SaysWhyATenantHeaderLeavesHotUnused(t *testing.T) {
	g := twoTenants(t, map[string]fakeperses.Datasource{"/globaldatasources": {}}, func(settings *config.Config) { settings.Hot.Tenant = "first" })
	g.hot.Handle(faketier.Success)
	g.cold.Handle(faketier.Success)
	named := fmt.Sprintf(`"hot": {"url": %q},`, g.hot.URL)
	for _, test := range []struct {
		tiers, tenant     string
		isUnused, accepts bool
	}{
		{"", "second", true, true}, {named, "second", true, false}, {"", "first", false, true}, {named, "first", false, true},
	} {
		spec := fmt.Sprintf(`{%s "proxy": {"kind": "HTTPProxy", "spec": {"url": "http://tierproxy/proxy/globaldatasources/new", "headers": {"THANOS-TENANT": %q}}}}`, test.tiers, test.tenant)
		_, body := g.ask(t, http.MethodPost, "/proxy/globaldatasources/new/api/v1/datasources/check", spec)
		require.Equal(t, test.isUnused, strings.Contains(body, `"unused":"hot is not used: the proxy of the datasource sends a tenant header`), "%+v: %s", test, body)
		require.Equal(t, test.isUnused, strings.Contains(body, `"remedy":"set hot.tenant`), body)
		if test.isUnused { // Nothing is known of the coverage of the other hot tiers.
			require.Equal(t, test.accepts, strings.Contains(body, `"ok":true`), "%+v: %s", test, body)
		}
	}
}

// TestTenantHeader_DestinationSaysWhichTenantItHolds declares the tenant of a
// destination.
func TestTenantHeader_DestinationSaysWhichTenantItHolds(t *testing.T) {
	other := faketier.Start(t)
	hot := fmt.Sprintf(`"hot":{"url":%q},`, other.URL+"/third")
	specs := map[string]fakeperses.Datasource{
		"/globaldatasources/third": {Tiers: hot, Headers: `"X-Scope-OrgID":"third"`}, "/globaldatasources/second": {Tiers: hot, Headers: `"X-Scope-OrgID":"second"`},
	}
	g := twoTenants(t, specs, func(settings *config.Config) {
		settings.Hot.Tenant = "second" // Of another server: it does not count here.
		settings.Destinations = []config.DestinationConfig{{Host: "127.0.0.1", Port: portOf(t, other.URL), PathPrefix: "/third", Tenant: "third"}}
	})
	for name, expected := range map[string]string{"third": "hot", "second": "cold"} {
		response, body := g.ask(t, http.MethodGet, "/proxy/globaldatasources/"+name+query, "")
		require.Equal(t, expected, response.Header.Get("X-Tier"), "%s: %s", name, body)
	}
	require.Equal(t, "third", other.Requests()[0].Header.Get("X-Scope-Orgid"))
}

// TestDestination_PathPrefixBoundsTheCredential lists one path of a server with
// a credential and another one without.
func TestDestination_PathPrefixBoundsTheCredential(t *testing.T) {
	other := faketier.Start(t)
	paths := map[string]string{"/select/7": "Bearer of-seven", "/select/7/prometheus": "Bearer of-seven", "/select/8/prometheus": "", "/select/70/prometheus": "refused", "/": "refused", "": "refused"}
	specs := map[string]fakeperses.Datasource{}
	for path := range paths {
		specs["/globaldatasources/d"+strings.ReplaceAll(path, "/", "-")] = fakeperses.Datasource{Tiers: fmt.Sprintf(`"hot":{"url":%q},`, other.URL+path)}
	}
	perses := fakeperses.Start(t, "", specs)
	g := newGateway(t, func(settings *config.Config) {
		settings.Perses.URL = perses.URL
		settings.Probe.Interval = config.Duration(time.Hour)
		port := portOf(t, other.URL)
		settings.Destinations = []config.DestinationConfig{
			{Host: "127.0.0.1", Port: port, Scheme: "http", PathPrefix: "/select/7/", HTTPConfig: running.HTTPConfig(t, "authorization: {credentials: of-seven}")},
			{Host: "127.0.0.1", Port: port, PathPrefix: "/select/8"},
		}
	})
	for path, expected := range paths {
		before := len(other.Requests())
		response, body := g.ask(t, http.MethodGet, "/proxy/globaldatasources/d"+strings.ReplaceAll(path, "/", "-")+query, "")
		if expected == "refused" {
			require.Equal(t, http.StatusForbidden, response.StatusCode, "%s: %s", path, body)
			require.Len(t, other.Requests(), before)
			continue
		}
		require.Equal(t, http.StatusOK, response.StatusCode, "%s: %s", path, body)
		require.Equal(t, expected, other.Requests()[before].Header.Get("Authorization"), path)
	}
	for _, wrong := range []string{"select", "/a/../b", "/a//b", "/a%2fb", "/a;b"} {
		settings := config.Default()
		settings.Destinations = []config.DestinationConfig{{Host: "a", PathPrefix: wrong}}
		require.ErrorContains(t, settings.Validate(), "destinations[0].path_prefix: ", wrong)
	}
	settings := config.Default()
	settings.Hot.Tenant = "first|second"
	require.ErrorContains(t, settings.Validate(), "hot.tenant: ")
}
