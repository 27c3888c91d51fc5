package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// CacheControl is what a caller wants of the cache: not to read from it, and not
// to keep the answer.
type CacheControl struct {
	NoRead, NoStore bool
}

// CacheUse is how much of an answer came from the cache.
type CacheUse struct {
	// Result is one of those below.
	Result string
	// Cached and Steps count evaluation times. An answer that is kept as a whole
	// counts as one.
	Cached, Steps int
	// Samples counts those that no tier was asked for.
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
var CacheResults = []string{CacheHit, CachePartial, CacheMiss, CacheBypass, CacheNever}

// lookup is a query whose answer, or some steps of it, may be kept.
type lookup struct {
	plan *Plan
	key  cache.Key
	// stores is the set of cold's stores in the key, generation that of the cache, and
	// askedAt the time before the call of cold.
	stores     string
	generation int64
	askedAt    time.Time
	// until is up to when what cold answers can no longer change, in milliseconds
	// since the Unix epoch.
	until int64
	// end is the index of the first step that may not be kept, and run the steps of cold
	// before it that are kept.
	end int
	run tier.Run
	// entry is what the cache has; nil where it has nothing. memory is the memory that
	// it takes where it is an answer as a whole.
	entry  *cache.Entry
	memory *reservation
}

// isCached reports whether answers to the query may be kept.
func (p *Plan) isCached() bool { return p.query.Datasource.Cached && p.engine.options.Cache != nil }

// lookup returns what a query that cold answers, or a part of it, needs to use the
// cache; nil if nothing of it may be kept. The key is still missing.
func (p *Plan) lookup() *lookup {
	if !p.isCached() {
		return nil
	}
	bound, err := p.keptBound()
	if err != nil {
		return nil
	}
	return &lookup{
		plan: p, stores: bound.stores, generation: p.engine.options.Cache.Generation(), askedAt: time.Now(), until: bound.until,
	}
}

// freshness is how far back from now data may still change or come in.
func (p *Plan) freshness() time.Duration {
	return max(p.engine.options.Freshness, p.snapshot.Hot.OutOfOrderWindow, p.snapshot.Cold.OutOfOrderWindow)
}

// cacheKey returns the key of everything that can change an answer of cold, without some
// parameters and with more texts.
func (p *Plan) cacheKey(stores string, without []string, more ...string) cache.Key {
	request := p.cold
	parts := []string{p.query.Datasource.Scope, string(tier.Cold), stores, string(request.Endpoint), request.Path, fmt.Sprint(p.speaksMetricsQL(tier.Cold))}
	parts = append(parts, fmt.Sprintf("%#v", p.snapshot.Cold))
	parts = append(parts, fmt.Sprintf("%q", p.query.ConfinedTo), fmt.Sprint(len(more)))
	parts = append(parts, more...)
	for _, name := range slices.Sorted(maps.Keys(request.Parameters)) {
		if !slices.Contains(without, name) {
			parts = append(parts, name, fmt.Sprintf("%q", request.Parameters[name]))
		}
	}
	return promql.KeyOf(parts...)
}

// get looks up what the cache has, within the given memory.
func (l *lookup) get(ctx context.Context, memory *reservation) *cache.Entry {
	return l.plan.engine.options.Cache.Get(ctx, l.key, func(bytes int64) bool { return memory.acquire(bytes) == nil })
}

// put keeps an entry if cold's stores were complete, and if prepare accepts it: see cache.Cache.Put.
func (l *lookup) put(entry *cache.Entry, prepare func(*cache.Entry) bool) {
	options, answered, cold := &l.plan.engine.options, time.Now(), l.plan.query.Datasource.Cold
	options.Cache.Put(l.key, entry, l.generation, prepare, func() bool {
		ctx, cancel := context.WithTimeout(options.Lifetime, confirmWithin)
		defer cancel()
		return cold.StoresUnchanged(ctx, l.stores, l.askedAt, answered)
	})
}

// report returns how the query has used the cache; nil where nothing is cached.
func (p *Plan) report(use CacheUse) *CacheUse {
	if !p.isCached() {
		return nil
	}
	p.engine.options.OnCacheUse(use)
	return &use
}

// confirmWithin bounds how long an entry waits for the next look at the stores.
const confirmWithin = 2 * time.Minute

// promqlInfo begins an info, which Thanos puts among the warnings. It is about the
// query, not about the data.
const promqlInfo = "PromQL info: "

// mayBeRepeated reports whether warnings are the same with every answer to a query.
func mayBeRepeated(warnings []string) bool {
	return !slices.ContainsFunc(warnings, func(warning string) bool { return !strings.HasPrefix(warning, promqlInfo) })
}
