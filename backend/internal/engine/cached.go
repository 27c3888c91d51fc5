package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// useCache looks up what the cache has of a range query that cold answers, or a
// part of it. It returns nil where nothing of it may be kept.
func (c *call) useCache(ctx context.Context, held *lease) *cacheable {
	steps := c.planned.stepwise
	if steps == nil {
		return nil
	}
	use := c.cacheable()
	if use == nil {
		return nil
	}
	failed := false
	use.end = sort.Search(steps.grid.Len(), func(i int) bool {
		extent, err := steps.extentAt(steps.grid.At(i))
		failed = failed || err != nil
		return err != nil || (!extent.Nothing && extent.Newest > use.until)
	})
	if failed || use.end == 0 {
		return nil
	}
	phase := steps.grid.Start % steps.grid.Step
	use.key = c.cacheKey(use.stores, timeParameters, steps.cold, fmt.Sprint(steps.grid.Step), fmt.Sprint(phase), fmt.Sprint(steps.lead))
	if use.caching.NoRead {
		return use
	}
	use.entry = use.caching.Cache.Get(ctx, use.key, func(bytes int64) bool { return held.take(bytes) == nil })
	return use
}

// timeParameters are those that the key holds in another form, or that change no
// value: what the pieces are cut from and joined to.
var timeParameters = []string{"query", "start", "end", "step", "limit", "time", "timeout"}

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

const (
	// fewSteps is how many steps more hot is asked for without a thought.
	fewSteps = 16
	// fewNew is how many steps of cold the cache may lack: an entry that was
	// written anew for each of them would cost more than to ask for them again.
	fewNew = 4
)

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
	if fresh == 0 || (use.entry != nil && fresh < min(fewNew, until/8)) {
		return
	}
	entry := &cache.Entry{First: grid.At(0), Last: grid.At(until), Born: use.asked}
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
	c.put(use, entry, nil)
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
