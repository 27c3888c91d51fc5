package catalog

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// pipeClient returns a client of a handler that is reached without a socket, so that
// both can run in a bubble of synctest.
func pipeClient(t *testing.T, handler http.Handler) *upstream.Client {
	t.Helper()
	listener := pipeListener{connections: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(listener) }()
	made, err := upstream.NewClient(upstream.ClientOptions{
		URL: &url.URL{Scheme: "http", Host: "tier"}, PoolSize: 4,
		Network: &upstream.Network{Dial: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			listener.connections <- far
			return near, nil
		}},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		made.Close()
		_ = server.Close()
	})
	return made
}

// pipeListener accepts the ends of pipes.
type pipeListener struct {
	connections chan net.Conn
	closed      chan struct{}
}

// Accept implements net.Listener.
func (p pipeListener) Accept() (net.Conn, error) {
	select {
	case connection := <-p.connections:
		return connection, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p pipeListener) Close() error { close(p.closed); return nil }

// Addr implements net.Listener.
func (pipeListener) Addr() net.Addr { return &net.UnixAddr{} }
