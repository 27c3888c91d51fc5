// Package redistest starts a Redis for tests. With the build tag e2e it is Debian's
// redis-server, as a process of its own. Without the tag it is miniredis, a Redis
// in Go within the process of the test, because plain tests need no other program.
package redistest

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// Server is a running Redis. It ends with the test.
type Server struct {
	// Address is its host:port.
	Address string
	// Client reads and writes past the code under test.
	Client *redis.Client

	implementation
}

// implementation is what differs between redis-server and miniredis.
type implementation interface {
	// Pause keeps the connections open and answers nothing until Resume.
	Pause(t *testing.T)
	Resume(t *testing.T)
	// Kill ends the Redis and loses what it holds. It may be called again.
	Kill()
}

// Start starts an empty Redis at an address of loopback, and waits until it
// answers. An empty address means a free port.
func Start(t *testing.T, address string) *Server {
	t.Helper()
	address, started := start(t, address)
	t.Cleanup(started.Kill)
	client := redis.NewClient(&redis.Options{Addr: address, DisableIdentity: true})
	t.Cleanup(func() { _ = client.Close() })
	require.Eventually(t, func() bool { return client.Ping(t.Context()).Err() == nil }, 10*time.Second, 5*time.Millisecond)
	return &Server{Address: address, Client: client, implementation: started}
}
