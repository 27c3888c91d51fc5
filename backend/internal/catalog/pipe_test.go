package catalog

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// pipeClient returns a client of a handler that is reached without a socket, so that
// both can run in a bubble of synctest.
func pipeClient(t *testing.T, handler http.Handler) *upstream.Client {
	t.Helper()
	network := &faketier.Network{}
	network.Serve(t, "tier:80", handler)
	made, err := upstream.NewClient(upstream.ClientOptions{
		URL: &url.URL{Scheme: "http", Host: "tier"}, PoolSize: 4, Network: &upstream.Network{Dial: network.Dial},
	})
	require.NoError(t, err)
	t.Cleanup(made.Close)
	return made
}
