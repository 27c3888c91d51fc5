//go:build e2e

package e2e

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	promconfig "github.com/prometheus/common/config"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/certificates"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// TestServiceCredential_PersesShowsACertificate lets a real Perses show a client
// certificate, a global secret, to a gateway that has a credential of its own for
// Perses. The session of the caller is then not needed. A datasource of a project
// has no such secret and gains nothing.
func TestServiceCredential_PersesShowsACertificate(t *testing.T) {
	recording := newRecorder(t)
	s := newGuardedSite(t, recording)
	authority := certificates.NewAuthority(t)
	tomorrow := time.Now().Add(24 * time.Hour)
	directory := t.TempDir()
	ofPerses := authority.Issue(tomorrow, "perses")
	certificate, key := ofPerses.Write(t, directory)
	ca := filepath.Join(directory, "ca.pem")
	require.NoError(t, os.WriteFile(ca, authority.PEM, 0o600))

	settings := config.Default()
	settings.Perses.URL, settings.Hot.URL, settings.Cold.URL = s.perses.URL, recording.URL, recording.URL
	settings.Perses.Service = config.PersesServiceConfig{
		HTTPConfig: &config.HTTPConfig{HTTPClientConfig: promconfig.HTTPClientConfig{
			Authorization: &promconfig.Authorization{Credentials: promconfig.Secret(s.session("admin").token)},
		}},
		ClientNames: []string{"perses"}, Datasources: []config.ServedDatasource{{Name: "metrics"}},
	}
	manager := running.Start(t, settings, running.Errors())
	gateway := httptest.NewUnstartedServer(gateway.New(manager))
	gateway.TLS = &tls.Config{
		Certificates: []tls.Certificate{authority.Issue(tomorrow, "127.0.0.1").TLS(t)}, MinVersion: tls.VersionTLS12,
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: authority.Pool(),
	}
	gateway.StartTLS()
	t.Cleanup(gateway.Close)

	const path = "/proxy/globaldatasources/metrics"
	global := s.global("metrics", nil)
	global["spec"].(document)["plugin"].(document)["spec"].(document)["proxy"] = httpProxy(gateway.URL+path, document{"secret": "gateway"})
	s.apply(document{"kind": "GlobalSecret", "metadata": document{"name": "gateway"}, "spec": document{
		"tlsConfig": document{"caFile": ca, "certFile": certificate, "keyFile": key},
	}}, global, document{"kind": "Secret", "metadata": document{"name": "trusting", "project": "evil"}, "spec": document{
		"tlsConfig": document{"caFile": ca},
	}}, document{"kind": "Datasource", "metadata": document{"name": "foreign", "project": "evil"}, "spec": document{"plugin": document{
		"kind": "PrometheusDatasource", "spec": document{"proxy": httpProxy(gateway.URL+path, document{"secret": "trusting"})},
	}}})
	through := func(path string, who http.Header, query string) answer {
		t.Helper()
		return mustDo(t, call{base: s.perses.URL + path, endpoint: "query", values: url.Values{"query": {query}}, header: who})
	}
	reader, outsider, mallory := s.session("reader"), s.session("outsider"), s.session("mallory")
	got := through(path, header(reader, nil), "allowed")
	require.Equal(t, http.StatusOK, got.status, string(got.body))
	require.Equal(t, 1, countAsked(recording, "allowed"))
	got = through(path, header(outsider, nil), "refused")
	require.Equal(t, http.StatusForbidden, got.status, "Perses checks its users")
	for _, who := range []http.Header{header(mallory, nil), header(nil, mallory)} {
		got = through("/proxy/projects/evil/datasources/foreign", who, "refused")
		require.Equal(t, http.StatusForbidden, got.status, string(got.body))
		require.Contains(t, string(got.body), "may not read", "the gateway refuses, on behalf of mallory")
	}
	// As it arrives where the proxy drops what identifies the caller.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: authority.Pool(), Certificates: []tls.Certificate{ofPerses.TLS(t)}, MinVersion: tls.VersionTLS12,
	}}}
	response, err := client.Get(gateway.URL + path + "/api/v1/query?query=dropped")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, 1, countAsked(recording, "dropped"))
	require.Zero(t, countAsked(recording, "refused"))
}
