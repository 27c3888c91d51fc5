package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
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
)

// freeAddress returns a loopback address that nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// startTierproxy starts the program. The function that it returns stops it, once,
// and returns its log; it has to stop well. Without that it is stopped when the
// test ends.
func startTierproxy(t *testing.T, environment []string, arguments ...string) (stop func() string) {
	t.Helper()
	var log bytes.Buffer
	command := exec.Command(os.Args[0], arguments...)
	command.Env = append([]string{runMain + "=1", "HOME=" + t.TempDir()}, environment...)
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

func TestListener_SpeaksTLSAndReloadsItsCertificate(t *testing.T) {
	tier := faketier.New()
	t.Cleanup(tier.Close)
	first, second, clients := certificates.NewAuthority(t), certificates.NewAuthority(t), certificates.NewAuthority(t)
	tomorrow := time.Now().Add(24 * time.Hour)
	directory := t.TempDir()
	certificate, key := first.Issue(tomorrow, "127.0.0.1").Write(t, directory)
	clientCA, token := filepath.Join(directory, "clients.pem"), filepath.Join(directory, "token")
	require.NoError(t, os.WriteFile(clientCA, clients.PEM, 0o600))
	require.NoError(t, os.WriteFile(token, []byte("of the root\n"), 0o600))
	address, admin := freeAddress(t), freeAddress(t)
	startTierproxy(t, []string{
		"THANOS_QUERIER_URL=" + tier.URL, "TIERPROXY_PERSES_URL=http://127.0.0.1:1",
		"TIERPROXY_DEFAULT_DATASOURCE_ENABLED=true", "TIERPROXY_DEFAULT_DATASOURCE_TOKEN_FILE=" + token, "TIERPROXY_DEFAULT_DATASOURCE_CLIENT_NAMES_0=grafana",
	}, "--web.listen-address", address, "--web.admin-address", admin, "--web.enable-pprof",
		"--web.tls-cert-file", certificate, "--web.tls-key-file", key, "--web.tls-client-ca-file", clientCA)
	root := "https://" + address
	trusting := caller{t: t, config: &tls.Config{RootCAs: first.Pool(), MinVersion: tls.VersionTLS12}}
	trusting.eventually(root+"/-/ready", 200)

	with := func(header http.Header, pairs ...certificates.Pair) caller {
		config := trusting.config.Clone()
		for _, pair := range pairs {
			config.Certificates = append(config.Certificates, pair.TLS(t))
		}
		return caller{t: t, config: config, header: header}
	}
	const query = "/api/v1/query?query=up"
	bearer := func(value string) http.Header { return http.Header{"Authorization": {value}} }
	for name, test := range map[string]struct {
		caller caller
		status int
	}{
		"nobody":                        {with(nil), 401},
		"the token":                     {with(bearer("Bearer of the root")), 200},
		"the token, otherwise":          {with(bearer("bearer  of the root")), 200},
		"another token":                 {with(bearer("Bearer of the roo")), 401},
		"no token":                      {with(bearer("Bearer ")), 401},
		"the token as basic":            {with(bearer("Basic of the root")), 401},
		"two tokens":                    {with(http.Header{"Authorization": {"Bearer of the root", "Bearer x"}}), 401},
		"a session of Perses":           {with(http.Header{"Cookie": {"jwtPayload=a.b; jwtSignature=c"}}), 401},
		"from where Perses would be":    {with(http.Header{"X-Forwarded-For": {"127.0.0.1"}}), 401},
		"a certificate of the list":     {with(nil, clients.Issue(tomorrow, "other", "grafana")), 200},
		"a certificate of another name": {with(nil, clients.Issue(tomorrow, "perses")), 401},
		"a wildcard":                    {with(nil, clients.Issue(tomorrow, "*")), 401},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(tier.Requests())
			status, body, err := test.caller.get(root + query)
			require.NoError(t, err)
			require.Equal(t, test.status, status, body)
			if status != 200 {
				require.Contains(t, body, `"errorType":"unauthorized"`)
				require.Len(t, tier.Requests(), before, "a refused query must not reach the tier")
			}
			status, _, err = test.caller.get(root + "/api/v1/datasources/explain?query=up")
			require.NoError(t, err)
			require.Equal(t, test.status, status)
		})
	}
	// A certificate of another authority, or one that is over, is none.
	for _, bad := range []certificates.Pair{second.Issue(tomorrow, "grafana"), clients.Issue(time.Now().Add(-time.Hour), "grafana")} {
		status, _, err := with(nil, bad).get(root + query)
		require.True(t, err != nil || status == 401, "the connection is refused, or the certificate is not even shown")
	}
	// The token is rotated.
	certificates.Replace(t, token, []byte("another"))
	status, _, err := with(bearer("Bearer of the root")).get(root + query)
	require.NoError(t, err)
	require.Equal(t, 401, status)
	certificates.Replace(t, token, nil)
	status, _, err = with(bearer("Bearer ")).get(root + query)
	require.NoError(t, err)
	require.Equal(t, 503, status, "an empty file lets nobody in")

	// What is for the operator is on the admin address alone.
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/cmdline"} {
		status, _, err = with(nil).get(root + path)
		require.NoError(t, err)
		require.NotEqual(t, 200, status, path)
		status, _, err = with(nil).get("https://" + admin + path)
		require.NoError(t, err)
		require.Equal(t, 200, status, path)
	}
	status, _, err = with(bearer("Bearer another")).get("https://" + admin + query)
	require.NoError(t, err)
	require.Equal(t, 404, status)

	// The certificate is rotated; half of a rotation changes nothing.
	certificates.Replace(t, certificate, []byte("half of a"))
	status, _, err = trusting.get(root + "/-/ready")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	second.Issue(tomorrow, "127.0.0.1").Write(t, directory)
	_, _, err = trusting.get(root + "/-/ready")
	require.ErrorContains(t, err, "certificate")
	caller{t: t, config: &tls.Config{RootCAs: second.Pool(), MinVersion: tls.VersionTLS12}}.eventually(root+"/-/ready", 200)
	_, _, err = caller{t: t, config: &tls.Config{RootCAs: second.Pool(), MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}}.get(root + "/-/ready")
	require.Error(t, err)
}

func TestRoot_IsOffWithPerses(t *testing.T) {
	tier := faketier.New()
	t.Cleanup(tier.Close)
	address := freeAddress(t)
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
