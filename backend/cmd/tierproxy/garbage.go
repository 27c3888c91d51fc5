package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

const (
	// leastRoom is how much is allocated between two collections at least, in bytes.
	leastRoom = 12 << 20
	// smallHeap is the size up to which the heap grows before it is collected, in bytes. A heap
	// that is no larger would otherwise be collected all the time.
	smallHeap = 40 << 20
	// leastHeap is what the runtime takes for the heap at least, in bytes.
	leastHeap = 4 << 20
	// cachedShare is the share of the kept answers that counts as if it had to be scanned, one in
	// so many bytes: marking and sweeping them costs a little, too.
	cachedShare = 16
	// defaultPercent is what the runtime starts with.
	defaultPercent = 100
)

// heap is what the last collection left.
type heap struct {
	// live is what is in use, and cached the part of it that kept answers take, in bytes.
	live, cached uint64
	// roots are the stacks and global variables that a collection scans, in bytes.
	roots uint64
	// overhead is the memory of the runtime that is no object, in bytes.
	overhead uint64
}

// room returns how much is to be allocated before the next collection, in bytes.
//
// A collection costs as much as it has to scan. Kept answers have no pointers, so they add hardly
// anything. By default, the runtime nevertheless lets the heap grow by as much as all of it.
func (h heap) room() uint64 {
	cached := min(h.cached, h.live)
	room := max(leastRoom, h.live-cached+h.roots+cached/cachedShare)
	if h.live+room < smallHeap {
		return smallHeap - h.live
	}
	return room
}

// percent returns the room as debug.SetGCPercent takes it.
func (h heap) percent() int {
	return int(100 * h.room() / max(h.live+h.roots, leastHeap)) //nolint:gosec // G115: some thousands at most.
}

// limit returns the memory above which the runtime gives unused pages back at once, in bytes. It is
// above what the room needs, so that it does not cause collections itself.
func (h heap) limit() int64 {
	return int64(h.live + h.overhead + h.room()*5/4) //nolint:gosec // G115: bytes of memory.
}

// pacer sets the room for garbage after each collection.
type pacer struct {
	cached  func() uint64
	samples []metrics.Sample

	mutex   sync.Mutex
	stopped bool
	percent int   // that was set last
	limit   int64 // the same
	most    int64 // GOMEMLIMIT, or math.MaxInt64
}

// The metrics of the runtime that the pacer reads.
const (
	liveBytes = iota
	stackBytes
	globalBytes
	totalBytes
	releasedBytes
	freeBytes
	objectBytes
)

func newSamples() []metrics.Sample {
	return []metrics.Sample{
		liveBytes:     {Name: "/gc/heap/live:bytes"},
		stackBytes:    {Name: "/gc/scan/stack:bytes"},
		globalBytes:   {Name: "/gc/scan/globals:bytes"},
		totalBytes:    {Name: "/memory/classes/total:bytes"},
		releasedBytes: {Name: "/memory/classes/heap/released:bytes"},
		freeBytes:     {Name: "/memory/classes/heap/free:bytes"},
		objectBytes:   {Name: "/memory/classes/heap/objects:bytes"},
	}
}

// paceGarbage adapts the room for garbage to what a collection costs, until the caller calls stop.
// cached returns how many bytes kept answers take. It does nothing if the operator has set GOGC.
// GOMEMLIMIT still bounds the memory.
func paceGarbage(cached func() uint64) (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	c := &pacer{cached: cached, percent: defaultPercent, samples: newSamples(), most: debug.SetMemoryLimit(-1)}
	c.adapt()
	c.afterCollection()
	return func() {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		c.stopped = true
		debug.SetGCPercent(defaultPercent)
		debug.SetMemoryLimit(c.most)
	}
}

// afterCollection calls adapt after each collection.
func (c *pacer) afterCollection() {
	// With a pointer, it is an object of its own, which the next collection finds unused.
	type unused struct{ _ *pacer }
	runtime.AddCleanup(&unused{}, func(c *pacer) {
		if c.adapt() {
			c.afterCollection()
		}
	}, c)
}

// adapt sets the room for what the last collection left. It returns false after stop.
func (c *pacer) adapt() bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.stopped {
		return false
	}
	metrics.Read(c.samples)
	value := func(i int) uint64 { return c.samples[i].Value.Uint64() }
	left := heap{
		live: value(liveBytes), cached: c.cached(), roots: value(stackBytes) + value(globalBytes),
		overhead: value(totalBytes) - value(releasedBytes) - value(freeBytes) - value(objectBytes),
	}
	// Setting them stops the program for a moment: small changes are not worth that.
	if wanted := left.percent(); differ(int64(wanted), int64(c.percent)) {
		c.percent = wanted
		debug.SetGCPercent(wanted)
	}
	if wanted := min(left.limit(), c.most); differ(wanted, c.limit) {
		c.limit = wanted
		debug.SetMemoryLimit(wanted)
	}
	return true
}

// differ reports whether one of two numbers is more than a twentieth larger than the other.
func differ(one, other int64) bool { return 20*one < 19*other || 19*one > 20*other }
