package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A variable that sets nothing may be the one that confines a datasource.
func TestLoad_RefusesVariablesThatNoKeyReads(t *testing.T) {
	const unknown, gap = "no key of the configuration has this name", "number the values of a list from 0, without a gap"
	for name, expected := range map[string]string{
		"TIERPROXY_DEFAULT_DATASOURCE_NAMESPACES":            "the first of which is TIERPROXY_DEFAULT_DATASOURCE_NAMESPACES_0",
		"TIERPROXY_DEFAULT_DATASOURCE_NAMESPACES_1":          "there is no TIERPROXY_DEFAULT_DATASOURCE_NAMESPACES_0: " + gap,
		"TIERPROXY_DEFAULT_DATASOURCE_NAMESPACES_00":         "the first of which is TIERPROXY_DEFAULT_DATASOURCE_NAMESPACES_0",
		"TIERPROXY_DEFAULT_DATASOURCE_NAMESPACES_0_X":        unknown,
		"TIERPROXY_PROJECTS":                                 "the first of which is TIERPROXY_PROJECTS_0",
		"TIERPROXY_PROJECTS_1_NAME":                          gap,
		"TIERPROXY_DESTINATIONS_1_HOST":                      gap,
		"TIERPROXY_ENFORCEMENT_LABLE":                        unknown,
		"TIERPROXY_HOT_HTTP_CONFIG_BASIC_AUTH":               unknown,
		"TIERPROXY_COLD_HTTP_CONFIG_BASIC_AUTH_PASSWORDFILE": unknown,
		"TIERPROXY_HOT_0_URLS":                               unknown,
		"TIERPROXY_SERVICE_HOSTS":                            unknown,
		"TIERPROXY_QUERY_TIMEOUTS":                           unknown,
		"TIERPROXY_QUERY":                                    unknown,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadWith(t, "", map[string]string{name: "planted-value"})
			require.ErrorContains(t, err, "environment variable "+name+": ")
			require.ErrorContains(t, err, expected)
			require.NotContains(t, err.Error(), "planted-value")
		})
	}
	_, err := loadWith(t, "", map[string]string{
		"TIERPROXY_B": "1", "TIERPROXY_A": "1", "TIERPROXY_POOL_SIZE": "x", "TIERPROXY_DESTINATIONS_0_PORT": "abc", "TIERPROXY_PROJECTS_0_ALL_NAMESPACES": "maybe",
	})
	require.Equal(t, 5, strings.Count(err.Error(), "environment variable"), "all mistakes at once: %s", err)
	require.ErrorContains(t, err, `environment variable TIERPROXY_DESTINATIONS_0_PORT: "abc" is not a whole number`)
	require.NotContains(t, err.Error(), "strconv")
}

func TestLoad_TakesVariablesThatKeysRead(t *testing.T) {
	config, err := loadWith(t, "", map[string]string{
		"TIERPROXY_PROJECTS_0_NAME": "a", "TIERPROXY_PROJECTS_0_NAMESPACES_0": "b", "TIERPROXY_PROJECTS_0_NAMESPACES_1": "c", "TIERPROXY_PROJECTS_1_NAME": "d",
		"TIERPROXY_PROJECTS_1_ALL_NAMESPACES": "true", "TIERPROXY_COLD_URL": "https://x", "TIERPROXY_COLD_HTTP_CONFIG_PROXY_URL": "http://proxy",
		"TIERPROXY_COLD_HTTP_CONFIG_TLS_CONFIG_SERVER_NAME": "y", "TIERPROXY_COLD_HTTP_CONFIG_BASIC_AUTH_USERNAME": "u", "TIERPROXY_HOT_0_URL": "https://z",
		"TIERPROXY_HOT_0_HTTP_CONFIG_NO_PROXY": "", "TIERPROXY_HOT_0_EXTERNAL_LABELS": `cluster="a"`,
		// Of Services named tierproxy and tierproxy-cold.
		"TIERPROXY_SERVICE_HOST": "10.0.0.1", "TIERPROXY_SERVICE_PORT": "9190", "TIERPROXY_SERVICE_PORT_HTTP": "9190", "TIERPROXY_PORT": "tcp://10.0.0.1:9190",
		"TIERPROXY_PORT_9190_TCP": "tcp://10.0.0.1:9190", "TIERPROXY_PORT_9190_TCP_PROTO": "tcp", "TIERPROXY_PORT_9190_TCP_PORT": "9190", "TIERPROXY_PORT_9190_TCP_ADDR": "10.0.0.1",
		"TIERPROXY_COLD_SERVICE_HOST": "10.0.0.2", "TIERPROXY_COLD_SERVICE_PORT": "80", "TIERPROXY_COLD_PORT_80_TCP_ADDR": "10.0.0.2",
	})
	require.NoError(t, err)
	require.Equal(t, []string{"b", "c"}, config.Projects[0].Namespaces)
	require.Equal(t, "y", config.Cold.HTTPConfig.TLSConfig.ServerName)
	require.Equal(t, "http://proxy", config.Cold.HTTPConfig.ProxyURL.String())
}

func TestLoad_ShowsNoPasswordOfMalformedValues(t *testing.T) {
	for name, text := range map[string]string{
		"TIERPROXY_HOT_URL": "user:planted@prom:9090", "PROMETHEUS_URL": "http://a,ftp://u:planted@b", "TIERPROXY_PERSES_URL": "https:/user:planted@x",
		"TIERPROXY_TRACING_ENDPOINT": "u:planted@x", "TIERPROXY_CACHE_REDIS_ADDRESS": "redis://u:planted@h:6379", "TIERPROXY_DESTINATIONS_0_HOST": "u:planted@h",
		"TIERPROXY_COLD_HTTP_CONFIG_PROXY_URL": "http://u:planted%zz@proxy:80",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadWith(t, "", map[string]string{name: text})
			require.Error(t, err)
			require.NotContains(t, err.Error(), "planted")
		})
	}
	_, err := loadWith(t, "cold: {url: https://x, http_config: {proxy_url: \"http://u:planted%zz@proxy:80\"}}\n", nil)
	require.ErrorContains(t, err, "http_config")
	require.NotContains(t, err.Error(), "planted")
}

func TestLoad_RefusesASecondDocument(t *testing.T) {
	_, err := loadWith(t, "hot: {url: http://prom:9090}\n---\ncold: {url: ftp://x}\n", nil)
	require.ErrorContains(t, err, "second document")
	_, err = loadWith(t, "---\nhot: {url: http://prom:9090}\n", nil)
	require.NoError(t, err)
}
