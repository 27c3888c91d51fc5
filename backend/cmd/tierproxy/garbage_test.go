package main

import (
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const mebibyte = 1 << 20

func TestHeap_RoomFollowsWhatACollectionScans(t *testing.T) {
	for name, each := range map[string]struct {
		left     heap
		expected uint64
	}{
		"a small heap grows to 40 MiB":                     {heap{live: 10 * mebibyte, roots: mebibyte}, 30 * mebibyte},
		"before the first collection":                      {heap{}, 40 * mebibyte},
		"without kept answers as much as by default":       {heap{live: 90 * mebibyte, roots: mebibyte}, 91 * mebibyte},
		"kept answers are no reason to wait":               {heap{live: 72 * mebibyte, cached: 64 * mebibyte}, 12 * mebibyte},
		"but as large a cache as somebody likes costs":     {heap{live: 16<<30 + 10*mebibyte, cached: 16 << 30}, 1<<30 + 10*mebibyte},
		"answers that were kept since the last collection": {heap{live: 50 * mebibyte, cached: 64 * mebibyte}, 12 * mebibyte},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, each.expected, each.left.room()) })
	}
	for range 10_000 {
		left := heap{live: rand.Uint64N(1 << 40), cached: rand.Uint64N(1 << 40), roots: rand.Uint64N(1 << 30), overhead: rand.Uint64N(1 << 30)}
		require.GreaterOrEqual(t, left.room(), max(leastRoom, left.live-min(left.live, left.cached)), "never less than by default for what has pointers: %+v", left)
		require.Greater(t, left.limit(), int64(left.live+left.overhead+left.room()), "the limit causes no collection: %+v", left)
		require.Positive(t, left.percent(), "%+v", left)
	}
}

// read returns a number that the runtime tells about itself.
func read(name string) uint64 {
	samples := []metrics.Sample{{Name: name}}
	metrics.Read(samples)
	return samples[0].Value.Uint64()
}

// keep returns as much memory in pieces of 64 KiB, as kept answers are.
func keep(bytes int) (kept [][]byte) {
	for range bytes / (64 << 10) {
		kept = append(kept, make([]byte, 64<<10))
	}
	return kept
}

// afterCollections waits until ok returns true after a collection.
func afterCollections(t *testing.T, ok func() bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		runtime.GC()
		return ok()
	}, time.Minute, 10*time.Millisecond)
}

func TestPaceGarbage_FollowsTheCache(t *testing.T) {
	t.Setenv("GOGC", "")
	kept := keep(64 * mebibyte)
	var cached atomic.Uint64
	cached.Store(64 * mebibyte)
	stop := paceGarbage(cached.Load)
	defer stop()
	afterCollections(t, func() bool { return read("/gc/heap/goal:bytes") < 110*mebibyte }) // By default, it would be twice what is in use.
	require.Less(t, read("/gc/gomemlimit:bytes"), uint64(math.MaxInt64), "pages that nobody uses are given back")

	// A load that leaves nothing behind is collected as often as it fills the room.
	const load = 256 * mebibyte
	before := read("/gc/cycles/total:gc-cycles")
	for range load / (64 << 10) {
		runtime.KeepAlive(keep(64 << 10))
	}
	require.LessOrEqual(t, read("/gc/cycles/total:gc-cycles")-before, uint64(3*load/leastRoom), "no collection follows the other")
	runtime.KeepAlive(kept)

	cached.Store(0)
	afterCollections(t, func() bool { // The cache was cleared.
		goal := read("/gc/heap/goal:bytes")
		return goal > smallHeap*9/10 && goal < 2*smallHeap
	})
}

func TestPaceGarbage_FollowsASmallHeap(t *testing.T) {
	t.Setenv("GOGC", "")
	stop := paceGarbage(func() uint64 { return 0 })
	defer stop()
	afterCollections(t, func() bool { return read("/gc/heap/goal:bytes") > smallHeap*9/10 })
	stop()
	for range 3 {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	require.Equal(t, uint64(100), read("/gc/gogc:percent"), "nothing adapts after stop")
	require.Equal(t, uint64(math.MaxInt64), read("/gc/gomemlimit:bytes"))
}

func TestPaceGarbage_LeavesTheOperatorsSettings(t *testing.T) {
	t.Run("GOGC", func(t *testing.T) {
		t.Setenv("GOGC", "150")
		defer debug.SetGCPercent(debug.SetGCPercent(150))
		defer paceGarbage(func() uint64 { panic("nobody needs it") })()
		for range 3 {
			runtime.GC()
			time.Sleep(10 * time.Millisecond)
		}
		require.Equal(t, uint64(150), read("/gc/gogc:percent"))
	})
	t.Run("GOMEMLIMIT", func(t *testing.T) {
		t.Setenv("GOGC", "")
		const most = 30 * mebibyte
		defer debug.SetMemoryLimit(debug.SetMemoryLimit(most))
		stop := paceGarbage(func() uint64 { return 0 })
		defer stop()
		afterCollections(t, func() bool { return read("/gc/gogc:percent") > 200 })
		require.LessOrEqual(t, read("/gc/gomemlimit:bytes"), uint64(most))
		stop()
		require.Equal(t, uint64(most), read("/gc/gomemlimit:bytes"))
	})
}
