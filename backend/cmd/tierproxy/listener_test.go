package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/certificates"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// startTierproxy starts the program. The function that it returns stops it, once,
// and returns its log; it has to stop well. Without that it is stopped when the
// test ends.
func startTierproxy(t *testing.T, environment []string, arguments ...string) (stop func() string) {
	t.Helper()
	var log bytes.Buffer
	command := exec.Command(os.Args[0], arguments...)
	command.Env = ownEnvironment(t, environment...)
	command.Stdout, command.Stderr = &log, &log
	require.NoError(t, command.Start())
	stop = sync.OnceValue(func() string {
		require.NoError(t, command.Process.Signal(syscall.SIGTERM))
		require.NoError(t, command.Wait(), log.String())
		return log.String()
	})
	t.Cleanup(func() { stop() })
	return stop
}

// caller asks over TLS, on a new connection each time.
type caller struct {
	t      *testing.T
	config *tls.Config
	header http.Header
}

// get returns status and body, or the error of the connection.
func (c caller) get(address string) (int, string, error) {
	c.t.Helper()
	transport := &http.Transport{TLSClientConfig: c.config, ForceAttemptHTTP2: true, DisableKeepAlives: true}
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, address, http.NoBody)
	require.NoError(c.t, err)
	for name, values := range c.header {
		request.Header[name] = values
	}
	response, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

func (c caller) eventually(address string, status int) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		got, _, err := c.get(address)
		return err == nil && got == status
	}, 20*time.Second, 20*time.Millisecond, address)
}

// tlsGateway is a gateway with TLS, whose default datasource takes the token "of the root"
// and the client certificate of grafana.
type tlsGateway struct {
	t                             *testing.T
	tier                          *faketier.Tier
	servers, others, clients      *certificates.Authority
	directory, certificate, token string
	root, admin                   string
}

// tomorrow is when the certificates expire.
func tomorrow() time.Time { return time.Now().Add(24 * time.Hour) }

func startTLSGateway(t *testing.T) *tlsGateway {
	t.Helper()
	g := &tlsGateway{t: t, tier: faketier.New(), directory: t.TempDir()}
	t.Cleanup(g.tier.Close)
	g.servers, g.others, g.clients = certificates.NewAuthority(t), certificates.NewAuthority(t), certificates.NewAuthority(t)
	certificate, key := g.servers.Issue(tomorrow(), "127.0.0.1").Write(t, g.directory)
	clientCA, token := filepath.Join(g.directory, "clients.pem"), filepath.Join(g.directory, "token")
	require.NoError(t, os.WriteFile(clientCA, g.clients.PEM, 0o600))
	require.NoError(t, os.WriteFile(token, []byte("of the root\n"), 0o600))
	address, admin := running.FreeAddress(t), running.FreeAddress(t)
	startTierproxy(t, []string{
		"THANOS_QUERIER_URL=" + g.tier.URL, "TIERPROXY_PERSES_URL=http://127.0.0.1:1",
		"TIERPROXY_DEFAULT_DATASOURCE_ENABLED=true", "TIERPROXY_DEFAULT_DATASOURCE_TOKEN_FILE=" + token, "TIERPROXY_DEFAULT_DATASOURCE_CLIENT_NAMES_0=grafana",
	}, "--web.listen-address", address, "--web.admin-address", admin, "--web.enable-pprof",
		"--web.tls-cert-file", certificate, "--web.tls-key-file", key, "--web.tls-client-ca-file", clientCA)
	g.certificate, g.token, g.root, g.admin = certificate, token, "https://"+address, "https://"+admin
	g.caller(nil).eventually(g.root+"/-/ready", 200)
	return g
}

// caller returns a caller with an Authorization header and client certificates.
func (g *tlsGateway) caller(header http.Header, pairs ...certificates.Pair) caller {
	config := &tls.Config{RootCAs: g.servers.Pool(), MinVersion: tls.VersionTLS12}
	for _, pair := range pairs {
		config.Certificates = append(config.Certificates, pair.TLS(g.t))
	}
	return caller{t: g.t, config: config, header: header}
}

// status returns the status of an answer.
func (c caller) status(address string) int {
	c.t.Helper()
	status, _, err := c.get(address)
	require.NoError(c.t, err)
	return status
}

func bearer(value string) http.Header { return http.Header{"Authorization": {value}} }

func TestListener_ChecksTokensAndCertificates(t *testing.T) {
	g := startTLSGateway(t)
	const query = "/api/v1/query?query=up"
	for name, test := range map[string]struct {
		caller caller
		status int
	}{
		"no credential":                 {g.caller(nil), 401},
		"the token":                     {g.caller(bearer("Bearer of the root")), 200},
		"the token, otherwise":          {g.caller(bearer("bearer  of the root")), 200},
		"another token":                 {g.caller(bearer("Bearer of the roo")), 401},
		"no token":                      {g.caller(bearer("Bearer ")), 401},
		"the token as basic":            {g.caller(bearer("Basic of the root")), 401},
		"two tokens":                    {g.caller(http.Header{"Authorization": {"Bearer of the root", "Bearer x"}}), 401},
		"a session of Perses":           {g.caller(http.Header{"Cookie": {"jwtPayload=a.b; jwtSignature=c"}}), 401},
		"from where Perses would be":    {g.caller(http.Header{"X-Forwarded-For": {"127.0.0.1"}}), 401},
		"a certificate of the list":     {g.caller(nil, g.clients.Issue(tomorrow(), "other", "grafana")), 200},
		"a certificate of another name": {g.caller(nil, g.clients.Issue(tomorrow(), "perses")), 401},
		"a wildcard":                    {g.caller(nil, g.clients.Issue(tomorrow(), "*")), 401},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(g.tier.Requests())
			status, body, err := test.caller.get(g.root + query)
			require.NoError(t, err)
			require.Equal(t, test.status, status, body)
			if status != 200 {
				require.Contains(t, body, `"errorType":"unauthorized"`)
				require.Len(t, g.tier.Requests(), before, "a refused query must not reach the tier")
			}
			require.Equal(t, test.status, test.caller.status(g.root+"/api/v1/datasources/explain?query=up"))
		})
	}
	t.Run("certificates that do not count", func(t *testing.T) {
		for _, bad := range []certificates.Pair{g.others.Issue(tomorrow(), "grafana"), g.clients.Issue(time.Now().Add(-time.Hour), "grafana")} {
			status, _, err := g.caller(nil, bad).get(g.root + query)
			require.True(t, err != nil || status == 401, "the connection is refused, or the certificate is not even shown")
		}
	})
	t.Run("a rotated token", func(t *testing.T) {
		certificates.Replace(t, g.token, []byte("another"))
		require.Equal(t, 401, g.caller(bearer("Bearer of the root")).status(g.root+query))
		certificates.Replace(t, g.token, nil)
		require.Equal(t, 503, g.caller(bearer("Bearer ")).status(g.root+query), "an empty file admits no caller")
	})
}

func TestListener_ServesTheOperatorOnTheAdminAddressOnly(t *testing.T) {
	g := startTLSGateway(t)
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/cmdline"} {
		require.NotEqual(t, 200, g.caller(nil).status(g.root+path), path)
		require.Equal(t, 200, g.caller(nil).status(g.admin+path), path)
	}
	require.Equal(t, 404, g.caller(bearer("Bearer of the root")).status(g.admin+"/api/v1/query?query=up"))
}

func TestListener_ReloadsItsCertificate(t *testing.T) {
	g := startTLSGateway(t)
	ready := g.root + "/-/ready"
	certificates.Replace(t, g.certificate, []byte("half of a"))
	require.Equal(t, 200, g.caller(nil).status(ready), "half of a rotation changes nothing")
	g.others.Issue(tomorrow(), "127.0.0.1").Write(t, g.directory)
	_, _, err := g.caller(nil).get(ready)
	require.ErrorContains(t, err, "certificate")
	caller{t: t, config: &tls.Config{RootCAs: g.others.Pool(), MinVersion: tls.VersionTLS12}}.eventually(ready, 200)
	_, _, err = caller{t: t, config: &tls.Config{RootCAs: g.others.Pool(), MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}}.get(ready)
	require.Error(t, err)
}

func TestRoot_IsOffWithPerses(t *testing.T) {
	tier := faketier.New()
	t.Cleanup(tier.Close)
	address := running.FreeAddress(t)
	startTierproxy(t, []string{"THANOS_QUERIER_URL=" + tier.URL, "TIERPROXY_PERSES_URL=http://127.0.0.1:1"}, "--web.listen-address", address)
	plain := caller{t: t}
	plain.eventually("http://"+address+"/-/ready", 200)
	for path, expected := range map[string]int{
		"/api/v1/query?query=up": 404, "/api/v1/datasources/explain?query=up": 404, "/api/v1/datasources/check": 404, "/api/v1/metrics/query": 404,
		"/api/v1/targets": 404, "/api/v1/datasources/health": 200, "/metrics": 200, "/debug/pprof/": 404,
	} {
		status, body, err := plain.get("http://" + address + path)
		require.NoError(t, err)
		require.Equal(t, expected, status, "%s: %s", path, body)
	}
	require.Empty(t, tier.Requests())
}

// tlsArguments are flags for a certificate that nobody knows, and for an
// authority of client certificates.
func tlsArguments(t *testing.T) []string {
	t.Helper()
	authority := certificates.NewAuthority(t)
	directory := t.TempDir()
	certificate, key := authority.Issue(time.Now().Add(time.Hour), "127.0.0.1").Write(t, directory)
	clientCA := filepath.Join(directory, "clients.pem")
	require.NoError(t, os.WriteFile(clientCA, authority.PEM, 0o600))
	return []string{"--web.tls-cert-file", certificate, "--web.tls-key-file", key, "--web.tls-client-ca-file", clientCA}
}

// insecure takes every certificate.
func insecure() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }
