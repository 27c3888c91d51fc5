package gateway_test

import (
	"fmt"
	"net/http"
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
		require.ErrorContains(t, settings.Validate(), "destinations[0]: the path_prefix", wrong)
	}
	settings := config.Default()
	settings.Hot.Tenant = "first|second"
	require.ErrorContains(t, settings.Validate(), "hot.tenant: ")
}
