package config

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

func TestLoad_ReadsHTTPConfigFromFileAndEnvironment(t *testing.T) {
	clearEnvironment(t)
	config, err := Load(configFile(t, `
hot: {url: http://hot, http_config: {basic_auth: {username: me, password: planted}, enable_http2: false}}
cold: {http_config: {bearer_token_file: /token}}
destinations: [{host: a, port: 1, http_config: {oauth2: {client_id: a, client_secret: planted, token_url: "https://sso"}, tls_config: {server_name: b}}}]
`))
	require.NoError(t, err)
	require.Equal(t, "planted", string(config.Hot.HTTPConfig.BasicAuth.Password))
	require.False(t, config.Hot.HTTPConfig.EnableHTTP2)
	require.True(t, config.Cold.HTTPConfig.EnableHTTP2, "as in Prometheus")
	require.Equal(t, "b", config.Destinations[0].HTTPConfig.TLSConfig.ServerName)

	t.Setenv("TIERPROXY_HOT_HTTP_CONFIG_AUTHORIZATION_CREDENTIALS_FILE", "/from/environment")
	t.Setenv("TIERPROXY_HOT_HTTP_CONFIG_TLS_CONFIG_CA_FILE", "/ca")
	config, err = FromEnvironment()
	require.NoError(t, err)
	require.Equal(t, "/from/environment", config.Hot.HTTPConfig.Authorization.CredentialsFile)
	require.Equal(t, "/ca", config.Hot.HTTPConfig.TLSConfig.CAFile)
	require.True(t, config.Hot.HTTPConfig.EnableHTTP2)
	require.Nil(t, config.Cold.HTTPConfig)
	require.Nil(t, config.Perses.Service.HTTPConfig)
}

// TestConfig_IsPrintedWithoutSecrets prints a configuration in every way that Go
// has, and looks for its secrets.
func TestConfig_IsPrintedWithoutSecrets(t *testing.T) {
	clearEnvironment(t)
	const secrets = `
perses: {url: http://perses, service: {client_names: [perses], datasources: [{name: a}], http_config: {authorization: {credentials: planted-1}}}}
hot: {url: http://hot, http_config: {basic_auth: {username: me, password: planted-2}}}
cold: {http_config: {bearer_token: planted-3, tls_config: {cert: c, key: planted-4}}}
destinations: [{host: a, port: 1, http_config: {oauth2: {client_id: a, client_secret: planted-5, token_url: "https://sso"}, http_headers: {X-Key: {secrets: [planted-6]}}}}]
`
	config, err := Load(configFile(t, secrets))
	require.NoError(t, err)
	requirePrintedWithoutSecrets(t, config)
	single := config.Hot
	config.Hot = HotConfig{List: []HotConfig{single}}
	requirePrintedWithoutSecrets(t, config)
}

func requirePrintedWithoutSecrets(t *testing.T, config Config) {
	t.Helper()
	rendered, err := yaml.Marshal(config)
	require.NoError(t, err)
	asJSON, err := json.Marshal(config)
	require.NoError(t, err)
	texts := []string{string(rendered), string(asJSON), fmt.Sprint(config.Hot.Entries()[0].HTTPConfig), fmt.Sprint(*config.Hot.Entries()[0].HTTPConfig), fmt.Sprintf("%#v", *config.Cold.HTTPConfig)}
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		texts = append(texts, fmt.Sprintf(verb, config), fmt.Sprintf(verb, &config), fmt.Sprintf(verb, config.Destinations), fmt.Sprintf(verb, config.Hot.Entries()))
	}
	for _, text := range texts {
		require.NotContains(t, text, "planted")
		require.NotContains(t, text, "706c616e746564", "in hexadecimal")
	}
	require.Contains(t, string(rendered), "<secret>")
}

func TestLoad_MistakesRepeatNoSecret(t *testing.T) {
	clearEnvironment(t)
	for _, content := range []string{
		"hot: {http_config: {authorization: planted}}",
		"hot: {http_config: planted}",
		"hot: {http_config: {basic_auth: [planted]}}",
		"hot: {http_config: {tls_config: {key: planted}}}",
		"hot: {http_config: {bearer_token: planted, basic_auth: {username: a}}}",
		"hot: {http_config: {oauth2: {client_secret: planted}}}",
		"perses: {service: {http_config: {authorization: {credentials: planted}}}}",
	} {
		_, err := Load(configFile(t, content+"\nquery: {timeout: soon}\n"))
		require.Error(t, err, content)
		require.NotContains(t, err.Error(), "planted", content)
		require.Contains(t, err.Error(), `"soon" is not a duration`, "all mistakes at once: %s", content)
		require.Greater(t, len(lines(err)), 1, content)
	}
}

func TestLoad_ReportsMistakesOfSecuritySettings(t *testing.T) {
	clearEnvironment(t)
	_, err := Load(configFile(t, `
perses: {url: http://perses, service: {http_config: {tls_config: {insecure_skip_verify: true}}}}
hot: {tenancy: {parameter: namespace}, http_config: {basic_auth: {username: a}, authorization: {credentials: b}}}
default_datasource: {enabled: true, token_file: ""}
enforcement: {label: __name__, on_conflict: perhaps, datasources: [{name: a}, {name: b, all_namespaces: true, namespaces: [x]}, {name: b, namespaces: [y]}, {name: ".."}]}
projects: [{name: a}, {name: b, namespaces: [""]}, {name: b, all_namespaces: true}]
destinations: [{host: "*.a", http_config: {authorization: {credentials: x}}}, {host: a, port: 70000, scheme: ftp}, {host: b, http_config: {proxy_url: "http://proxy:3128"}}, {host: c, http_config: {proxy_from_environment: true}}]
query: {max_range: 0s}
`))
	require.Error(t, err)
	for _, expected := range []string{
		"perses.service.http_config: has no credential", "perses.service.client_names: is empty", "perses.service.datasources: is empty",
		"hot.tenancy: set both parameter and probe_namespace", "hot.http_config: at most one of basic_auth",
		"default_datasource.enabled: with Perses, the default datasource requires token_file or client_names",
		`enforcement: "__name__" is not a label name`, `"perhaps" is neither empty nor error`,
		"enforcement.datasources[0].namespaces: is empty", "enforcement.datasources[1]: set either namespaces or all_namespaces",
		`enforcement.datasources[2]: global datasource "b" is listed twice`, `enforcement.datasources[3]: ".." cannot be the name`,
		"projects[0].namespaces: is empty", `projects[1]: "" is not a label value`, `projects[2].name: project "b" is listed twice`,
		"destinations[0]: a credential goes to one server only", "destinations[1].port: 70000", `destinations[1].scheme: "ftp" is neither`,
		"destinations[2].http_config: proxy_url and proxy_from_environment are for hot, cold", "destinations[3].http_config: proxy_url and proxy_from_environment are for hot, cold",
	} {
		require.ErrorContains(t, err, expected)
	}
}
