package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/apierror"
)

// A namespace that the request names narrows what the datasource may see, and
// never replaces it.
func TestConfine_ANamespaceOfTheRequestNarrowsTheRule(t *testing.T) {
	m := runningGateway(t, func(settings *config.Config) { settings.DefaultDatasource.Namespaces = []string{"shop", "till"} })
	own, err := m.core.Resolver.Default()
	require.NoError(t, err)
	request, err := promapi.NewRequest(promapi.Query, "/api/v1/query", url.Values{"query": {"up"}}, time.Now())
	require.NoError(t, err)
	for namespace, expected := range map[string][]string{"": {"shop", "till"}, "shop": {"shop"}} {
		_, confinement, err := m.core.Resolver.Confine(own, request, namespace)
		require.NoError(t, err)
		require.Equal(t, expected, confinement.Values)
	}
	confined, _, err := m.core.Resolver.Confine(own, request, "bank")
	apierror.Require(t, err, http.StatusForbidden, `"bank" is not one of the values that this request can read`)
	require.Nil(t, confined)
}

func TestCheckDefaultCaller_TakesVerifiedCertificatesOfTheList(t *testing.T) {
	m := runningGateway(t, func(settings *config.Config) { settings.DefaultDatasource.ClientNames = []string{"perses"} })
	named := func(name string) *x509.Certificate { return &x509.Certificate{DNSNames: []string{name}} }
	for name, test := range map[string]struct {
		state   *tls.ConnectionState
		accepts bool
	}{
		"no TLS":                     {nil, false},
		"no certificate":             {&tls.ConnectionState{}, false},
		"one of the list":            {&tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{named("perses")}}}, true},
		"another one":                {&tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{named("grafana")}}}, false},
		"its authority has the name": {&tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{named("grafana"), named("perses")}}}, false},
		"one that nobody verified":   {&tls.ConnectionState{PeerCertificates: []*x509.Certificate{named("perses")}}, false},
	} {
		incoming := httptest.NewRequest(http.MethodGet, "/api/v1/query", http.NoBody)
		incoming.TLS = test.state
		err := m.checkDefaultCaller(incoming)
		require.Equal(t, test.accepts, err == nil, name)
		if !test.accepts {
			apierror.Require(t, err, http.StatusUnauthorized, "requires its own credential")
		}
	}
}

func TestSavedCaller_DatasourcesOfAProjectTakeTurnsAsOne(t *testing.T) {
	m := runningGateway(t, func(settings *config.Config) { settings.Perses.URL = "http://127.0.0.1:1" })
	of := func(project, name string) uint64 {
		return m.savedCaller(httptest.NewRequest(http.MethodGet, "/", http.NoBody), perses.Reference{Project: project, Name: name}).Datasource
	}
	require.Equal(t, of("shop", "a"), of("shop", "b"))
	require.NotEqual(t, of("shop", "a"), of("bank", "a"))
	require.NotEqual(t, of("", "a"), of("", "b"))
	require.NotEqual(t, of("", "a"), of("a", "a"))
}
