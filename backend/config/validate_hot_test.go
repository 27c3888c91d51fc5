package config

import (
	"fmt"
	"strings"
	"testing"

	promconfig "github.com/prometheus/common/config"
	"github.com/stretchr/testify/require"
)

// withHot returns a valid configuration with these hot tiers.
func withHot(entries ...HotConfig) *Config {
	config := Default()
	config.Hot.List = entries
	return &config
}

func TestValidate_AcceptsHotTiers(t *testing.T) {
	many := make([]HotConfig, maxHotTiers)
	for i := range many {
		many[i].URL = fmt.Sprintf("http://prometheus-%d", i)
	}
	inCluster := ServiceConfig{Namespace: "monitoring", Name: "prometheus"}
	for name, entries := range map[string][]HotConfig{
		"as many as there may be":        many,
		"one":                            {{URL: "http://a"}},
		"names":                          {{Name: "eu_1", URL: "http://a"}, {Name: "prometheus.eu-1.example", URL: "http://b"}},
		"a long DNS name":                {{Name: strings.Repeat("a.", 50) + "b", URL: "http://a"}},
		"ports of one host":              {{URL: "http://a:9090"}, {URL: "http://a:9091"}, {URL: "http://a"}, {URL: "https://a"}},
		"paths of one server with names": {{Name: "eu", URL: "http://a/eu"}, {Name: "us", URL: "http://a/us"}},
		"tenants of one server":          {{URL: "http://a", Tenant: "first"}, {Name: "second", URL: "http://a", Tenant: "second"}},
		"tenants of one Service":         {{Service: inCluster, Tenant: "first"}, {Name: "second", Service: inCluster, Tenant: "second"}},
		"Services": {
			{Service: inCluster}, {Name: "grpc", Service: ServiceConfig{Namespace: "monitoring", Name: "prometheus", Port: "10901"}},
			{Service: ServiceConfig{Namespace: "monitoring", Selector: "a=b"}}, {Service: ServiceConfig{Selector: "a=b", AllNamespaces: true}},
		},
	} {
		t.Run(name, func(t *testing.T) { require.NoError(t, withHot(entries...).Validate()) })
	}
	config := Default()
	config.Hot = HotConfig{Name: "eu", Service: inCluster}
	require.NoError(t, config.Validate(), "one tier with a Service")
}

// mistakesInHotTiers returns lists of hot tiers with one mistake each, by the message about it.
func mistakesInHotTiers() map[string][]HotConfig {
	right, service := HotConfig{URL: "http://a:9090"}, ServiceConfig{Namespace: "monitoring", Name: "prometheus"}
	return map[string][]HotConfig{
		"hot: is an empty list: list at least one tier, or remove the key":                       {},
		"hot[1]: set url or service":                                                             {right, {Name: "b", Retention: 1}},
		"hot[1]: set either url or service, not both":                                            {right, {URL: "http://b", Service: service}},
		"hot[1]: is a list in a list: write one list":                                            {right, {URL: "http://b", List: []HotConfig{right}}},
		`hot[1].url: "b" is not an http or https URL with a host: write http(s)://host[:port]`:   {right, {URL: "b"}},
		`hot[1].url: "http://b,c" is not an http or https URL with a host`:                       {right, {URL: "http://b,c"}},
		"hot[1].url: must not contain a user and password":                                       {right, {URL: "http://planted:planted@b"}},
		"hot[1].url: has several URLs: write hot as a list, with one URL in each entry":          {right, {URL: "http://b, http://c"}},
		"hot[1].url: is the URL of hot[0] too, with the same tenant: remove one of them":         {right, {Name: "other", URL: "http://A:9090/"}},
		"hot[2].url: is the URL of hot[1] too, with the same tenant":                             {right, {URL: "https://b/p"}, {Name: "c", URL: "https://b:443/p/"}},
		"hot[2].service: is the Service of hot[1] too, with the same tenant":                     {right, {Service: service}, {Name: "c", Service: service}},
		`hot[1].name: "a/b" is not the name of a tier: write 1 to 75 letters, digits, '_', '.'`:  {right, {Name: "a/b", URL: "http://b"}},
		`hot[1].name: "a,b" is not the name of a tier`:                                           {right, {Name: "a,b", URL: "http://b"}},
		`hot[1].name: "b:9090" is not the name of a tier`:                                        {right, {Name: "b:9090", URL: "http://b"}},
		`hot[1].name: ".." is not the name of a tier`:                                            {right, {Name: "..", URL: "http://b"}},
		`hot[1].name: "b" is also the name of hot[0]: set another name`:                          {{Name: "b", URL: "http://a"}, {Name: "b", URL: "http://b"}},
		`hot[1].name: "a:9090" is also the name of hot[0]: set another name`:                     {right, {URL: "http://a:9090/other"}},
		`hot[2].name: "a:80" is also the name of hot[1]: set another name`:                       {right, {URL: "http://a", Tenant: "a"}, {URL: "http://A:80", Tenant: "b"}},
		`hot[1].name: "monitoring/prometheus" is also the name of hot[0]: set another name`:      {{Service: service}, {Service: ServiceConfig{Namespace: "monitoring", Name: "prometheus", Port: "1"}}},
		`hot[1].service.namespace: "" is not the name of a namespace`:                            {right, {Service: ServiceConfig{Name: "b"}}},
		`hot[1].service.name: "" is not the name of a Service`:                                   {right, {Service: ServiceConfig{Namespace: "b"}}},
		`hot[1].service.selector: "==" is not a label selector`:                                  {right, {Service: ServiceConfig{Namespace: "b", Selector: "=="}}},
		"hot[1].service.all_namespaces: requires selector":                                       {right, {Service: ServiceConfig{Name: "b", AllNamespaces: true}}},
		"hot[1].service.namespace: must be empty with all_namespaces":                            {right, {Service: ServiceConfig{Namespace: "b", Selector: "a", AllNamespaces: true}}},
		`hot[1].service.port: 0 is not a port from 1 to 65535`:                                   {right, {Service: ServiceConfig{Namespace: "b", Name: "c", Port: "0"}}},
		"hot[1].retention: must not be negative":                                                 {right, {URL: "http://b", Retention: -1}},
		"hot[1].http_config: at most one of bearer_token & bearer_token_file must be configured": {right, {URL: "http://b", HTTPConfig: &HTTPConfig{promconfig.HTTPClientConfig{BearerToken: "planted", BearerTokenFile: "/b"}}}},
		"hot[1].tenancy: set both parameter and probe_namespace, or neither":                     {right, {URL: "http://b", Tenancy: TenancyConfig{Parameter: "namespace"}}},
		`hot[1].tenant: "a|b" is not the name of one tenant`:                                     {right, {URL: "http://b", Tenant: "a|b"}},
	}
}

func TestValidate_ReportsEachMistakeOfHotTiers(t *testing.T) {
	for mistake, entries := range mistakesInHotTiers() {
		t.Run(mistake, func(t *testing.T) {
			err := withHot(entries...).Validate()
			require.Error(t, err)
			require.Len(t, lines(err), 1, err)
			require.True(t, strings.HasPrefix(err.Error(), mistake), err)
			require.NotContains(t, err.Error(), "planted")
		})
	}
}

func TestValidate_ReportsMistakesOfHotAsAWhole(t *testing.T) {
	many := make([]HotConfig, maxHotTiers+1)
	for i := range many {
		many[i].URL = fmt.Sprintf("http://prometheus-%d", i)
	}
	require.EqualError(t, withHot(many...).Validate(), "hot: lists 201 tiers, and must list at most 200")

	both := withHot(HotConfig{URL: "http://a"})
	both.Hot.URL = "http://b"
	require.EqualError(t, both.Validate(), "hot: is a list, but also has the settings of one tier: move them into the list")

	alone := withHot(HotConfig{URL: "http://a"}, HotConfig{Service: ServiceConfig{Namespace: "a", Name: "b"}})
	alone.Discovery.Enabled, alone.Cold.URL = false, ""
	require.EqualError(t, alone.Validate(), "hot[1].service: has no effect without discovery.enabled")
	alone.Hot.List = alone.Hot.List[:1]
	require.NoError(t, alone.Validate(), "one hot tier is enough")
}

func TestHotConfig_EntryName(t *testing.T) {
	for expected, entry := range map[string]HotConfig{
		"eu":         {Name: "eu", URL: "http://a"},
		"a:9090":     {URL: "https://A:9090/path"},
		"a:80":       {URL: "http://a"},
		"a:443":      {URL: "https://a/"},
		"[::1]:9090": {URL: "http://[::1]:9090"},
		"b/c":        {Service: ServiceConfig{Namespace: "b", Name: "c"}},
		"d":          {Name: "d", Service: ServiceConfig{Namespace: "b", Selector: "c"}},
	} {
		require.Equal(t, expected, entry.EntryName())
	}
	for _, nameless := range []HotConfig{{}, {URL: "a"}, {URL: ":"}, {Service: ServiceConfig{Namespace: "b", Name: "c", Selector: "d"}}} {
		require.Empty(t, nameless.EntryName())
	}
}

func TestLoad_ServicesOfAllNamespacesHaveNoDefaultNamespace(t *testing.T) {
	clearEnvironment(t)
	config, err := Load(configFile(t, "discovery: {hot: {selector: app=prometheus, all_namespaces: true}}\n"))
	require.NoError(t, err)
	require.Empty(t, config.Discovery.Hot.Namespace)
	require.Equal(t, Default().Discovery.Cold, config.Discovery.Cold)
	_, err = Load(configFile(t, "discovery: {hot: {selector: app=prometheus, namespace: monitoring, all_namespaces: true}, cold: {all_namespaces: true}}\n"))
	require.Error(t, err)
	require.Equal(t, []string{
		"discovery.hot.namespace: must be empty with all_namespaces", "discovery.cold.all_namespaces: requires selector",
	}, lines(err))
}
