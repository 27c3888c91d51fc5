package upstream

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	promconfig "github.com/prometheus/common/config"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/certificates"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

func access(t *testing.T, options TransportOptions) *TransportConfig {
	t.Helper()
	made, err := NewTransportConfig(options)
	require.NoError(t, err)
	return made
}

// httpConfig reads the configuration as Prometheus does.
func httpConfig(t testing.TB, text string) *promconfig.HTTPClientConfig {
	t.Helper()
	config, err := promconfig.LoadHTTPConfig(text)
	require.NoError(t, err)
	return config
}

// write writes a file and returns its path.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// serveTLS serves a fake tier with a certificate. It asks for a client
// certificate of the authority, if not nil.
func serveTLS(t testing.TB, pair certificates.Pair, clients *certificates.Authority, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.Config.ErrorLog = nil
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair.TLS(t)}}
	if clients != nil {
		server.TLS.ClientAuth, server.TLS.ClientCAs = tls.RequireAndVerifyClientCert, clients.Pool()
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func TestTransportConfig_AcceptedCertificates(t *testing.T) {
	known, unknown := certificates.NewAuthority(t), certificates.NewAuthority(t)
	tomorrow, yesterday := time.Now().Add(24*time.Hour), time.Now().Add(-24*time.Hour)
	authority := write(t, "ca.pem", string(known.PEM))
	withCA := access(t, TransportOptions{HTTP: httpConfig(t, "tls_config: {ca_file: "+authority+"}")})
	cluster := access(t, TransportOptions{Authorities: []string{"/does/not/exist", authority}})
	for _, test := range []struct {
		name   string
		pair   certificates.Pair
		access *TransportConfig
		err    string
	}{
		{"a known authority", known.Issue(tomorrow, "127.0.0.1"), withCA, ""},
		{"the authority of the cluster", known.Issue(tomorrow, "127.0.0.1"), cluster, ""},
		{"expired", known.Issue(yesterday, "127.0.0.1"), withCA, "its TLS certificate was not accepted"},
		{"expired, of the cluster", known.Issue(yesterday, "127.0.0.1"), cluster, "its TLS certificate was not accepted"},
		{"a wrong name", known.Issue(tomorrow, "prometheus.example.com"), withCA, "its TLS certificate was not accepted"},
		{"an unknown authority", unknown.Issue(tomorrow, "127.0.0.1"), withCA, "its TLS certificate was not accepted"},
		{"an unknown authority in the cluster", unknown.Issue(tomorrow, "127.0.0.1"), cluster, "its TLS certificate was not accepted"},
		{"no authority configured", known.Issue(tomorrow, "127.0.0.1"), nil, "its TLS certificate was not accepted"},
		{"a name that the operator names", known.Issue(tomorrow, "prometheus.example.com"),
			access(t, TransportOptions{HTTP: httpConfig(t, "tls_config: {ca_file: "+authority+", server_name: prometheus.example.com}")}), ""},
		{"anything, where nobody looks", unknown.Issue(yesterday, "elsewhere"),
			access(t, TransportOptions{HTTP: httpConfig(t, "tls_config: {insecure_skip_verify: true}")}), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := serveTLS(t, test.pair, nil, http.HandlerFunc(faketier.Success))
			require.Equal(t, test.err, describeProbe(t, client(t, server.URL, test.access)))
		})
	}
	require.True(t, access(t, TransportOptions{HTTP: httpConfig(t, "tls_config: {insecure_skip_verify: true}")}).SkipsVerification())
	require.False(t, withCA.SkipsVerification())
	require.False(t, (*TransportConfig)(nil).SkipsVerification())
}

func TestTransportConfig_ThatCannotWork(t *testing.T) {
	empty := write(t, "empty.pem", "nothing")
	for text, message := range map[string]string{
		"tls_config: {ca_file: /does/not/exist}":                            "unable to read CA cert",
		"tls_config: {ca_file: " + empty + "}":                              "unable to use specified CA cert",
		"tls_config: {cert_file: /does/not/exist, key_file: " + empty + "}": "unable to read specified client cert",
		"tls_config: {cert_file: " + empty + ", key_file: " + empty + "}":   "unable to use specified client cert",
		"tls_config: {min_version: TLS13, max_version: TLS12}":              "tls_config.max_version must be greater than or equal to tls_config.min_version",
		"authorization: {credentials_ref: vault}":                           "use those that end in _file",
	} {
		_, err := NewTransportConfig(TransportOptions{HTTP: httpConfig(t, text)})
		require.ErrorContains(t, err, message, text)
	}
	both := httpConfig(t, "basic_auth: {username: a}")
	both.Authorization = &promconfig.Authorization{Credentials: "b"}
	_, err := NewTransportConfig(TransportOptions{HTTP: both})
	require.ErrorContains(t, err, "at most one of basic_auth")
}

func TestTransportConfig_CredentialsInTheStandardForm(t *testing.T) {
	file := write(t, "secret", "from the file\n")
	for text, expected := range map[string]http.Header{
		"authorization: {credentials: inline}":                          {"Authorization": {"Bearer inline"}},
		"authorization: {type: Custom, credentials_file: " + file + "}": {"Authorization": {"Custom from the file"}},
		"bearer_token_file: " + file:                                    {"Authorization": {"Bearer from the file"}},
		"basic_auth: {username: me, password_file: " + file + "}":       {"Authorization": {"Basic bWU6ZnJvbSB0aGUgZmlsZQ=="}},
		"http_headers: {X-Api-Key: {files: [" + file + "]}}":            {"X-Api-Key": {"from the file"}},
		"follow_redirects: true":                                        {},
	} {
		fake := faketier.New()
		made := client(t, fake.URL, access(t, TransportOptions{HTTP: httpConfig(t, text), TokenFile: "/does/not/exist"}))
		ask(t, made)
		seen := fake.Requests()[0].Header
		for _, name := range []string{"Content-Length", "User-Agent", "X-Scope-Orgid", "Accept-Encoding", "Content-Type"} {
			seen.Del(name)
		}
		require.Equal(t, expected, seen, text)
		fake.Close()
	}
}

// A tenant header of a datasource replaces the one that the operator configured: a server that reads
// the first or the last of two values would answer for another tenant.
func TestTransportConfig_TenantOfTheDatasourceReplacesTheConfiguredOne(t *testing.T) {
	for text, expected := range map[string][]string{
		"http_headers: {X-Scope-OrgID: {values: [configured]}, X-Api-Key: {values: [key]}}": {"tenant"},
		"http_headers: {x-scope-orgid: {values: [configured]}, X-Api-Key: {values: [key]}}": {"tenant"},
	} {
		fake := faketier.New()
		configured := access(t, TransportOptions{HTTP: httpConfig(t, text)})
		made := client(t, fake.URL, configured)
		ask(t, made)
		base, err := url.Parse(fake.URL)
		require.NoError(t, err)
		own, err := NewClient(ClientOptions{URL: base, Transport: configured, PoolSize: 4})
		require.NoError(t, err)
		ask(t, own)
		for i, values := range [][]string{expected, {"configured"}} {
			seen := fake.Requests()[i].Header
			require.Equal(t, values, seen.Values("X-Scope-Orgid"), "%s: request %d", text, i)
			require.Equal(t, []string{"key"}, seen.Values("X-Api-Key"))
		}
		require.True(t, made.Sends("X-SCOPE-ORGID") && own.Sends("x-scope-orgid"))
		require.False(t, own.Sends("THANOS-TENANT"))
		own.Close()
		fake.Close()
	}
}

// ask asks a tier and wants an answer.
func ask(t *testing.T, made *Client) {
	t.Helper()
	response, err := made.Do(t.Context(), &promapi.Request{Method: http.MethodGet, Path: "/api/v1/query", Header: http.Header{}})
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
}

func TestTransportConfig_ClientCertificatesAreReadAgain(t *testing.T) {
	servers, first, second := certificates.NewAuthority(t), certificates.NewAuthority(t), certificates.NewAuthority(t)
	directory := t.TempDir()
	tomorrow := time.Now().Add(24 * time.Hour)
	certificate, key := first.Issue(tomorrow, "tierproxy").Write(t, directory)
	authority := filepath.Join(directory, "ca.pem")
	require.NoError(t, os.WriteFile(authority, servers.PEM, 0o600))
	reloads := &Reloads{}
	shown := access(t, TransportOptions{
		HTTP: httpConfig(t, fmt.Sprintf("tls_config: {ca_file: %s, cert_file: %s, key_file: %s}", authority, certificate, key)), Reloads: reloads,
	})

	old := serveTLS(t, servers.Issue(tomorrow, "127.0.0.1"), first, http.HandlerFunc(faketier.Success))
	made := client(t, old.URL, shown)
	require.Empty(t, describeProbe(t, made))

	// The server moves to another authority for clients, and to one of its own.
	others := certificates.NewAuthority(t)
	rotated := serveTLS(t, others.Issue(tomorrow, "127.0.0.1"), second, http.HandlerFunc(faketier.Success))
	made.base.Host = strings.TrimPrefix(rotated.URL, "https://")
	require.NotEmpty(t, describeProbe(t, made))
	second.Issue(tomorrow, "tierproxy").Write(t, directory)
	certificates.Replace(t, authority, others.PEM)
	read := func() { made.transport.(*reloading).checked = time.Time{} } // A second later.
	read()
	require.Empty(t, describeProbe(t, made))

	// Half of a rotation is no reason to fail.
	certificates.Replace(t, authority, []byte("half of a"))
	read()
	require.Empty(t, describeProbe(t, made))
	succeeded, failed := reloads.Counts()
	require.NotZero(t, succeeded)
	require.NotZero(t, failed)
	require.NoError(t, os.Remove(key))
	read()
	require.Empty(t, describeProbe(t, made))
	_, later := reloads.Counts()
	require.Greater(t, later, failed, "a file that vanished counts too")
}

func TestTransportConfig_CredentialDoesNotFollowARedirect(t *testing.T) {
	elsewhere := faketier.New()
	t.Cleanup(elsewhere.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.RedirectHandler(elsewhere.URL+"/api/v1/query?query=up", status))
		made := client(t, server.URL, access(t, TransportOptions{HTTP: httpConfig(t, "authorization: {credentials: planted}\nfollow_redirects: true")}))
		_, _, err := made.Get(t.Context(), "/api/v1/query", nil)
		require.Equal(t, FailureNotPrometheus, FailureOf(err))
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			response, err := made.Do(t.Context(), &promapi.Request{Method: method, Path: "/api/v1/query", Header: http.Header{}})
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, status, response.StatusCode)
		}
		server.Close()
	}
	require.Empty(t, elsewhere.Requests())
}
