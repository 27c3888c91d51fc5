package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// loadWith loads a file, if it is not empty, with the variables.
func loadWith(t *testing.T, file string, variables map[string]string) (Config, error) {
	t.Helper()
	clearEnvironment(t)
	for name, value := range variables {
		t.Setenv(name, value)
	}
	path := ""
	if file != "" {
		path = configFile(t, file)
	}
	return Load(path)
}

// hotOfVariables is a file with variables, and the hot tiers that they make.
type hotOfVariables struct {
	file      string
	variables map[string]string
	expected  HotConfig
}

func hotTiersOfVariables() map[string]hotOfVariables {
	const fileWithList = "hot: [{url: http://file-0, retention: 1h, external_labels: {cluster: a}}, {service: {namespace: b, name: c}}]\n"
	ab := []HotConfig{{URL: "https://a:9090"}, {URL: "https://b:9090"}}
	return map[string]hotOfVariables{
		"several URLs":                    {"", map[string]string{"PROMETHEUS_URL": "https://a:9090,https://b:9090"}, HotConfig{List: ab}},
		"with spaces":                     {"", map[string]string{"TIERPROXY_HOT_URL": " https://a:9090 , https://b:9090 "}, HotConfig{List: ab}},
		"with capitals":                   {"", map[string]string{"PROMETHEUS_URL": "http://a,HTTP://b"}, HotConfig{List: []HotConfig{{URL: "http://a"}, {URL: "HTTP://b"}}}},
		"the contract wins":               {"", map[string]string{"PROMETHEUS_URL": "http://a", "TIERPROXY_HOT_URL": "http://b,http://c"}, HotConfig{URL: "http://a"}},
		"a comma in a path":               {"", map[string]string{"PROMETHEUS_URL": "http://a/select/0,1/prometheus"}, HotConfig{URL: "http://a/select/0,1/prometheus"}},
		"instead of the list of the file": {fileWithList, map[string]string{"PROMETHEUS_URL": "https://a:9090,https://b:9090"}, HotConfig{List: ab}},
		"one instead of the list":         {fileWithList, map[string]string{"PROMETHEUS_URL": "http://a", "TIERPROXY_HOT_COMPLETE": "true"}, HotConfig{URL: "http://a", Complete: true}},
		"instead of the Service of the file": {
			"hot: {retention: 1h, service: {namespace: a, name: b}}\n", map[string]string{"PROMETHEUS_URL": "http://a"}, HotConfig{URL: "http://a", Retention: Duration(time.Hour)},
		},
		"several instead of the Service of the file": {
			"hot: {service: {namespace: a, name: b}}\n", map[string]string{"PROMETHEUS_URL": "https://a:9090,https://b:9090"}, HotConfig{List: ab},
		},
		"a Service instead of the URL of the file": {
			"hot: {url: http://a, tenant: a}\n", map[string]string{"TIERPROXY_HOT_SERVICE_NAMESPACE": "a", "TIERPROXY_HOT_SERVICE_NAME": "b"},
			HotConfig{Service: ServiceConfig{Namespace: "a", Name: "b"}, Tenant: "a"},
		},
		"common settings": {
			"hot: {retention: 1h, tenant: a}\n",
			map[string]string{"PROMETHEUS_URL": "http://a,http://b", "TIERPROXY_HOT_TENANT": "b", "TIERPROXY_HOT_COMPLETE": "false"},
			HotConfig{List: []HotConfig{
				{URL: "http://a", Retention: Duration(time.Hour), Tenant: "b"}, {URL: "http://b", Retention: Duration(time.Hour), Tenant: "b"},
			}},
		},
		"one URL and its settings by number": {
			"", map[string]string{"PROMETHEUS_URL": "http://a", "TIERPROXY_HOT_COMPLETE": "true", "TIERPROXY_HOT_0_EXTERNAL_LABELS": `cluster="a"`},
			HotConfig{List: []HotConfig{{URL: "http://a", Complete: true, ExternalLabels: LabelSet{"cluster": "a"}}}},
		},
		"several URLs and settings by number": {
			"", map[string]string{"PROMETHEUS_URL": "http://a,http://b", "TIERPROXY_HOT_0_EXTERNAL_LABELS": `cluster="a"`, "TIERPROXY_HOT_1_NAME": "b", "TIERPROXY_HOT_1_COMPLETE": "true"},
			HotConfig{List: []HotConfig{{URL: "http://a", ExternalLabels: LabelSet{"cluster": "a"}}, {Name: "b", URL: "http://b", Complete: true}}},
		},
		"a list by number": {
			"", map[string]string{"TIERPROXY_HOT_0_URL": "http://a", "TIERPROXY_HOT_1_SERVICE_SELECTOR": "a=b", "TIERPROXY_HOT_1_SERVICE_ALL_NAMESPACES": "true", "TIERPROXY_HOT_1_RETENTION": "2h"},
			HotConfig{List: []HotConfig{{URL: "http://a"}, {Service: ServiceConfig{Selector: "a=b", AllNamespaces: true}, Retention: Duration(2 * time.Hour)}}},
		},
		"empty variables": {
			fileWithList, map[string]string{"PROMETHEUS_URL": "", "TIERPROXY_HOT_URL": "", "TIERPROXY_HOT_1_URL": "", "TIERPROXY_HOT_01_URL": "", "TIERPROXY_NOTHING": ""},
			HotConfig{List: []HotConfig{
				{URL: "http://file-0", Retention: Duration(time.Hour), ExternalLabels: LabelSet{"cluster": "a"}}, {Service: ServiceConfig{Namespace: "b", Name: "c"}},
			}},
		},
		"over the list of the file": {
			fileWithList,
			map[string]string{
				"TIERPROXY_HOT_0_SERVICE_NAMESPACE": "n", "TIERPROXY_HOT_0_SERVICE_NAME": "s", "TIERPROXY_HOT_0_EXTERNAL_LABELS": `cluster="z"`,
				"TIERPROXY_HOT_1_URL": "http://b", "TIERPROXY_HOT_2_URL": "http://c", "TIERPROXY_HOT_2_TENANCY_PARAMETER": "p", "TIERPROXY_HOT_2_TENANCY_PROBE_NAMESPACE": "q",
			},
			HotConfig{List: []HotConfig{
				{Service: ServiceConfig{Namespace: "n", Name: "s"}, Retention: Duration(time.Hour), ExternalLabels: LabelSet{"cluster": "z"}},
				{URL: "http://b"}, {URL: "http://c", Tenancy: TenancyConfig{Parameter: "p", ProbeNamespace: "q"}},
			}},
		},
		"variables of Kubernetes for Services of such names": {
			"hot: {service: {namespace: a, name: b, port: web}}\n",
			map[string]string{"TIERPROXY_HOT_SERVICE_HOST": "10.0.0.1", "TIERPROXY_HOT_SERVICE_PORT": "80", "TIERPROXY_HOT_0_SERVICE_HOST": "10.0.0.1", "TIERPROXY_HOT_0_SERVICE_PORT": "80"},
			HotConfig{Service: ServiceConfig{Namespace: "a", Name: "b", Port: "web"}},
		},
	}
}

func TestLoad_ReadsHotTiersFromVariables(t *testing.T) {
	for name, each := range hotTiersOfVariables() {
		t.Run(name, func(t *testing.T) {
			config, err := loadWith(t, each.file, each.variables)
			require.NoError(t, err)
			require.Equal(t, each.expected, config.Hot)
		})
	}
}

func TestLoad_ReadsMoreThanTenHotTiersFromVariables(t *testing.T) {
	config, err := loadWith(t, "", map[string]string{
		"TIERPROXY_HOT_0_URL": "http://0", "TIERPROXY_HOT_1_URL": "http://1", "TIERPROXY_HOT_2_URL": "http://2", "TIERPROXY_HOT_3_URL": "http://3",
		"TIERPROXY_HOT_4_URL": "http://4", "TIERPROXY_HOT_5_URL": "http://5", "TIERPROXY_HOT_6_URL": "http://6", "TIERPROXY_HOT_7_URL": "http://7",
		"TIERPROXY_HOT_8_URL": "http://8", "TIERPROXY_HOT_9_URL": "http://9", "TIERPROXY_HOT_10_URL": "http://10", "TIERPROXY_HOT_10_HTTP_CONFIG_TLS_CONFIG_CA_FILE": "/ca",
	})
	require.NoError(t, err)
	require.Len(t, config.Hot.List, 11)
	require.Equal(t, "http://10", config.Hot.List[10].URL)
	require.Equal(t, "/ca", config.Hot.List[10].HTTPConfig.TLSConfig.CAFile)
	require.Nil(t, config.Hot.List[1].HTTPConfig)
}

func TestLoad_CredentialOfOneHotTierReplacesTheCommonOne(t *testing.T) {
	config, err := loadWith(t, "hot: {http_config: {tls_config: {ca_file: /file}}}\n", map[string]string{
		"PROMETHEUS_URL": "https://a,https://b,https://c", "TIERPROXY_HOT_HTTP_CONFIG_AUTHORIZATION_CREDENTIALS_FILE": "/common",
		"TIERPROXY_HOT_1_HTTP_CONFIG_BASIC_AUTH_USERNAME": "me", "TIERPROXY_HOT_1_HTTP_CONFIG_BASIC_AUTH_PASSWORD_FILE": "/own",
	})
	require.NoError(t, err)
	first, second, third := config.Hot.List[0].HTTPConfig, config.Hot.List[1].HTTPConfig, config.Hot.List[2].HTTPConfig
	require.Equal(t, first, third)
	require.Equal(t, "/common", first.Authorization.CredentialsFile)
	require.Equal(t, "/file", first.TLSConfig.CAFile)
	require.Nil(t, second.Authorization)
	require.Empty(t, second.TLSConfig.CAFile)
	require.Equal(t, "/own", second.BasicAuth.PasswordFile)
	require.True(t, second.EnableHTTP2, "as in Prometheus")
}

// mistakesOfVariables is a file with variables, and the mistakes in them.
type mistakesOfVariables struct {
	file      string
	variables map[string]string
	expected  []string
}

func mistakesInHotVariables() map[string]mistakesOfVariables {
	return map[string]mistakesOfVariables{
		"settings of one tier beside a list of the file": {
			"hot: [{url: http://a}]\n",
			map[string]string{"TIERPROXY_HOT_RETENTION": "1h", "TIERPROXY_HOT_HTTP_CONFIG_BEARER_TOKEN_FILE": "/b", "TIERPROXY_HOT_SERVICE_NAME": "c", "PROMETHEUS_URL": ""},
			[]string{
				"environment variable TIERPROXY_HOT_HTTP_CONFIG_BEARER_TOKEN_FILE: is for one hot tier, but hot is a list: set TIERPROXY_HOT_0_HTTP_CONFIG_BEARER_TOKEN_FILE or hot[0].http_config",
				"environment variable TIERPROXY_HOT_RETENTION: is for one hot tier, but hot is a list: set TIERPROXY_HOT_0_RETENTION or hot[0].retention",
				"environment variable TIERPROXY_HOT_SERVICE_NAME: is for one hot tier, but hot is a list: set TIERPROXY_HOT_0_SERVICE_NAME or hot[0].service.name",
			},
		},
		"settings of one tier beside a list by number": {
			"", map[string]string{"TIERPROXY_HOT_0_URL": "http://a", "TIERPROXY_HOT_TENANCY_PARAMETER": "x"},
			[]string{"environment variable TIERPROXY_HOT_TENANCY_PARAMETER: is for one hot tier, but TIERPROXY_HOT_0_URL makes hot a list: set TIERPROXY_HOT_0_TENANCY_PARAMETER or hot[0].tenancy.parameter"},
		},
		"a list by number beside one tier of the file": {
			"hot: {retention: 1h}\n", map[string]string{"TIERPROXY_HOT_0_URL": "http://a"},
			[]string{"environment variable TIERPROXY_HOT_0_URL: the file has one hot tier: write hot as a list there"},
		},
		"settings of one tier with several URLs": {
			"hot: {name: a, external_labels: {cluster: a}}\n",
			map[string]string{"PROMETHEUS_URL": "http://a,http://b", "TIERPROXY_HOT_EXTERNAL_LABELS": `cluster="b"`, "TIERPROXY_HOT_COMPLETE": "true", "TIERPROXY_HOT_SERVICE_NAME": "b"},
			[]string{
				"hot.name: is for one hot tier, but PROMETHEUS_URL has 2 URLs: set TIERPROXY_HOT_0_NAME and so on, or list the tiers in the file",
				"environment variable TIERPROXY_HOT_SERVICE_NAME: is for one hot tier, but PROMETHEUS_URL has 2 URLs: set TIERPROXY_HOT_0_SERVICE_NAME and so on, or list the tiers in the file",
				"environment variable TIERPROXY_HOT_EXTERNAL_LABELS: is for one hot tier, but PROMETHEUS_URL has 2 URLs: set TIERPROXY_HOT_0_EXTERNAL_LABELS and so on, or list the tiers in the file",
				"environment variable TIERPROXY_HOT_COMPLETE: is for one hot tier, but PROMETHEUS_URL has 2 URLs: set TIERPROXY_HOT_0_COMPLETE and so on, or list the tiers in the file",
			},
		},
		"numbers beside several URLs": {
			"", map[string]string{"TIERPROXY_HOT_URL": "http://a,http://b", "TIERPROXY_HOT_1_URL": "http://c", "TIERPROXY_HOT_2_URL": "http://d", "TIERPROXY_HOT_3_RETENTION": "soon"},
			[]string{
				"environment variable TIERPROXY_HOT_1_URL: TIERPROXY_HOT_URL has the URL of this hot tier: remove one of them",
				"environment variable TIERPROXY_HOT_2_URL: TIERPROXY_HOT_URL has URLs for 2 hot tiers only",
				"environment variable TIERPROXY_HOT_3_RETENTION: TIERPROXY_HOT_URL has URLs for 2 hot tiers only",
			},
		},
		"a Service by number beside several URLs": {
			"", map[string]string{"PROMETHEUS_URL": "http://a,http://b", "TIERPROXY_HOT_1_SERVICE_NAMESPACE": "a", "TIERPROXY_HOT_1_SERVICE_NAME": "b"},
			[]string{"hot[1]: set either url or service, not both"},
		},
		"a number that is left out": {
			"hot: [{url: http://a}]\n", map[string]string{"TIERPROXY_HOT_1_URL": "http://b", "TIERPROXY_HOT_999999999_URL": "http://c"},
			[]string{"environment variable TIERPROXY_HOT_999999999_URL: there is no hot tier 2: number the tiers from 0 and leave no number out"},
		},
		"malformed values": {
			"hot: [{url: http://a}]\n", map[string]string{"TIERPROXY_HOT_0_RETENTION": "soon", "TIERPROXY_HOT_0_COMPLETE": "perhaps", "TIERPROXY_HOT_1_TENANT": "a|b"},
			[]string{
				`environment variable TIERPROXY_HOT_0_RETENTION: "soon" is not a duration such as 500ms, 30s, 15m or 1h30m`,
				`environment variable TIERPROXY_HOT_0_COMPLETE: "perhaps" is not true or false`,
				"hot[1]: set url or service",
				`hot[1].tenant: "a|b" is not the name of one tenant: write it without '|' and without spaces around it`,
			},
		},
		"malformed URLs": {
			"", map[string]string{"PROMETHEUS_URL": "http://a,https://me:planted@b,http://,http://a"},
			[]string{
				"hot[1].url: must not contain a user and password: they would appear in logs",
				`hot[2].url: "http://" is not an http or https URL with a host: write http(s)://host[:port][/path]`,
				"hot[3].url: is the URL of hot[0] too, with the same tenant: remove one of them",
			},
		},
	}
}

func TestLoad_ReportsMistakesOfVariablesOfHotTiers(t *testing.T) {
	for name, each := range mistakesInHotVariables() {
		t.Run(name, func(t *testing.T) {
			_, err := loadWith(t, each.file, each.variables)
			require.Error(t, err)
			require.ElementsMatch(t, each.expected, lines(err))
		})
	}
}
