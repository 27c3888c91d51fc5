package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/certificates"
)

// TestAdmin_TakesAToken asks as any datasource of a sidecar can: it leads Perses to
// the admin address, with whatever credential its author knows.
func TestAdmin_TakesAToken(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	g := newGateway(t, func(settings *config.Config) { settings.Admin.TokenFile = token })
	admin := httptest.NewServer(gateway.NewAdmin(g.manager, true))
	t.Cleanup(admin.Close)
	status := func(base, path string, header ...string) int {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, http.NoBody)
		require.NoError(t, err)
		for _, value := range header {
			request.Header.Add("Authorization", value)
		}
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	// /metrics of the main address is no way around it.
	places := map[string][]string{admin.URL: {"/metrics", "/debug/pprof/", "/debug/pprof/cmdline"}, g.URL: {"/metrics"}}
	for base, paths := range places {
		for _, path := range paths {
			certificates.Replace(t, token, []byte("of the operator\n"))
			require.Equal(t, http.StatusUnauthorized, status(base, path), path)
			require.Equal(t, http.StatusUnauthorized, status(base, path, "Bearer of Perses"), path)
			require.Equal(t, http.StatusUnauthorized, status(base, path, "Bearer of the operator", "Bearer of Perses"), path)
			require.Equal(t, http.StatusOK, status(base, path, "Bearer of the operator"), path)
			certificates.Replace(t, token, []byte("another"))
			require.Equal(t, http.StatusUnauthorized, status(base, path, "Bearer of the operator"), path)
			require.Equal(t, http.StatusOK, status(base, path, "Bearer another"), path)
			certificates.Replace(t, token, []byte("\n"))
			require.Equal(t, http.StatusServiceUnavailable, status(base, path, "Bearer "), "an empty file lets nobody in")
			require.NoError(t, os.Remove(token))
			require.Equal(t, http.StatusServiceUnavailable, status(base, path, "Bearer another"), path)
		}
	}
	require.Equal(t, http.StatusOK, status(admin.URL, "/-/healthy"))
	require.Equal(t, http.StatusOK, status(g.URL, "/-/ready"))
}
