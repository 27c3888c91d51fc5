package config

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

func httpConfig(t *testing.T, text string) *HTTPConfig {
	t.Helper()
	read := &HTTPConfig{}
	require.NoError(t, yaml.Unmarshal([]byte(text), read))
	return read
}

func TestDestinationConfig_Validate(t *testing.T) {
	mistakesOf := func(destination DestinationConfig) error {
		var m mistakes
		destination.validate("destinations[0]", &m)
		return errors.Join(m...)
	}
	secret := httpConfig(t, "authorization: {credentials: planted}")
	for _, right := range []DestinationConfig{
		{Host: "a"}, {Host: "*.a.b", Port: 1}, {Host: "::1"}, {Host: "10.0.0.1", Port: 65535}, {Host: "a", Scheme: "https"},
		{Host: "a", Scheme: "http", PathPrefix: "/b/c/"}, {Host: "a", PathPrefix: "/"}, {Host: "a", Port: 443, HTTPConfig: secret},
		{Host: "*.a", HTTPConfig: httpConfig(t, "tls_config: {server_name: x}")},
	} {
		require.NoError(t, mistakesOf(right), "%+v", right)
	}
	for _, wrong := range []DestinationConfig{
		{}, {Host: "*."}, {Host: "http://x"}, {Host: "x/y"}, {Host: "a:9090"}, {Host: "a", Port: -1}, {Host: "a", Port: 70000},
		{Host: "[::1]"}, {Host: "a.*.b"}, {Host: "a", Scheme: "ftp"},
		{Host: "a", PathPrefix: "b"}, {Host: "a", PathPrefix: "/b/../c"}, {Host: "a", PathPrefix: "/b//c"}, {Host: "a", PathPrefix: "/%2e"},
		{Host: "a", PathPrefix: "//"}, {Host: "a", PathPrefix: `/b\c`}, {Host: "a", PathPrefix: "/b;c"},
	} {
		require.Error(t, mistakesOf(wrong), "%+v", wrong)
	}
	for _, wrong := range []DestinationConfig{{Host: "a", HTTPConfig: secret}, {Host: "*.a", Port: 1, HTTPConfig: secret}} {
		require.ErrorContains(t, mistakesOf(wrong), "a credential goes to one server")
	}
}

func TestServiceConfig_Validate(t *testing.T) {
	mistakesOf := func(service ServiceConfig) string {
		var m mistakes
		service.validate("hot", &m)
		if len(m) == 0 {
			return ""
		}
		return errors.Join(m...).Error()
	}
	require.Empty(t, mistakesOf(ServiceConfig{Namespace: "openshift-monitoring", Name: "prometheus-k8s", Port: "web", Scheme: "https"}))
	require.Empty(t, mistakesOf(ServiceConfig{Namespace: "monitoring", Selector: "app in (a, b)", Port: "9090"}))
	require.Equal(t, `hot.namespace: "a/b" is not the name of a namespace
hot.name: "UPPER" is not the name of a Service
hot.port: 70000 is not a port from 1 to 65535
hot.scheme: "ftp" is neither http nor https`, mistakesOf(ServiceConfig{Namespace: "a/b", Name: "UPPER", Port: "70000", Scheme: "ftp"}))
	require.Equal(t, `hot.selector: "=,=" is not a label selector such as app.kubernetes.io/name=prometheus`,
		mistakesOf(ServiceConfig{Namespace: "a", Selector: "=,="}))
}

func TestCheckHTTPClient_RefusesReferencesToASecretStore(t *testing.T) {
	const oauth2 = "oauth2: {client_id: a, token_url: 'https://c', "
	for _, text := range []string{
		"basic_auth: {username_ref: a, password: b}", "basic_auth: {username: a, password_ref: b}", "authorization: {credentials_ref: a}",
		"tls_config: {ca_ref: a}", oauth2 + "client_secret_ref: a}", oauth2 + "client_secret: a, tls_config: {ca_ref: b}}",
	} {
		_, err := CheckHTTPClient(&httpConfig(t, text).HTTPClientConfig)
		require.ErrorContains(t, err, "fields that end in _ref are not supported", text)
	}
}
