package engine

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// Caching is what a query needs to use the cache.
type Caching struct {
	// Cache keeps the answers.
	Cache *cache.Cache
	// Scope is whose answers they are: everything that can change an answer of
	// cold and is not part of the request, such as the datasource, its
	// generation, the tenant and the credential.
	Scope string
	// Lifetime ends when nothing more is to be kept.
	Lifetime context.Context //nolint:containedctx // Answers are kept after the query has ended.
	// NoRead and NoStore are what the caller asks for: not to read from the cache,
	// and not to keep the answer.
	NoRead, NoStore bool
	// OnUse is told how each query has used it.
	OnUse func(CacheUse)
}

// CacheUse is how much of an answer came from the cache.
type CacheUse struct {
	// Result is one of those below.
	Result string
	// Cached and Steps count evaluation times. An answer that is kept as a whole
	// counts as one.
	Cached, Steps int
	// Samples are those that no tier was asked for.
	Samples int
}

// The ways in which a query can use the cache.
const (
	CacheHit     = "hit"     // all that may be kept came from the cache
	CachePartial = "partial" // some of it did
	CacheMiss    = "miss"    // nothing was there
	CacheBypass  = "bypass"  // the caller did not want it
	CacheNever   = "never"   // nothing of this query may be kept
)

// CacheResults lists them.
func CacheResults() []string {
	return []string{CacheHit, CachePartial, CacheMiss, CacheBypass, CacheNever}
}

// cacheable is a query whose answer, or some steps of it, may be kept.
type cacheable struct {
	caching *Caching
	key     cache.Key
	// stores is the set of cold's stores that the key holds, generation that of
	// the cache, and asked when cold was asked.
	stores     string
	generation int64
	asked      time.Time
	// until is up to when what cold answers can no longer change, in milliseconds
	// since the Unix epoch.
	until int64
	// end is the index of the first step that may not be kept.
	end int
	// entry is what the cache has; nil where it has nothing. held is the memory that
	// it takes where it is an answer as a whole.
	entry *cache.Entry
	held  *lease
}

// cacheable returns what a query that cold answers, or a part of it, needs to use
// the cache; nil where nothing of it may be kept. The key is still missing.
func (c *call) cacheable() *cacheable {
	if c.query.Caching == nil || len(c.planned.Warnings) > 0 || len(c.planned.Input.Cold.Notes) > 0 {
		return nil
	}
	until, stores, found := c.mayBeKept()
	if !found {
		return nil
	}
	caching := c.query.Caching
	return &cacheable{caching: caching, stores: stores, generation: caching.Cache.Generation(), asked: time.Now(), until: until}
}

// mayBeKept is up to when what cold answers can no longer change, in
// milliseconds since the Unix epoch. found is false where that is not known.
func (c *call) mayBeKept() (until int64, stores string, found bool) {
	query, in := c.query, c.planned.Input
	if query.Pair == nil || query.Cold == nil {
		return 0, "", false
	}
	held, found := query.Pair.ColdCompleteUntil(query.Request.ReceivedAt)
	if !found {
		return 0, "", false
	}
	if in.Completeness != tier.Complete {
		// Others than hot write to cold, too.
		held = min(held, query.Cold.SourcesEnd(query.Request.ReceivedAt))
	}
	stores, found = query.Cold.StableStores()
	fresh := query.freshness(query.Pair.Snapshot()).Milliseconds()
	if held < math.MinInt64+fresh {
		return 0, "", false
	}
	return min(held, in.Now) - fresh, stores, found
}

// cacheKey returns the key of everything that can change what cold answers. without
// are parameters that it does not hold, more what it holds besides.
func (c *call) cacheKey(stores string, without []string, more ...string) cache.Key {
	request := c.planned.cold
	parts := []string{c.query.Caching.Scope, string(tier.Cold), stores, string(request.Endpoint), request.Path}
	parts = append(parts, fmt.Sprintf("%#v", c.query.Pair.Snapshot().Cold))
	parts = append(parts, fmt.Sprintf("%q", request.ConfinedTo), fmt.Sprint(len(more)))
	parts = append(parts, more...)
	for _, name := range slices.Sorted(maps.Keys(request.Parameters)) {
		if !slices.Contains(without, name) {
			parts = append(parts, name, fmt.Sprintf("%q", request.Parameters[name]))
		}
	}
	return promql.KeyOf(parts...)
}

// put keeps an entry once it is clear that cold's stores were complete. isWhole
// looks at the entry before, if not nil, and may refuse it.
func (c *call) put(use *cacheable, entry *cache.Entry, isWhole func(*cache.Entry) bool) {
	answered, cold, lifetime := time.Now(), c.query.Cold, use.caching.Lifetime
	use.caching.Cache.Put(use.key, entry, use.generation, func() bool {
		if isWhole != nil && !isWhole(entry) {
			return false
		}
		ctx, cancel := context.WithTimeout(lifetime, confirmWithin)
		defer cancel()
		return cold.StoresUnchanged(ctx, use.stores, use.asked, answered)
	})
}

// confirmWithin bounds how long an answer waits until its stores are known to
// have been complete.
const confirmWithin = 2 * time.Minute

// promqlInfo is how Thanos begins an info, which it puts among the warnings: it
// is about the query, and says nothing about the data.
const promqlInfo = "PromQL info: "

// mayBeRepeated tells whether warnings are the same with every answer to a query.
func mayBeRepeated(warnings []string) bool {
	return !slices.ContainsFunc(warnings, func(warning string) bool { return !strings.HasPrefix(warning, promqlInfo) })
}
