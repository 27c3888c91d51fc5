//go:build e2e

package hot

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// forbidding starts a proxy that does not serve some paths. It returns the address.
func forbidding(t *testing.T, address string, prefixes ...string) string {
	t.Helper()
	target, err := url.Parse(address)
	require.NoError(t, err)
	forward := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		for _, prefix := range prefixes {
			if strings.HasPrefix(request.URL.Path, prefix) {
				w.WriteHeader(http.StatusForbidden)
				return
			}
		}
		forward.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	return server.URL
}
