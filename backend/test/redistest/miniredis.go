//go:build !e2e

package redistest

import (
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/stretchr/testify/require"
)

// inProcess is miniredis.
type inProcess struct {
	redis  *miniredis.Miniredis
	resume func() // lets commands through again
	paused *sync.RWMutex
}

func start(t *testing.T, address string) (string, implementation) {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	started := &inProcess{redis: miniredis.NewMiniRedis(), resume: func() {}, paused: &sync.RWMutex{}}
	require.NoError(t, started.redis.StartAddr(address))
	started.redis.Server().SetPreHook(func(*server.Peer, string, ...string) bool {
		started.paused.RLock()
		defer started.paused.RUnlock()
		return false // miniredis handles the command.
	})
	return started.redis.Addr(), started
}

func (s *inProcess) Pause(*testing.T) {
	s.paused.Lock()
	s.resume = sync.OnceFunc(s.paused.Unlock)
}

func (s *inProcess) Resume(*testing.T) { s.resume() }

func (s *inProcess) Kill() {
	s.resume() // Close waits for the commands that Pause holds up.
	s.redis.Close()
}
