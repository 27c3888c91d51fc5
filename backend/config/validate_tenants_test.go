package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLoad_TenantsFromTheEnvironment sets the names of tenant headers, and the header that tierproxy sends to cold. The
// variable of the latter has the hyphens of the header.
func TestLoad_TenantsFromTheEnvironment(t *testing.T) {
	t.Setenv("TIERPROXY_TENANT_HEADERS_0", "X-Org")
	t.Setenv("TIERPROXY_COLD_URL", "http://thanos:9090")
	t.Setenv("TIERPROXY_COLD_HTTP_CONFIG_HTTP_HEADERS_THANOS-TENANT_VALUES_0", "team-a")
	config, err := Load("")
	require.NoError(t, err)
	require.Equal(t, []string{"X-Org"}, config.TenantHeaders)
	require.Equal(t, []string{"team-a"}, config.Cold.HTTPConfig.HTTPHeaders.Headers["thanos-tenant"].Values, "%v", config.Cold.HTTPConfig.HTTPHeaders)
}
