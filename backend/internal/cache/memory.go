package cache

import (
	"context"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/maypok86/otter/v2/stats"
)

// perEntry is what an entry takes beside its bytes.
const perEntry = 256

// memory keeps entries in the memory of the process.
type memory struct {
	kept    *otter.Cache[Key, timed]
	counter *stats.Counter
}

// timed is an entry with how long it lives.
type timed struct {
	text []byte
	life time.Duration
}

// NewMemory returns a cache in memory that takes at most so many bytes.
func NewMemory(most int64) *Cache {
	m := &memory{counter: stats.NewCounter()}
	m.kept = otter.Must(&otter.Options[Key, timed]{
		MaximumWeight:    uint64(most),                                                                  //nolint:gosec // G115: the configuration is checked to be positive.
		Weigher:          func(_ Key, value timed) uint32 { return uint32(len(value.text)) + perEntry }, //nolint:gosec // G115: see largestEntry.
		ExpiryCalculator: otter.ExpiryWritingFunc(func(entry otter.Entry[Key, timed]) time.Duration { return entry.Value.life }),
		StatsRecorder:    m.counter,
	})
	return newCache(m, most)
}

func (m *memory) get(_ context.Context, key Key) []byte {
	entry, _ := m.kept.GetIfPresent(key)
	return entry.text
}

// largestEntry is how long an entry is at most.
const largestEntry = 1 << 30

func (m *memory) set(key Key, text []byte, life time.Duration) {
	if len(text) <= largestEntry {
		m.kept.Set(key, timed{text, life})
	}
}

func (m *memory) clear(context.Context) error {
	m.kept.InvalidateAll()
	return nil
}

func (m *memory) stats() Stats {
	return Stats{Bytes: m.kept.WeightedSize(), Entries: m.kept.EstimatedSize(), Evictions: m.counter.Snapshot().Evictions}
}

func (m *memory) close() { m.kept.StopAllGoroutines() }
