package queryrange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/queryrange/splice"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resultcache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// Caching is what a query needs to use the cache.
type Caching struct {
	// Cache keeps the answers.
	Cache *resultcache.Cache
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
	// Cached and Steps count evaluation times.
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

// cacheable is a query some steps of which may be kept.
type cacheable struct {
	caching *Caching
	key     resultcache.Key
	// stores is the set of cold's stores that the key holds, generation that of
	// the cache, and asked when cold was asked.
	stores     string
	generation int64
	asked      time.Time
	// end is the index of the first step that may not be kept.
	end int
	// entry is what the cache has; nil where it has nothing.
	entry *resultcache.Entry
}

// mayBeKept is up to when what cold answers can no longer change, in
// milliseconds since the Unix epoch. found is false where that is not known.
func (c *call) mayBeKept() (until int64, stores string, found bool) {
	query, in := c.query, c.planned.Input
	if query.Pair == nil || query.Cold == nil {
		return 0, "", false
	}
	held, found := query.Pair.ColdHeld(query.Request.ReceivedAt)
	if !found {
		return 0, "", false
	}
	if in.Completeness != tier.Complete {
		// Others than hot write to cold, too.
		held = min(held, query.Cold.SourcesEnd(query.Request.ReceivedAt))
	}
	stores, found = query.Cold.Stores()
	fresh := query.freshness(query.Pair.Learned()).Milliseconds()
	if held < math.MinInt64+fresh {
		return 0, "", false
	}
	return min(held, in.Now) - fresh, stores, found
}

// useCache looks up what the cache has of a range query that cold answers, or a
// part of it. It returns nil where nothing of it may be kept.
func (c *call) useCache(ctx context.Context, held *lease) *cacheable {
	steps, caching := c.planned.stepwise, c.query.Caching
	if caching == nil || steps == nil || len(c.planned.Warnings) > 0 || len(c.planned.Input.Cold.Notes) > 0 {
		return nil
	}
	until, stores, found := c.mayBeKept()
	if !found {
		return nil
	}
	use := &cacheable{caching: caching, stores: stores, generation: caching.Cache.Generation(), asked: time.Now()}
	failed := false
	use.end = sort.Search(steps.grid.Len(), func(i int) bool {
		extent, err := steps.extentAt(steps.grid.At(i))
		failed = failed || err != nil
		return err != nil || (!extent.Nothing && extent.Newest > until)
	})
	if failed || use.end == 0 {
		return nil
	}
	phase := steps.grid.Start % steps.grid.Step
	use.key = c.cacheKey(stores, steps.cold, fmt.Sprint(steps.grid.Step), fmt.Sprint(phase), fmt.Sprint(steps.lead))
	if caching.NoRead {
		return use
	}
	use.entry = caching.Cache.Get(ctx, use.key, func(bytes int64) bool { return held.take(bytes) == nil })
	return use
}

// timeParameters are those that the key holds in another form, or that change no
// value: what the pieces are cut from and joined to.
var timeParameters = []string{"query", "start", "end", "step", "limit", "time", "timeout"}

// cacheKey is everything that can change what cold answers.
func (c *call) cacheKey(stores string, more ...string) resultcache.Key {
	request := c.planned.cold
	parts := []string{c.query.Caching.Scope, string(tier.Cold), stores, string(request.Endpoint), request.Path}
	parts = append(parts, fmt.Sprintf("%+v", c.query.Pair.Learned().Cold))
	parts = append(parts, fmt.Sprintf("%q", request.ConfinedTo), fmt.Sprint(len(more)))
	parts = append(parts, more...)
	for _, name := range slices.Sorted(maps.Keys(request.Parameters)) {
		if !slices.Contains(timeParameters, name) {
			parts = append(parts, name, fmt.Sprintf("%q", request.Parameters[name]))
		}
	}
	return resultcache.KeyOf(parts...)
}

// pieces are what the answer is put together from: what the cache has, and the
// steps that are missing.
func (c *call) pieces(use *cacheable) ([]*piece, error) {
	grid := c.planned.stepwise.grid
	steps := grid.Len()
	hot := steps // the first step of hot
	if c.planned.Cut != nil {
		hot = c.planned.Cut.First
	}
	var list []*piece
	add := func(from tier.Name, first, last int) {
		if first <= last {
			list = append(list, &piece{first: first, last: last, from: from})
		}
	}
	first, last := 0, -1 // of what the cache has
	if use != nil && use.entry != nil {
		first, last = max(grid.Index(use.entry.First), 0), min(grid.Index(use.entry.Last), use.end-1, hot-1)
	}
	if first > last {
		add(tier.Cold, 0, hot-1)
		add(tier.Hot, hot, steps-1)
		return list, nil
	}
	add(tier.Cold, 0, first-1)
	matrix, err := splice.Parse(use.entry.Answer)
	if err == nil {
		err = matrix.Window(grid.At(first), grid.At(last), grid.Step)
	}
	if err != nil {
		return nil, err
	}
	list = append(list, &piece{first: first, last: last, matrix: matrix})
	if cut := c.planned.Cut; cut != nil && last+1 >= cut.Earliest && hot-last-1 <= max(fewSteps, (last-first)/8) {
		hot = last + 1 // A few more steps cost hot less than another query costs cold.
	}
	add(tier.Cold, last+1, hot-1)
	add(tier.Hot, hot, steps-1)
	return list, nil
}

// fewSteps is how many steps more hot is asked for without a thought.
const fewSteps = 16

// keep keeps what cold has answered and can no longer change.
func (c *call) keep(use *cacheable, pieces []*piece) {
	if use == nil || use.caching.NoStore {
		return
	}
	grid := c.planned.stepwise.grid
	fresh := 0 // steps that the cache does not have yet
	until := -1
	for _, each := range pieces {
		if each.from == tier.Hot {
			break // Cold's are the first.
		}
		until = min(each.last, use.end-1)
		if each.from == tier.Cold {
			if !mayBeRepeated(each.matrix.Warnings) {
				return
			}
			fresh += max(0, until-each.first+1)
		}
	}
	if fresh == 0 || (use.entry != nil && fresh < min(fewSteps, until/8)) {
		return
	}
	entry := &resultcache.Entry{First: grid.At(0), Last: grid.At(until), Born: use.asked}
	parts := make([]*splice.Matrix, 0, len(pieces)+1)
	for _, each := range pieces {
		if each.from != tier.Hot && each.first <= until {
			parts = append(parts, each.matrix)
		}
	}
	if use.entry != nil && use.entry.Born.Before(entry.Born) {
		entry.Born = use.entry.Born
	}
	joined := splice.Join(parts, 0)
	text := make([]byte, 0, joined.Size())
	text, err := appendAll(text, joined.Reader())
	if err != nil {
		return
	}
	if last := pieces[len(parts)-1]; last.last > until {
		// The newest steps of cold may still change.
		matrix, err := splice.Parse(text)
		if err != nil || matrix.Window(entry.First, entry.Last, grid.Step) != nil {
			return
		}
		if text, err = appendAll(nil, splice.Join([]*splice.Matrix{matrix}, 0).Reader()); err != nil {
			return
		}
	}
	entry.Answer = text
	c.put(use, entry)
}

// put keeps an entry once it is clear that cold's stores were complete.
func (c *call) put(use *cacheable, entry *resultcache.Entry) {
	answered, cold, lifetime := time.Now(), c.query.Cold, use.caching.Lifetime
	use.caching.Cache.Put(use.key, entry, use.generation, func() bool {
		ctx, cancel := context.WithTimeout(lifetime, confirmWithin)
		defer cancel()
		return cold.WereStores(ctx, use.stores, use.asked, answered)
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

func appendAll(text []byte, from io.Reader) ([]byte, error) {
	var buffer [32 << 10]byte
	for {
		n, err := from.Read(buffer[:])
		text = append(text, buffer[:n]...)
		if errors.Is(err, io.EOF) {
			return text, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// used says how much of the answer came from the cache.
func (c *call) used(use *cacheable, pieces []*piece) CacheUse {
	found := CacheUse{Result: CacheMiss, Steps: c.planned.stepwise.grid.Len()}
	asked := 0 // steps of cold that were asked for although they may be kept
	for _, each := range pieces {
		switch each.from {
		case "":
			found.Cached += each.last - each.first + 1
			found.Samples += each.matrix.Samples()
		case tier.Cold:
			if use != nil {
				asked += max(0, min(each.last, use.end-1)-each.first+1)
			}
		case tier.Hot, tier.Both:
		}
	}
	switch {
	case use == nil:
		found.Result = CacheNever
	case use.caching.NoRead:
		found.Result = CacheBypass
	case found.Cached > 0 && asked == 0:
		found.Result = CacheHit
	case found.Cached > 0:
		found.Result = CachePartial
	}
	return found
}

// isStepwiseAtCold tells whether a query goes to cold as a whole, and the cache
// may have some of its steps.
func (c *call) isStepwiseAtCold() bool {
	if c.query.Caching == nil || c.planned.Tier != tier.Cold || c.planned.stepwise == nil {
		return false
	}
	_, is := c.query.Splicing.unspliced.Get(c.planned.spliceKey())
	return !is
}
