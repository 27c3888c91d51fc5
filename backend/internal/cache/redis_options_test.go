package cache

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/redistest"
)

// cacheWith returns a cache in the Redis of a configuration.
func cacheWith(t *testing.T, settings config.RedisConfig) *Cache {
	t.Helper()
	cache, err := NewRedis(config.CacheConfig{MaxBytes: 1 << 20, Redis: settings})
	require.NoError(t, err)
	t.Cleanup(cache.Close)
	return cache
}

// file returns the path of a file with a text.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestNewRedis_ReadsThePasswordForEachConnection(t *testing.T) {
	key := promql.KeyOf("a")
	for name, test := range map[string]struct {
		change func(path string) error
		kept   bool
	}{
		"the right password": {func(path string) error { return os.WriteFile(path, []byte("secret\n"), 0o600) }, true},
		"a wrong password":   {func(path string) error { return os.WriteFile(path, []byte("older"), 0o600) }, false},
		"the file is gone":   {os.Remove, false},
	} {
		t.Run(name, func(t *testing.T) {
			redis := miniredis.RunT(t)
			redis.RequireUserAuth("gateway", "secret")
			password := file(t, "old")
			cache := cacheWith(t, config.RedisConfig{Address: redis.Addr(), Username: "gateway", PasswordFile: password})
			require.NoError(t, test.change(password))
			put(t, cache, key, "x")
			require.Equal(t, test.kept, redis.Exists((&shared{}).name(key)))
			require.Equal(t, !test.kept, cache.Stats().Failures > 0)
		})
	}
}

func TestNewRedis_UsesItsDatabaseAndTLS(t *testing.T) {
	certified := httptest.NewTLSServer(nil)
	certified.Close()
	redis, err := miniredis.RunTLS(&tls.Config{Certificates: certified.TLS.Certificates, MinVersion: tls.VersionTLS12})
	require.NoError(t, err)
	t.Cleanup(redis.Close)
	trusted := file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certified.Certificate().Raw})))
	key := promql.KeyOf("a")
	cache := cacheWith(t, config.RedisConfig{Address: redis.Addr(), Database: 3, TLS: true, CAFile: trusted})
	put(t, cache, key, "x")
	require.Equal(t, []string{(&shared{}).name(key)}, redis.DB(3).Keys())
	require.Empty(t, redis.DB(0).Keys())

	// The system does not trust the certificate.
	cache = cacheWith(t, config.RedisConfig{Address: redis.Addr(), TLS: true})
	put(t, cache, key, "x")
	require.Empty(t, redis.DB(0).Keys())
}

func TestNewRedis_RefusesFilesThatCannotBeRead(t *testing.T) {
	for message, settings := range map[string]config.RedisConfig{
		"cache.redis.password_file: ": {PasswordFile: "/missing"},
		"cache.redis.ca_file: ":       {TLS: true, CAFile: file(t, "no certificate")},
	} {
		_, err := NewRedis(config.CacheConfig{Redis: settings})
		require.ErrorContains(t, err, message)
	}
}

// No client is set: a request to Redis would panic.
func TestShared_AsksNothingDuringThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shared{writing: make(chan struct{}, redisWrites)}
		for range redisInARow {
			require.LessOrEqual(t, s.pause(), time.Duration(0))
			s.failed(time.Now())
			time.Sleep(time.Nanosecond) // Concurrent calls count once.
		}
		require.Equal(t, redisPause-time.Nanosecond, s.pause())
		require.Nil(t, s.get(t.Context(), promql.KeyOf("a")))
		require.EqualValues(t, redisInARow+1, s.stats().Failures)
		time.Sleep(s.pause())
		require.Zero(t, s.pause(), "it ends by itself")

		s.pausedTo.Store(time.Now().Add(time.Hour).UnixNano())
		began := time.Now()
		s.set(promql.KeyOf("a"), []byte("x"), time.Hour)
		require.Equal(t, redisWrite, time.Since(began), "an entry waits for the end of the pause, and not for longer than this")
		require.Empty(t, s.writing)
	})
}

func TestShared_AnEntryWaitsForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shared{writing: make(chan struct{}, 1)}
		s.writing <- struct{}{}
		began := time.Now()
		s.set(promql.KeyOf("a"), []byte("x"), time.Hour)
		require.Equal(t, redisWrite, time.Since(began))
		require.Len(t, s.writing, 1)
	})
}

func TestShared_ASuccessEndsARowOfFailures(t *testing.T) {
	redis := redistest.Start(t, "")
	cache := cacheIn(t, redis)
	s, is := cache.store.(*shared)
	require.True(t, is)
	key := promql.KeyOf("a")
	require.Eventually(t, func() bool {
		put(t, cache, key, "x")
		return s.get(t.Context(), key) != nil
	}, 20*time.Second, 5*time.Millisecond)
	for name, ask := range map[string]func() bool{
		"an entry is written": func() bool { put(t, cache, key, "x"); return redis.Client.Exists(t.Context(), s.name(key)).Val() == 1 },
		"an entry is read":    func() bool { return s.get(t.Context(), key) != nil },
		"there is no entry": func() bool {
			before := s.failures.Load()
			return s.get(t.Context(), promql.KeyOf("b")) == nil && s.failures.Load() == before
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.Eventually(t, func() bool {
				s.inARow.Store(redisInARow - 1)
				return ask() && s.inARow.Load() == 0
			}, 20*time.Second, 5*time.Millisecond, name)
		})
	}
}

func TestShared_AQueryThatEndsIsNoFailure(t *testing.T) {
	redis := redistest.Start(t, "")
	cache := cacheIn(t, redis)
	redis.Pause(t)
	t.Cleanup(func() { redis.Resume(t) })
	ended, end := context.WithCancel(t.Context())
	end()
	for range 50 {
		require.Nil(t, cache.Get(ended, promql.KeyOf("a"), anyMemory))
	}
	require.Zero(t, cache.Stats().Failures)
}

func TestClear_DeletesMoreThanOneBatch(t *testing.T) {
	redis := miniredis.RunT(t)
	cache := cacheWith(t, config.RedisConfig{Address: redis.Addr(), Prefix: "tierproxy:"})
	const keys = 2*clearAtOnce + 1
	for i := range keys {
		require.NoError(t, redis.Set(fmt.Sprint("tierproxy:", i), "x"))
	}
	require.NoError(t, redis.Set("others", "x"))
	var most atomic.Int64
	refused := atomic.Int64{}
	redis.Server().SetPreHook(func(peer *server.Peer, command string, names ...string) bool {
		if command != "UNLINK" {
			return false
		}
		most.Store(max(most.Load(), int64(len(names))))
		if refused.Add(-1) == 0 {
			peer.WriteError("ERR refused")
			return true
		}
		return false
	})
	for _, batch := range []int64{1, 3} {
		refused.Store(batch)
		require.ErrorContains(t, cache.Clear(t.Context()), "refused", "batch %d", batch)
	}
	require.NoError(t, cache.Clear(t.Context()))
	require.Equal(t, []string{"others"}, redis.Keys())
	require.EqualValues(t, clearAtOnce, most.Load(), "Redis answers no other client while it deletes")
}

// Redis would keep what has no time left to live forever.
func TestPut_WritesNothingThatIsTooOld(t *testing.T) {
	redis := miniredis.RunT(t)
	cache := cacheWith(t, config.RedisConfig{Address: redis.Addr()})
	cache.Put(promql.KeyOf("a"), &Entry{Born: time.Now().Add(-longestLife), Answer: []byte("x")}, cache.Generation(), nil, func() bool { return true })
	require.Eventually(t, func() bool { return cache.waiting.Load() == 0 }, 10*time.Second, time.Millisecond)
	require.Empty(t, redis.Keys())
	require.Zero(t, cache.Stats().Failures)
}
