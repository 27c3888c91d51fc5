package upstream

import (
	settings "github.com/tiered-prometheus/tiered-prometheus/backend/config"

	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/certificates"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

func TestTransportConfig_WhatHoldsSecretsAndWhatIsNotVerified(t *testing.T) {
	const oauth2 = "oauth2: {client_id: a, client_secret: b, token_url: 'https://c'"
	for text, expected := range map[string][3]bool{ // It holds secrets, names a credential, skips verification.
		"follow_redirects: true":                    {false, false, false},
		"tls_config: {server_name: a}":              {false, false, false},
		"tls_config: {insecure_skip_verify: true}":  {false, false, true},
		"authorization: {credentials: a}":           {true, true, false},
		"basic_auth: {username: a, password: b}":    {true, true, false},
		"bearer_token: a":                           {true, true, false},
		"bearer_token_file: /a":                     {true, true, false},
		"http_headers: {X-Api-Key: {secrets: [a]}}": {true, false, false},
		oauth2 + "}": {true, true, false},
		oauth2 + ", tls_config: {insecure_skip_verify: true}}": {true, true, true},
	} {
		config := httpConfig(t, text)
		described := &TransportConfig{options: TransportOptions{HTTP: config}}
		require.Equal(t, expected, [3]bool{described.HoldsSecrets("http"), settings.NamesCredential(config), described.SkipsVerification()}, text)
		require.Equal(t, !expected[1], (&TransportConfig{options: TransportOptions{HTTP: config, TokenFile: "/token"}}).SendsToken(), text)
	}
	require.True(t, (&TransportConfig{options: TransportOptions{TokenFile: "/token"}}).HoldsSecrets("https"))
	require.False(t, (&TransportConfig{options: TransportOptions{TokenFile: "/token"}}).HoldsSecrets("http"), "it is sent over TLS only")
	require.False(t, (&TransportConfig{}).HoldsSecrets("https"))
	require.False(t, (*TransportConfig)(nil).HoldsSecrets("https"))
	require.False(t, (*TransportConfig)(nil).SendsToken())
}

// system is the authority that everybody trusts in the test of it. It can be set
// once in a process.
var system struct {
	once      sync.Once
	authority *certificates.Authority
}

// An authority that the operator names stands alone; that of the cluster comes
// beside those of the system.
func TestTransportConfig_AuthoritiesOfTheSystem(t *testing.T) {
	system.once.Do(func() {
		t.Setenv("GODEBUG", "x509usefallbackroots=1")
		system.authority = certificates.NewAuthority(t)
		x509.SetFallbackRoots(system.authority.Pool())
	})
	named := certificates.NewAuthority(t)
	file := write(t, "ca.pem", string(named.PEM))
	ofSystem := serveTLS(t, system.authority.Issue(time.Now().Add(time.Hour), "127.0.0.1"), nil, http.HandlerFunc(faketier.Success))
	ofNamed := serveTLS(t, named.Issue(time.Now().Add(time.Hour), "127.0.0.1"), nil, http.HandlerFunc(faketier.Success))
	for name, test := range map[string]struct {
		access                         *TransportConfig
		acceptsOfSystem, acceptsOfName bool
	}{
		"nothing is configured":        {nil, true, false},
		"the operator names one":       {access(t, TransportOptions{HTTP: httpConfig(t, "tls_config: {ca_file: "+file+"}")}), false, true},
		"the cluster has one":          {access(t, TransportOptions{Authorities: []string{file}}), true, true},
		"the operator names one there": {access(t, TransportOptions{HTTP: httpConfig(t, "tls_config: {ca_file: "+file+"}"), Authorities: []string{write(t, "other.pem", string(system.authority.PEM))}}), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.acceptsOfSystem, describeProbe(t, client(t, ofSystem.URL, test.access)) == "")
			require.Equal(t, test.acceptsOfName, describeProbe(t, client(t, ofNamed.URL, test.access)) == "")
		})
	}
}

// What the gateway asks for itself is of the same tenant as the queries.
func TestClient_ProbesCarryTheTenant(t *testing.T) {
	seen := make(chan *http.Request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Clone(t.Context())
		faketier.Success(w, r)
	}))
	t.Cleanup(server.Close)
	made := client(t, server.URL, nil)
	made.tenancy = &Tenancy{Parameter: "namespace", Probe: "monitoring"}
	for path, expected := range map[string]url.Values{"/api/v1/query": {"a": {"b"}, "namespace": {"monitoring"}}, "/api/v1/labels": {"a": {"b"}}} {
		_, _, err := made.Get(t.Context(), path, url.Values{"a": {"b"}})
		require.NoError(t, err)
		request := <-seen
		require.Equal(t, expected, request.URL.Query(), path)
		require.Equal(t, []string{"tenant"}, request.Header.Values("X-Scope-Orgid"))
		require.Equal(t, probeUserAgent, request.UserAgent())
	}
}
