package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// clearEnvironment hides the variables of whoever runs the tests.
func clearEnvironment(t *testing.T) {
	t.Helper()
	var names []string
	config := Default()
	for _, setting := range settings(&config) {
		names = append(names, setting.prefixed, setting.contract)
	}
	for _, variable := range hotVariables() {
		names = append(names, variable.name)
	}
	for _, name := range names {
		if _, found := os.LookupEnv(name); found && name != "" {
			t.Setenv(name, "")
			require.NoError(t, os.Unsetenv(name))
		}
	}
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tierproxy.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestFromEnvironment_DefaultsAreThoseOfTheContract(t *testing.T) {
	clearEnvironment(t)
	config, err := FromEnvironment()
	require.NoError(t, err)
	require.Equal(t, Default(), config)
	require.Equal(t, "https://thanos-querier.openshift-monitoring.svc:9091", config.Cold.URL)
	require.Empty(t, config.Hot.URL)
	require.Equal(t, 30*time.Second, time.Duration(config.Query.Timeout))
	require.Equal(t, 50, config.Pool.Size)
	require.Equal(t, 15*time.Minute, time.Duration(config.Routing.Threshold))
	require.True(t, config.Discovery.Enabled)
	require.Equal(t, "/var/run/secrets/kubernetes.io/serviceaccount/token", config.ServiceAccount.TokenPath)
}

func TestFromEnvironment_ReadsTheVariablesOfTheContract(t *testing.T) {
	clearEnvironment(t)
	for name, value := range map[string]string{
		"THANOS_QUERIER_URL":           "https://thanos:9091",
		"PROMETHEUS_URL":               "https://prometheus-k8s.openshift-monitoring.svc:9091",
		"DATASOURCE_QUERY_TIMEOUT":     "45s",
		"DATASOURCE_POOL_SIZE":         "7",
		"QUERY_ROUTING_THRESHOLD":      "1h30m",
		"DATASOURCE_DISCOVERY_ENABLED": "false",
		"SERVICE_ACCOUNT_TOKEN_PATH":   "/token",
	} {
		t.Setenv(name, value)
	}
	config, err := FromEnvironment()
	require.NoError(t, err)
	expected := Default()
	expected.Cold.URL = "https://thanos:9091"
	expected.Hot.URL = "https://prometheus-k8s.openshift-monitoring.svc:9091"
	expected.Query.Timeout = Duration(45 * time.Second)
	expected.Pool.Size = 7
	expected.Routing.Threshold = Duration(90 * time.Minute)
	expected.Discovery.Enabled = false
	expected.ServiceAccount.TokenPath = "/token"
	require.Equal(t, expected, config)
}

func TestLoad_EnvironmentWinsOverFile(t *testing.T) {
	clearEnvironment(t)
	file := configFile(t, "cold: {url: http://file}\nhot: {url: http://file, retention: 6h}\npool: {size: 3}\nprojects: [{name: one, namespaces: [a, b]}, {name: two, all_namespaces: true}]\n")
	t.Setenv("TIERPROXY_COLD_URL", "http://prefixed")
	t.Setenv("TIERPROXY_HOT_URL", "http://prefixed")
	t.Setenv("TIERPROXY_PROBE_INTERVAL", "9s")
	t.Setenv("PROMETHEUS_URL", "http://contract")
	// Templates of deployments leave variables empty.
	t.Setenv("THANOS_QUERIER_URL", "")
	config, err := Load(file)
	require.NoError(t, err)
	require.Equal(t, "http://prefixed", config.Cold.URL, "the environment wins over the file")
	require.Equal(t, "http://contract", config.Hot.URL, "the contract's name wins over the prefixed one")
	require.Equal(t, 6*time.Hour, time.Duration(config.Hot.Retention))
	require.Equal(t, 9*time.Second, time.Duration(config.Probe.Interval))
	require.Equal(t, 3, config.Pool.Size)
	require.Equal(t, []ProjectConfig{{Name: "one", Namespaces: []string{"a", "b"}}, {Name: "two", AllNamespaces: true}}, config.Projects)
	require.Equal(t, 30*time.Second, time.Duration(config.Query.Timeout), "what nobody sets is the default")
}

func TestLoad_EmptyFileIsTheDefault(t *testing.T) {
	clearEnvironment(t)
	for _, text := range []string{"", "# only a comment\n", "---\n"} {
		config, err := Load(configFile(t, text))
		require.NoError(t, err, "%q", text)
		require.Equal(t, Default(), config)
	}
}

// lines are the mistakes of an error, one a line.
func lines(err error) []string { return strings.Split(err.Error(), "\n") }

func TestLoad_ReportsAllMistakesOfAFile(t *testing.T) {
	clearEnvironment(t)
	file := configFile(t, `
perses: {url: "ftp://perses", timeout: soon}
hot: {url: "http://user:secret@hot", retention: -1h, unknown_key: 1}
cold: {url: "http://cold?x=1", lag: 5, http_config: {tls_config: {ca_flie: x}}}
routing: {threshold: 0s}
query: {timeout: 30}
pool: {size: 0}
probe: {interval: 1 minute}
projects: [{name: "a b"}, {title: c}]
service_account: {token_path: relative}
rooting: {threshold: 5m}
`)
	_, err := Load(file)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret")
	require.ElementsMatch(t, []string{
		file + `: line 2: "soon" is not a duration such as 500ms, 30s, 15m or 1h30m`,
		file + `: line 3: "-1h" is not a duration such as 500ms, 30s, 15m or 1h30m`,
		file + `: line 3: unknown key "unknown_key": remove it or correct its spelling`,
		file + `: line 4: "5" is not a duration such as 500ms, 30s, 15m or 1h30m`,
		file + `: http_config: line 4: unknown key "ca_flie": remove it or correct its spelling`,
		file + `: line 6: "30" is not a duration such as 500ms, 30s, 15m or 1h30m`,
		file + `: line 8: "1 minute" is not a duration such as 500ms, 30s, 15m or 1h30m`,
		file + `: line 9: unknown key "title": remove it or correct its spelling`,
		file + `: line 11: unknown key "rooting": remove it or correct its spelling`,
		`perses.url: "ftp://perses" is not an http or https URL with a host: write http(s)://host[:port][/path]`,
		`hot.url: must not contain a user and password: they would appear in logs`,
		`cold.url: must have neither parameters nor a fragment`,
		`routing.threshold: is 0s, and must be longer than zero`,
		`pool.size: is 0, and must be at least 1`,
		`projects[0].name: "a b" is not the name of a Perses project`,
		`projects[1].name: "" is not the name of a Perses project`,
		`service_account.token_path: "relative" is not an absolute path`,
	}, lines(err))
}

func TestLoad_ReportsAllMistakesOfTheEnvironment(t *testing.T) {
	clearEnvironment(t)
	t.Setenv("DATASOURCE_QUERY_TIMEOUT", "-5s")
	t.Setenv("DATASOURCE_POOL_SIZE", "many")
	t.Setenv("QUERY_ROUTING_THRESHOLD", "0s")
	t.Setenv("TIERPROXY_PROBE_INTERVAL", "often")
	t.Setenv("DATASOURCE_DISCOVERY_ENABLED", "perhaps")
	t.Setenv("THANOS_QUERIER_URL", "thanos:9091")
	t.Setenv("TIERPROXY_COLD_HTTP_CONFIG", "{}")
	_, err := FromEnvironment()
	require.Error(t, err)
	require.ElementsMatch(t, []string{
		`environment variable DATASOURCE_QUERY_TIMEOUT: "-5s" is not a duration such as 500ms, 30s, 15m or 1h30m`,
		`environment variable DATASOURCE_POOL_SIZE: "many" is not a whole number`,
		`environment variable TIERPROXY_PROBE_INTERVAL: "often" is not a duration such as 500ms, 30s, 15m or 1h30m`,
		`environment variable DATASOURCE_DISCOVERY_ENABLED: "perhaps" is not true or false`,
		`environment variable TIERPROXY_COLD_HTTP_CONFIG: cold.http_config has several keys: set TIERPROXY_COLD_HTTP_CONFIG_ followed by the name of a key`,
		`routing.threshold: is 0s, and must be longer than zero`,
		`cold.url: "thanos:9091" is not an http or https URL with a host: write http(s)://host[:port][/path]`,
	}, lines(err))
}

func TestLoad_MissingFile(t *testing.T) {
	clearEnvironment(t)
	_, err := Load(filepath.Join(t.TempDir(), "missing.yaml"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Load(configFile(t, "a: [unclosed"))
	require.ErrorContains(t, err, "read the configuration")
}

func TestLoad_NeedsATierOrPerses(t *testing.T) {
	config := Default()
	config.Cold.URL = ""
	require.NoError(t, config.Validate(), "discovery may find one")
	config.Discovery.Enabled = false
	require.EqualError(t, config.Validate(), "hot.url, cold.url: without Perses and discovery, set at least one tier")
	config.Perses.URL = "http://perses:8080/prefix"
	require.NoError(t, config.Validate())
}

func TestValidate_Discovery(t *testing.T) {
	config := Default()
	config.Discovery.Hot = ServiceConfig{Namespace: "a b", Name: "prometheus", Port: "0", Scheme: "ftp"}
	config.Discovery.Cold = ServiceConfig{Namespace: "monitoring", Selector: "=="}
	config.Discovery.Namespaces = []string{"monitoring", "../secrets"}
	config.Discovery.Kubeconfig = "kubeconfig"
	require.EqualError(t, config.Validate(), `discovery.hot.namespace: "a b" is not the name of a namespace
discovery.hot.port: 0 is not a port from 1 to 65535
discovery.hot.scheme: "ftp" is neither http nor https
discovery.cold.selector: "==" is not a label selector such as app.kubernetes.io/name=prometheus
discovery.namespaces[1]: "../secrets" is not the name of a namespace
discovery.kubeconfig: "kubeconfig" is not an absolute path`)
}

func TestDuration_IsWrittenAsItIsRead(t *testing.T) {
	text, err := yaml.Marshal(Default())
	require.NoError(t, err)
	read, err := Load(configFile(t, string(text)))
	require.NoError(t, err)
	require.Equal(t, Default(), read)
}

func TestFromEnvironment_ReadsProjects(t *testing.T) {
	clearEnvironment(t)
	t.Setenv("TIERPROXY_PROJECTS_0_NAME", "one")
	t.Setenv("TIERPROXY_PROJECTS_0_NAMESPACES_0", "a")
	t.Setenv("TIERPROXY_PROJECTS_0_NAMESPACES_1", "b")
	t.Setenv("TIERPROXY_PROJECTS_1_NAME", "two")
	t.Setenv("TIERPROXY_PROJECTS_1_ALL_NAMESPACES", "true")
	config, err := FromEnvironment()
	require.NoError(t, err)
	require.Equal(t, []ProjectConfig{{Name: "one", Namespaces: []string{"a", "b"}}, {Name: "two", AllNamespaces: true}}, config.Projects)
}

func TestLoad_ReadsLabelsOfTiers(t *testing.T) {
	clearEnvironment(t)
	config, err := Load(configFile(t, "hot: {external_labels: {cluster: lab, region: eu}, complete: true}\ncold: {replica_labels: [replica, __replica__]}\n"))
	require.NoError(t, err)
	require.Equal(t, LabelSet{"cluster": "lab", "region": "eu"}, config.Hot.ExternalLabels)
	require.Equal(t, []string{"replica", "__replica__"}, config.Cold.ReplicaLabels)
	require.True(t, config.Hot.Complete)

	t.Setenv("TIERPROXY_HOT_EXTERNAL_LABELS", `cluster="prod", region="us"`)
	t.Setenv("TIERPROXY_COLD_REPLICA_LABELS_0", "other")
	config, err = Load("")
	require.NoError(t, err)
	require.Equal(t, LabelSet{"cluster": "prod", "region": "us"}, config.Hot.ExternalLabels)
	require.Equal(t, []string{"other"}, config.Cold.ReplicaLabels)

	t.Setenv("TIERPROXY_HOT_EXTERNAL_LABELS", `cluster=~"prod"`)
	_, err = Load("")
	require.ErrorContains(t, err, `TIERPROXY_HOT_EXTERNAL_LABELS: "cluster=~\"prod\"" is not a list of labels such as cluster="lab"`)
	require.NoError(t, os.Unsetenv("TIERPROXY_HOT_EXTERNAL_LABELS"))
	_, err = Load(configFile(t, "hot: {external_labels: cluster, retention: x}\n"))
	require.ErrorContains(t, err, `"cluster" is not a map of label names to values`)
	require.ErrorContains(t, err, `"x" is not a duration`, "all mistakes at once")
}
