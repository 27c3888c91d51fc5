// Package cache keeps answers that can no longer change, in memory or in Redis.
// The package splice below it joins answers by their bytes. Neither decides what
// may be kept: engine does. Of this project, cache imports config and promql (for keys),
// and splice nothing.
package cache

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// store keeps encoded entries.
type store interface {
	// get returns what is kept under a key. It returns nil where nothing is, or it is not
	// available at once.
	get(ctx context.Context, key Key) []byte
	// set keeps an entry for a time. It may take some seconds.
	set(key Key, text []byte, life time.Duration)
	// clear deletes all entries.
	clear(ctx context.Context) error
	// stats returns what is kept.
	stats() Stats
	close()
}

// Stats is what a cache keeps, and what it has done.
type Stats struct {
	// Bytes and Entries are what is kept in memory. They are zero for Redis, which has
	// metrics itself.
	Bytes   uint64
	Entries int
	// Evictions counts entries that had to make room for others.
	Evictions uint64
	// Damaged counts entries that were not the gateway's, or not as it had written
	// them, and were ignored.
	Damaged int64
	// Failures counts how often Redis failed, was too slow, or was skipped because of
	// that (circuit breaker).
	Failures int64
}

// Cache keeps entries in memory or in Redis. It is safe for concurrent use.
type Cache struct {
	store   store
	now     func() time.Time
	damaged atomic.Int64
	// cleared counts how often the cache was cleared: answers to earlier requests are
	// not kept.
	cleared atomic.Int64
	// waiting is how many bytes are collected, or wait to be confirmed: at most a
	// half of most.
	waiting atomic.Int64
	most    int64
}

func newCache(kept store, most int64) *Cache {
	return &Cache{store: kept, now: time.Now, most: most}
}

// Stats returns what is kept.
func (c *Cache) Stats() Stats {
	stats := c.store.stats()
	stats.Damaged = c.damaged.Load()
	return stats
}

// Get returns the entry under a key, or nil. It calls reserve with the memory that the
// answer takes, before it takes it. If that returns false, Get returns nil.
func (c *Cache) Get(ctx context.Context, key Key, reserve func(bytes int64) bool) *Entry {
	text := c.store.get(ctx, key)
	if text == nil {
		return nil
	}
	entry, err := decode(key, text, reserve)
	if errors.Is(err, errForeign) {
		c.damaged.Add(1)
	}
	if err != nil || !c.now().Before(entry.Born.Add(longestLife)) {
		return nil
	}
	return entry
}

// Generation changes when the cache is cleared: see Put.
func (c *Cache) Generation() int64 { return c.cleared.Load() }

// Reserve takes room for a part of an answer that may come to be kept. It returns
// false where there is none, because too much waits already.
func (c *Cache) Reserve(bytes int64) bool {
	if c.waiting.Add(bytes) <= c.most/2 {
		return true
	}
	c.waiting.Add(-bytes)
	return false
}

// Waiting returns how many bytes are reserved.
func (c *Cache) Waiting() int64 { return c.waiting.Load() }

// Release gives back what was reserved.
func (c *Cache) Release(bytes int64) { c.waiting.Add(-bytes) }

// Put keeps an entry as soon as confirm, which may take its time, returns true. Put does not wait,
// and takes over the entry. generation is that of the time when the request was sent. prepare, which
// may be nil, may change the entry before it is kept, but not make it longer. If it returns false, the
// entry is not kept.
func (c *Cache) Put(key Key, entry *Entry, generation int64, prepare func(*Entry) bool, confirm func() bool) {
	size := int64(len(entry.Answer))
	if !c.Reserve(size) {
		return
	}
	go func() {
		defer func() { c.Release(size) }()
		// It waits compressed, which takes less time than to prepare it: now, the other panels of a
		// dashboard are loading.
		text := entry.encode(key)
		born := entry.Born
		entry = nil
		waiting := int64(len(text))
		c.Release(size - waiting)
		size = waiting
		if !confirm() || c.Generation() != generation {
			return
		}
		if prepare != nil {
			text = c.prepared(key, text, prepare)
		}
		if life := born.Add(longestLife).Sub(c.now()); life > 0 && text != nil {
			c.store.set(key, text, life)
		}
	}()
}

// prepared returns an entry as prepare leaves it, or nil if that returns false. If too much waits, it
// returns the entry as it is.
func (c *Cache) prepared(key Key, text []byte, prepare func(*Entry) bool) []byte {
	reserved := int64(0)
	defer func() { c.Release(reserved) }()
	entry, err := decode(key, text, func(bytes int64) bool {
		if !c.Reserve(bytes) {
			return false
		}
		reserved = bytes
		return true
	})
	if err != nil {
		return text
	}
	if !prepare(entry) {
		return nil
	}
	return entry.encode(key)
}

// Clear deletes all entries. It returns an error when Redis fails.
func (c *Cache) Clear(ctx context.Context) error {
	c.cleared.Add(1)
	return c.store.clear(ctx)
}

// Close ends the connections of the cache.
func (c *Cache) Close() { c.store.close() }
