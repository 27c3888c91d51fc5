package cache

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/redistest"
)

// cacheIn returns a cache of its own in a Redis.
func cacheIn(t *testing.T, server *redistest.Server) *Cache {
	t.Helper()
	return cacheWith(t, config.RedisConfig{Address: server.Address, Prefix: "tierproxy:"})
}

// eventually gets an entry: this machine may be busy for longer than 5 ms.
func eventually(t *testing.T, cache *Cache, key Key, expected string) {
	t.Helper()
	require.Eventually(t, func() bool {
		found := cache.Get(t.Context(), key, anyMemory)
		return found != nil && string(found.Answer) == expected
	}, 10*time.Second, 5*time.Millisecond)
}

func put(t *testing.T, cache *Cache, key Key, answer string) {
	t.Helper()
	cache.Put(key, &Entry{First: 1, Last: 2, Born: time.Now(), Answer: []byte(answer)}, cache.Generation(), nil, func() bool { return true })
	require.Eventually(t, func() bool { return cache.waiting.Load() == 0 }, 10*time.Second, time.Millisecond)
}

func TestShared_RedisIsSharedAndNotTrusted(t *testing.T) {
	server := redistest.Start(t, "")
	one, other := cacheIn(t, server), cacheIn(t, server)
	key := promql.KeyOf("a")
	put(t, one, key, "x")
	eventually(t, other, key, "x")
	name := "tierproxy:" + fmt.Sprintf("%x", key[:])
	life, err := server.Client.TTL(t.Context(), name).Result()
	require.NoError(t, err)
	require.InDelta(t, longestLife.Seconds(), life.Seconds(), 60, "Redis forgets it by itself")

	// Somebody writes into it.
	kept, err := server.Client.Get(t.Context(), name).Bytes()
	require.NoError(t, err)
	ofAnotherKey := (&Entry{First: 1, Last: 2, Born: time.Now(), Answer: []byte("y")}).encode(promql.KeyOf("b"))
	damaged := append([]byte(nil), kept...)
	damaged[len(damaged)-9] ^= 1
	for _, text := range [][]byte{ofAnotherKey, damaged, []byte("poison"), {}} {
		require.NoError(t, server.Client.Set(t.Context(), name, text, 0).Err())
		before := other.Stats().Damaged
		require.Eventually(t, func() bool {
			require.Nil(t, other.Get(t.Context(), key, anyMemory))
			return other.Stats().Damaged > before || len(text) == 0
		}, 10*time.Second, 5*time.Millisecond)
	}

	// Forgetting leaves what belongs to others.
	put(t, one, key, "x")
	require.NoError(t, server.Client.Set(t.Context(), "others", "1", 0).Err())
	require.NoError(t, other.Clear(t.Context()))
	keys, err := server.Client.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Equal(t, []string{"others"}, keys)
}

func TestShared_SlowOrDeadRedis(t *testing.T) {
	server := redistest.Start(t, "")
	cache := cacheIn(t, server)
	key := promql.KeyOf("a")
	put(t, cache, key, "x")
	eventually(t, cache, key, "x")
	// median asks many times, and returns how long half of them took. The connection
	// alone would end each after redisWrite.
	median := func() time.Duration {
		took := make([]time.Duration, 0, 21)
		for range 21 {
			began := time.Now()
			require.Nil(t, cache.Get(context.Background(), key, anyMemory))
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return took[len(took)/2]
	}
	server.Pause(t)
	require.Less(t, median(), redisWrite/2)
	server.Resume(t)
	eventually(t, cache, key, "x")
	server.Kill()
	require.Less(t, median(), redisWrite/2)
	require.Positive(t, cache.Stats().Failures)
	require.Error(t, cache.Clear(t.Context()))
	// What was to be kept meanwhile is lost, and no caller waits.
	put(t, cache, key, "y")
	redistest.Start(t, server.Address)
	require.Eventually(t, func() bool {
		put(t, cache, key, "z")
		found := cache.Get(t.Context(), key, anyMemory)
		return found != nil && string(found.Answer) == "z"
	}, 20*time.Second, 50*time.Millisecond, "it goes on by itself")
}
