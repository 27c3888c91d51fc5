package cache

import (
	"bytes"
	"math/rand"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

func anyMemory(int64) bool { return true }

func TestKeyOf_DependsOnEveryPart(t *testing.T) {
	keys := map[Key]bool{}
	for _, parts := range [][]string{{}, {""}, {"", ""}, {"a", "b"}, {"ab"}, {"ab", ""}, {"", "ab"}, {"a\x00b"}, {"b", "a"}} {
		key := promql.KeyOf(parts...)
		require.False(t, keys[key], "%q", parts)
		keys[key] = true
	}
	require.Equal(t, promql.KeyOf("a", "b"), promql.KeyOf("a", "b"))
}

func TestEntry_RoundTrip(t *testing.T) {
	key := promql.KeyOf("a")
	entry := &Entry{First: -5, Last: 1_700_000_000_123, Born: time.UnixMilli(1_700_000_000_456), Samples: 7, Answer: bytes.Repeat([]byte(`[1,"2"],`), 1000)}
	text := entry.encode(key)
	require.Less(t, len(text), 1000, "they are compressed")
	found, err := decode(key, text, anyMemory)
	require.NoError(t, err)
	require.Equal(t, entry, found)

	_, err = decode(promql.KeyOf("b"), text, anyMemory)
	require.ErrorIs(t, err, errForeign, "an entry of another key")
	random := rand.New(rand.NewSource(1))
	for i := range text {
		damaged := bytes.Clone(text)
		damaged[i] ^= byte(1 + random.Intn(255))
		_, err := decode(key, damaged, anyMemory)
		require.ErrorIs(t, err, errForeign, "byte %d", i)
	}
	for _, length := range []int{0, 1, headerSize, headerSize + 8, len(text) - 1} {
		_, err := decode(key, text[:length], anyMemory)
		require.ErrorIs(t, err, errForeign)
	}
}

func TestEntry_PackedOnesStayAsTheyAre(t *testing.T) {
	key := promql.KeyOf("a")
	entry := &Entry{First: 1, Last: 2, Born: time.UnixMilli(3), Answer: bytes.Repeat([]byte("packed"), 100), IsPacked: true}
	text := entry.encode(key)
	require.Len(t, text, headerSize+len(entry.Answer)+8)
	found, err := decode(key, text, anyMemory)
	require.NoError(t, err)
	require.Equal(t, entry, found)
	require.Same(t, &text[headerSize], &found.Answer[0], "it is not copied")
	_, err = decode(key, text, func(bytes int64) bool { return bytes < 600 })
	require.ErrorIs(t, err, errNoMemory)
	for i := range text {
		damaged := bytes.Clone(text)
		damaged[i]++
		_, err := decode(key, damaged, anyMemory)
		require.ErrorIs(t, err, errForeign, "byte %d", i)
	}
	_, err = decode(key, append([]byte(magic), text[len(magic):]...), anyMemory)
	require.ErrorIs(t, err, errForeign, "it says that it is JSON")
}

func TestPut_KeepsConfirmedEntriesOfItsGeneration(t *testing.T) {
	cache := NewMemory(1 << 20)
	t.Cleanup(cache.Close)
	now := time.Now()
	cache.now = func() time.Time { return now }
	key := promql.KeyOf("a")
	put := func(entry *Entry, generation int64, confirmed bool) {
		done := make(chan struct{})
		cache.Put(key, entry, generation, nil, func() bool { defer close(done); return confirmed })
		<-done
		require.Eventually(t, func() bool { return cache.waiting.Load() == 0 }, 5*time.Second, time.Millisecond)
	}
	put(&Entry{Born: now, Answer: []byte("x")}, cache.Generation(), false)
	require.Nil(t, cache.Get(t.Context(), key, anyMemory), "it was not confirmed")
	generation := cache.Generation()
	put(&Entry{Born: now, Answer: []byte("x")}, generation, true)
	require.Equal(t, "x", string(cache.Get(t.Context(), key, anyMemory).Answer))
	require.Nil(t, cache.Get(t.Context(), key, func(bytes int64) bool { require.EqualValues(t, 1, bytes); return false }), "there is no memory for it")
	require.Nil(t, cache.Get(t.Context(), promql.KeyOf("b"), anyMemory))
	require.Equal(t, 1, cache.Stats().Entries)

	now = now.Add(longestLife - time.Millisecond)
	require.NotNil(t, cache.Get(t.Context(), key, anyMemory))
	now = now.Add(time.Millisecond)
	require.Nil(t, cache.Get(t.Context(), key, anyMemory), "no entry lives longer than a day")

	require.NoError(t, cache.Clear(t.Context()))
	put(&Entry{Born: now, Answer: []byte("x")}, generation, true)
	require.Nil(t, cache.Get(t.Context(), key, anyMemory), "it was requested before the cache was cleared")
	put(&Entry{Born: now, Answer: []byte("x")}, cache.Generation(), true)
	require.NotNil(t, cache.Get(t.Context(), key, anyMemory))
	require.NoError(t, cache.Clear(t.Context()))
	require.Nil(t, cache.Get(t.Context(), key, anyMemory))
	put(&Entry{Born: now.Add(-longestLife), Answer: []byte("x")}, cache.Generation(), true)
	require.Nil(t, cache.Get(t.Context(), key, anyMemory), "too old already")
}

func TestCache_MemoryIsBounded(t *testing.T) {
	const most = 1 << 20
	cache := NewMemory(most)
	t.Cleanup(cache.Close)
	random := rand.New(rand.NewSource(1))
	for i := range 400 {
		text := make([]byte, 20<<10)
		_, _ = random.Read(text)
		cache.Put(promql.KeyOf(string(rune(i))), &Entry{Born: time.Now(), Answer: text}, 0, nil, func() bool { return true })
		require.Eventually(t, func() bool { return cache.waiting.Load() == 0 }, 5*time.Second, 100*time.Microsecond)
	}
	require.Eventually(t, func() bool {
		stats := cache.Stats()
		return cache.waiting.Load() == 0 && stats.Bytes <= most && stats.Evictions > 100
	}, 10*time.Second, 5*time.Millisecond, "%+v", cache.Stats())
	// What is collected or waits to be confirmed is bounded too.
	require.True(t, cache.Reserve(most/2))
	require.False(t, cache.Reserve(1))
	cache.Release(most / 2)
	release := make(chan struct{})
	var confirmed atomic.Int64
	for range 100 {
		text := make([]byte, 20<<10)
		_, _ = random.Read(text)
		cache.Put(promql.KeyOf("waits"), &Entry{Born: time.Now(), Answer: text}, 0, nil, func() bool { <-release; confirmed.Add(1); return false })
	}
	const fit = most / 2 / (20 << 10)
	require.GreaterOrEqual(t, cache.waiting.Load(), int64(fit*(20<<10)))
	require.LessOrEqual(t, cache.waiting.Load(), int64(most/2))
	close(release)
	require.Eventually(t, func() bool { return cache.waiting.Load() == 0 }, 5*time.Second, time.Millisecond)
	require.EqualValues(t, fit, confirmed.Load(), "the others are not kept")
	// It waits compressed.
	release = make(chan struct{})
	cache.Put(promql.KeyOf("waits"), &Entry{Born: time.Now(), Answer: make([]byte, most/2)}, 0, nil, func() bool { <-release; return true })
	require.Eventually(t, func() bool { return cache.waiting.Load() < most/20 }, 5*time.Second, time.Millisecond)
	close(release)
	require.Eventually(t, func() bool {
		entry := cache.Get(t.Context(), promql.KeyOf("waits"), anyMemory)
		return entry != nil && len(entry.Answer) == most/2
	}, 5*time.Second, time.Millisecond)
}

func TestCache_PreparesWhatIsConfirmed(t *testing.T) {
	const most = 1 << 20
	cache := NewMemory(most)
	t.Cleanup(cache.Close)
	answer := bytes.Repeat([]byte("kept "), 1000)
	kept := func(t *testing.T, prepare func(*Entry) bool, confirm func() bool) *Entry {
		key := promql.KeyOf(t.Name())
		cache.Put(key, &Entry{Born: time.Now(), First: 1, Answer: bytes.Clone(answer)}, 0, prepare, confirm)
		require.Eventually(t, func() bool { return cache.waiting.Load() == 0 }, 30*time.Second, time.Millisecond)
		return cache.Get(t.Context(), key, anyMemory)
	}
	always := func() bool { return true }
	t.Run("it is kept as prepared", func(t *testing.T) {
		isConfirmed := false
		entry := kept(t, func(entry *Entry) bool {
			require.True(t, isConfirmed, "not before it is known that it is kept")
			require.Equal(t, answer, entry.Answer)
			require.EqualValues(t, 1, entry.First)
			entry.Answer, entry.IsPacked = []byte("packed"), true
			return true
		}, func() bool { isConfirmed = true; return true })
		require.True(t, entry.IsPacked)
		require.Equal(t, "packed", string(entry.Answer))
	})
	t.Run("it is not accepted", func(t *testing.T) {
		require.Nil(t, kept(t, func(*Entry) bool { return false }, always))
	})
	t.Run("it is not confirmed", func(t *testing.T) {
		require.Nil(t, kept(t, func(*Entry) bool { panic("it is not kept") }, func() bool { return false }))
	})
	t.Run("there is no room to prepare it", func(t *testing.T) {
		key := promql.KeyOf(t.Name())
		cache.Put(key, &Entry{Born: time.Now(), Answer: bytes.Clone(answer)}, 0, func(*Entry) bool { panic("there is no room") }, func() bool {
			return cache.Reserve(most/2 - cache.Waiting())
		})
		var entry *Entry
		require.Eventually(t, func() bool { entry = cache.Get(t.Context(), key, anyMemory); return entry != nil }, 30*time.Second, time.Millisecond)
		require.False(t, entry.IsPacked)
		require.Equal(t, answer, entry.Answer)
	})
}
