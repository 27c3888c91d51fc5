package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

const twoClusters = `
hot:
  - name: eu-1
    url: https://prometheus.eu-1:9090
    retention: 6h
    external_labels: {cluster: eu-1}
    complete: true
    http_config: {authorization: {credentials: planted}}
    tenancy: {parameter: namespace, probe_namespace: monitoring}
    tenant: first
  - service: {selector: app=prometheus, all_namespaces: true, port: web, scheme: http}
`

func TestHotConfig_FileHasOneTierOrAList(t *testing.T) {
	clearEnvironment(t)
	for _, file := range []string{"hot: {url: http://a}", "hot: &one {url: http://a}", "tier: &one {url: http://a}\nhot: *one"} {
		var read struct {
			Tier any
			Hot  HotConfig
		}
		require.NoError(t, yaml.Unmarshal([]byte(file), &read))
		require.Equal(t, HotConfig{URL: "http://a"}, read.Hot, file)
		require.Equal(t, []HotConfig{{URL: "http://a"}}, read.Hot.Entries(), file)
	}

	config, err := Load(configFile(t, twoClusters))
	require.NoError(t, err)
	require.Len(t, config.Hot.Entries(), 2)
	first, second := config.Hot.Entries()[0], config.Hot.Entries()[1]
	require.Equal(t, "planted", string(first.HTTPConfig.Authorization.Credentials))
	first.HTTPConfig = nil
	require.Equal(t, HotConfig{
		Name: "eu-1", URL: "https://prometheus.eu-1:9090", Retention: Duration(6 * time.Hour), ExternalLabels: LabelSet{"cluster": "eu-1"}, Complete: true,
		Tenancy: TenancyConfig{Parameter: "namespace", ProbeNamespace: "monitoring"}, Tenant: "first",
	}, first)
	require.Equal(t, HotConfig{Service: ServiceConfig{Selector: "app=prometheus", AllNamespaces: true, Port: "web", Scheme: "http"}}, second)
	config.Hot.List = nil
	require.Equal(t, Default().Hot, config.Hot, "nothing beside the list")
	require.Equal(t, []HotConfig{{}}, config.Hot.Entries(), "a tier that discovery may find")
}

func TestHotConfig_MappingKeepsWhatIsSet(t *testing.T) {
	read := HotConfig{Retention: Duration(time.Hour), Tenancy: TenancyConfig{Parameter: "namespace"}, List: []HotConfig{{URL: "http://a"}}}
	require.NoError(t, yaml.Unmarshal([]byte("{url: http://b, tenancy: {probe_namespace: x}}"), &read))
	require.Equal(t, HotConfig{URL: "http://b", Retention: Duration(time.Hour), Tenancy: TenancyConfig{Parameter: "namespace", ProbeNamespace: "x"}}, read)
	require.NoError(t, yaml.Unmarshal([]byte("[{url: http://c}]"), &read))
	require.Equal(t, HotConfig{List: []HotConfig{{URL: "http://c"}}}, read)
}

func TestHotConfig_IsWrittenAsItIsRead(t *testing.T) {
	clearEnvironment(t)
	for _, file := range []string{twoClusters, "hot: {name: a, service: {namespace: b, name: c}}\n"} {
		config, err := Load(configFile(t, file))
		require.NoError(t, err)
		text, err := yaml.Marshal(config)
		require.NoError(t, err)
		require.NotContains(t, string(text), "planted")
		read, err := Load(configFile(t, string(text)))
		require.NoError(t, err)
		if config.Hot.List != nil {
			config.Hot.List[0].HTTPConfig, read.Hot.List[0].HTTPConfig = nil, nil // The credential is written as <secret>.
		}
		require.Equal(t, config, read)
	}
}

// TestLoad_ReportsAllMistakesOfHotTiers has unknown keys and malformed values at each depth, before
// and after right ones.
func TestLoad_ReportsAllMistakesOfHotTiers(t *testing.T) {
	clearEnvironment(t)
	file := configFile(t, `
hot:
  - url: http://a
    retention: soon
    rentention: 1h
    http_config: {tls_config: {ca_flie: planted}, authorization: planted}
  - external_labels: cluster
    service: {name: b, nmespace: c, all_namespaces: perhaps}
    url: [http://b]
  - url: http://c
    complete: 1
    tenancy: {parametr: x, probe_namespace: y}
    list: [{url: http://d}]
  - {url: http://e, url: http://f}
  - http://g
  - {url: http://h, retention: -1h, tenant: a|b}
query: {timeout: soon, time_out: 1s}
`)
	_, err := Load(file)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "planted")
	require.ElementsMatch(t, []string{
		file + `: line 14: mapping key "url" already defined at line 14`,
		file + `: line 4: "soon" is not a duration such as 500ms, 30s, 15m or 1h30m`,
		file + `: line 5: unknown key "rentention": remove it or correct its spelling`,
		file + `: http_config: line 6: unknown key "ca_flie": remove it or correct its spelling`,
		file + `: http_config: line 6: cannot unmarshal !!str a value into config.Authorization`,
		file + `: line 7: "cluster" is not a map of label names to values such as {cluster: lab}`,
		file + `: line 8: unknown key "nmespace": remove it or correct its spelling`,
		file + `: line 8: cannot unmarshal !!str ` + "`perhaps`" + ` into bool`,
		file + `: line 9: cannot unmarshal !!seq into string`,
		file + `: line 11: cannot unmarshal !!int ` + "`1`" + ` into bool`,
		file + `: line 12: unknown key "parametr": remove it or correct its spelling`,
		file + `: line 13: unknown key "list": remove it or correct its spelling`,
		file + `: line 15: "http://g" is not a hot tier such as {url: http://prometheus:9090}`,
		file + `: line 16: "-1h" is not a duration such as 500ms, 30s, 15m or 1h30m`,
		file + `: line 17: "soon" is not a duration such as 500ms, 30s, 15m or 1h30m`,
		file + `: line 17: unknown key "time_out": remove it or correct its spelling`,
		`hot[1].service.namespace: "" is not the name of a namespace`,
		`hot[2].tenancy: set both parameter and probe_namespace, or neither`,
		`hot[3]: set url or service`,
		`hot[4]: set url or service`,
		`hot[5].tenant: "a|b" is not the name of one tenant: write it without '|' and without spaces around it`,
	}, lines(err))
}

func TestLoad_ReportsWrongShapesOfHot(t *testing.T) {
	clearEnvironment(t)
	for text, expected := range map[string]string{
		"hot: http://a":                     `line 1: "http://a" is not a hot tier such as {url: http://prometheus:9090}, or a list of them`,
		"hot: []":                           "hot: is an empty list: list at least one tier, or remove the key",
		"hot: [http://a]":                   `line 1: "http://a" is not a hot tier such as {url: http://prometheus:9090}`,
		"hot: [[{url: http://a}]]":          `line 1: "" is not a hot tier such as {url: http://prometheus:9090}`,
		"hot: [{url: http://a}, null]":      "hot[1]: set url or service",
		"hot: [{url: http://a}, {name: b}]": "hot[1]: set url or service",
	} {
		_, err := Load(configFile(t, text+"\n"))
		require.ErrorContains(t, err, expected, text)
	}
}
