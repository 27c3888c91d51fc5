package engine

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// lookUpSteps looks up the steps of a range query that the cache has. It returns nil if
// none of them may be kept.
func (p *Plan) lookUpSteps(ctx context.Context, memory *reservation) *lookup {
	steps := p.stepwise
	if steps == nil {
		return nil
	}
	l := p.lookup()
	if l == nil {
		return nil
	}
	var err error
	if l.end, err = p.keptEnd(l.until); err != nil {
		return nil
	}
	if l.run = p.keptRun(l.end); l.run.First > l.run.Last {
		return nil
	}
	phase := steps.grid.Start % steps.grid.Step
	l.key = p.cacheKey(l.stores, timeParameters, steps.cold.String(), fmt.Sprint(steps.grid.Step), fmt.Sprint(phase), fmt.Sprint(steps.lead))
	if !p.query.NoRead {
		l.entry = l.get(ctx, memory)
	}
	return l
}

// timeParameters are in the key in another form, or change no value.
var timeParameters = []string{"query", "start", "end", "step", "limit", "time", "timeout"}

// runs returns which tier answers which steps.
func (p *Plan) runs() []tier.Run {
	if p.Cut != nil {
		return p.Cut.Runs
	}
	return []tier.Run{{Tier: tier.Cold, First: 0, Last: p.stepwise.grid.Len() - 1}}
}

// keptRun returns the longest run of cold before a step. An entry of the cache holds the
// steps of one run. The run is empty if cold answers none of them.
func (p *Plan) keptRun(end int) tier.Run {
	longest := tier.Run{Tier: tier.Cold, First: 0, Last: -1}
	for _, run := range p.runs() {
		run.Last = min(run.Last, end-1)
		if run.Tier == tier.Cold && run.Last-run.First > longest.Last-longest.First {
			longest = run
		}
	}
	return longest
}

// pieces returns the steps that the cache has and those that are missing, in order. It ignores an
// entry that cannot be read, or not within the memory, of which nothing else may be in use yet.
func (p *Plan) pieces(l *lookup, memory *reservation) []*piece {
	grid := p.stepwise.grid
	var list []*piece
	add := func(from tier.Name, first, last int) {
		if first <= last {
			list = append(list, &piece{first: first, last: last, from: from})
		}
	}
	cached := tier.Run{First: 0, Last: -1} // what the cache has
	if l != nil && l.entry != nil {
		cached.First, cached.Last = max(grid.Index(l.entry.First), l.run.First), min(grid.Index(l.entry.Last), l.run.Last)
	}
	if cached.First > cached.Last {
		for _, run := range p.runs() {
			add(run.Tier, run.First, run.Last)
		}
		return list
	}
	matrix, err := parseEntry(l.entry, memory)
	if err == nil {
		err = matrix.Window(grid.At(cached.First), grid.At(cached.Last), grid.Step)
	}
	if err != nil {
		l.entry = nil
		memory.release()
		return p.pieces(l, memory)
	}
	runs := slices.Clone(p.runs())
	for i, run := range runs {
		if run.Tier != tier.Cold || cached.First < run.First || cached.Last > run.Last {
			add(run.Tier, run.First, run.Last)
			continue
		}
		add(tier.Cold, run.First, cached.First-1)
		list = append(list, &piece{first: cached.First, last: cached.Last, matrix: matrix})
		if cut := p.Cut; cut != nil && i == len(runs)-2 && cached.Last+1 >= cut.Earliest && run.Last-cached.Last <= max(fewSteps, (cached.Last-cached.First)/8) {
			runs[i+1].First = cached.Last + 1 // A few more steps cost hot less than another query costs cold.
			continue
		}
		add(tier.Cold, cached.Last+1, run.Last)
	}
	return list
}

// parseEntry finds the series of an entry.
func parseEntry(entry *cache.Entry, memory *reservation) (*splice.Matrix, error) {
	if entry.IsPacked {
		return splice.Unpack(entry.Answer, memory.acquire)
	}
	return splice.Parse(entry.Answer, nil)
}

const (
	// fewSteps is how many more steps always come from hot.
	fewSteps = 16
	// fewNew is how many steps of cold the cache may lack: to query them again costs
	// less than to write the entry for each of them.
	fewNew = 4
)

// keepSteps keeps what cold has answered and can no longer change.
func (l *lookup) keepSteps(pieces []*piece) {
	if l == nil || l.plan.query.NoStore {
		return
	}
	grid := l.plan.stepwise.grid
	var parts []*splice.Matrix
	fresh, until := 0, -1 // the steps that the cache lacks, and the last one to keep
	for _, piece := range pieces {
		if piece.from == tier.Cold && !mayBeRepeated(piece.matrix.Warnings) {
			return
		}
		if piece.from == tier.Hot || piece.first < l.run.First || piece.first > l.run.Last {
			continue
		}
		until = min(piece.last, l.run.Last)
		parts = append(parts, piece.matrix)
		if piece.from == tier.Cold {
			fresh += until - piece.first + 1
		}
	}
	if fresh == 0 || (l.entry != nil && fresh < min(fewNew, (until-l.run.First)/8)) {
		return
	}
	entry := &cache.Entry{First: grid.At(l.run.First), Last: grid.At(until), Born: l.askedAt}
	if l.entry != nil && l.entry.Born.Before(entry.Born) {
		entry.Born = l.entry.Born
	}
	// The newest steps of cold may still change. They are in the answer, but behind
	// entry.Last, so that they are not read.
	joined := splice.Join(parts, 0)
	text := bytes.NewBuffer(make([]byte, 0, joined.Size()+bytes.MinRead))
	if _, err := text.ReadFrom(joined.Reader()); err != nil {
		return
	}
	entry.Answer = text.Bytes()
	l.put(entry, func(entry *cache.Entry) bool { return packSteps(entry, grid.Step) })
}

// packSteps packs the steps of an entry, if that makes it shorter. It returns false for what cannot
// be read again.
func packSteps(entry *cache.Entry, step int64) bool {
	matrix, err := splice.Parse(entry.Answer, nil)
	if err == nil {
		err = matrix.Window(entry.First, entry.Last, step)
	}
	if err != nil {
		return false
	}
	if packed, ok := matrix.Pack(); ok && len(packed) <= len(entry.Answer) {
		entry.Answer, entry.IsPacked = packed, true
	}
	return true
}

// usedSteps returns how much of the answer came from the cache.
func (p *Plan) usedSteps(l *lookup, pieces []*piece) CacheUse {
	use := CacheUse{Result: CacheMiss, Steps: p.stepwise.grid.Len()}
	uncached := 0 // steps of cold that may be kept
	for _, piece := range pieces {
		switch piece.from {
		case "":
			use.Cached += piece.last - piece.first + 1
			use.Samples += piece.matrix.Samples()
		case tier.Cold:
			if l != nil {
				uncached += max(0, min(piece.last, l.run.Last)-max(piece.first, l.run.First)+1)
			}
		case tier.Hot, tier.Both:
		}
	}
	switch {
	case l == nil:
		use.Result = CacheNever
	case p.query.NoRead:
		use.Result = CacheBypass
	case use.Cached > 0 && uncached == 0:
		use.Result = CacheHit
	case use.Cached > 0:
		use.Result = CachePartial
	}
	return use
}

// isStepwiseAtCold reports whether cold answers the query, and the cache may have steps.
func (p *Plan) isStepwiseAtCold() bool {
	return p.isCached() && p.Tier == tier.Cold && p.stepwise != nil && p.unjoinable == nil
}
