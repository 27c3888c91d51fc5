package resolve

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// TestPermissionFor_CredentialNeedsTLSOrTheOperator checks that the scheme that a
// Service claims sends no credential in the clear. The scheme that the operator
// configures does.
func TestPermissionFor_CredentialNeedsTLSOrTheOperator(t *testing.T) {
	settings := config.Default()
	settings.ServiceAccount.TokenPath = t.TempDir() + "/token"
	settings.Cold.HTTPConfig = withToken("of cold")
	made, err := newTransports(settings, nil)
	require.NoError(t, err)
	for _, test := range []struct {
		name           tier.Name
		scheme, said   string
		secrets, token bool
	}{
		{tier.Hot, "https", "", true, true}, {tier.Hot, "https", "https", true, true},
		{tier.Hot, "http", "", false, false}, {tier.Hot, "http", "http", false, false},
		{tier.Cold, "https", "", true, false}, {tier.Cold, "http", "", false, false}, {tier.Cold, "http", "http", true, false},
	} {
		service := &discovery.Service{Host: "a.monitoring.svc", Port: 9090, Scheme: test.scheme}
		permission, err := permissionFor(service, test.said, made.discovered[string(test.name)])
		require.NoError(t, err)
		require.Equal(t, test.secrets, permission.Transport.HoldsSecrets(test.scheme), test)
		require.Equal(t, test.token, permission.Transport.SendsToken() && test.scheme == "https", test)
		require.NotZero(t, permission.Guard)
	}
}

func TestIsHostOf_ComparesNamesOfServices(t *testing.T) {
	service := discovery.Reference{Namespace: "monitoring", Name: "thanos"}
	for host, expected := range map[string]bool{
		"thanos.monitoring.svc": true, "thanos.monitoring.svc.cluster.local": true, "Thanos.monitoring.svc.": true,
		"thanos.monitoring": false, "thanos.other.svc": false, "thanos.monitoring.svc.example.com": false, "a.thanos.monitoring.svc": false, "": false,
	} {
		require.Equal(t, expected, isHostOf(host, service), host)
	}
}

// TestTiersAt_BehindAProxyTheServiceIsOneTier needs no replicas: nothing tells a
// proxy to which replica it connects.
func TestTiersAt_BehindAProxyTheServiceIsOneTier(t *testing.T) {
	for text, expected := range map[string]bool{"proxy_url: http://proxy:3128": true, "proxy_from_environment: true": true, "basic_auth: {username: a}": false} {
		own := &config.HTTPConfig{}
		require.NoError(t, yaml.Unmarshal([]byte(text), own))
		m := runningResolver(t, func(settings *config.Config) { settings.Hot.HTTPConfig = own })
		service := &discovery.Service{Host: "a.monitoring.svc", Port: 9090, Scheme: "https", Endpoints: []discovery.Endpoint{
			{Name: "a-0", Address: "10.0.0.1:9090", Ready: true}, {Name: "a-1", Address: "10.0.0.2:9090", Ready: true},
		}}
		at := location{service: service, destination: destination{name: tier.Hot, url: service.URL(), service: "monitoring/a", Permission: upstream.Permission{Transport: m.transports.discovered["hot"]}}}
		list, err := m.tiersAt(at, false, &Resolved{})
		require.NoError(t, err)
		require.Equal(t, expected, len(list) == 1, text)
	}
}
