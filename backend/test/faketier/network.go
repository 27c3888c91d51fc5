package faketier

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Network leads to servers in this process without sockets. A test in a bubble of
// testing/synctest needs it: while a goroutine waits for a socket, the clock of the
// bubble stands still.
type Network struct {
	mutex     sync.Mutex
	listeners map[string]*listener
}

// Serve starts a server at an address, a host and port, and stops it at the end of
// the test.
func (n *Network) Serve(t testing.TB, address string, handler http.Handler) *httptest.Server {
	t.Helper()
	at := &listener{address: address, connections: make(chan net.Conn), closed: make(chan struct{})}
	n.mutex.Lock()
	if n.listeners == nil {
		n.listeners = map[string]*listener{}
	}
	n.listeners[address] = at
	n.mutex.Unlock()
	server := &httptest.Server{Listener: at, Config: &http.Server{Handler: handler}} //nolint:gosec // It serves the test alone.
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// Start starts a fake tier at an address: see Start.
func (n *Network) Start(t testing.TB, address string) *Tier {
	t.Helper()
	tier := &Tier{handler: Success, probes: Probes}
	tier.Server = n.Serve(t, address, tier)
	return tier
}

// Dial connects to a server, in the way of net.Dialer.
func (n *Network) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mutex.Lock()
	at := n.listeners[address]
	n.mutex.Unlock()
	if at == nil {
		return nil, fmt.Errorf("nothing listens at %s", address)
	}
	client, server := net.Pipe()
	select {
	case at.connections <- server:
		return client, nil
	case <-at.closed:
		return nil, fmt.Errorf("nothing listens at %s any more", address)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// listener is where a server of a Network listens.
type listener struct {
	address     string
	connections chan net.Conn
	closing     sync.Once
	closed      chan struct{}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case connection := <-l.connections:
		return connection, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.closing.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l }

// Network implements net.Addr.
func (l *listener) Network() string { return "tcp" }

// String implements net.Addr.
func (l *listener) String() string { return l.address }
