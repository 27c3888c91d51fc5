package catalogtest

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// Client returns a client of a fake tier.
func Client(t *testing.T, address string) *upstream.Client {
	t.Helper()
	return BoundedClient(t, address, 0)
}

// Asking returns a client for the gateway's own requests to a fake tier.
func Asking(t *testing.T, address string) ownrequest.Client {
	t.Helper()
	return ownrequest.NewClient(ownrequest.Options{Upstream: Client(t, address)})
}

// BoundedClient returns a client that reads answers to probes up to a size.
func BoundedClient(t *testing.T, address string, probeBytes int64) *upstream.Client {
	t.Helper()
	base, err := url.Parse(address)
	require.NoError(t, err)
	made, err := upstream.NewClient(upstream.ClientOptions{URL: base, PoolSize: 4, ProbeBytes: probeBytes})
	require.NoError(t, err)
	t.Cleanup(made.Close)
	return made
}

// PipeClient returns a client of a handler that is reached without a socket, so that
// both can run in a bubble of synctest.
func PipeClient(t *testing.T, handler http.Handler) *upstream.Client {
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
