package engine

import (
	"bytes"
	"context"
	"fmt"
	"sort"

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
	failed := false
	l.end = sort.Search(steps.grid.Len(), func(i int) bool {
		extent, err := steps.extentAt(steps.grid.At(i))
		failed = failed || err != nil
		return err != nil || (!extent.Nothing && extent.Newest > l.until)
	})
	if failed || l.end == 0 {
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

// pieces returns the steps that the cache has and those that are missing, in order.
func (p *Plan) pieces(l *lookup) ([]*piece, error) {
	grid := p.stepwise.grid
	steps := grid.Len()
	hot := steps // the first step of hot
	if p.Cut != nil {
		hot = p.Cut.First
	}
	var list []*piece
	add := func(from tier.Name, first, last int) {
		if first <= last {
			list = append(list, &piece{first: first, last: last, from: from})
		}
	}
	first, last := 0, -1 // of what the cache has
	if l != nil && l.entry != nil {
		first, last = max(grid.Index(l.entry.First), 0), min(grid.Index(l.entry.Last), l.end-1, hot-1)
	}
	if first > last {
		add(tier.Cold, 0, hot-1)
		add(tier.Hot, hot, steps-1)
		return list, nil
	}
	add(tier.Cold, 0, first-1)
	matrix, err := splice.Parse(l.entry.Answer, nil)
	if err == nil {
		err = matrix.Window(grid.At(first), grid.At(last), grid.Step)
	}
	if err != nil {
		return nil, err
	}
	list = append(list, &piece{first: first, last: last, matrix: matrix})
	if cut := p.Cut; cut != nil && last+1 >= cut.Earliest && hot-last-1 <= max(fewSteps, (last-first)/8) {
		hot = last + 1 // A few more steps cost hot less than another query costs cold.
	}
	add(tier.Cold, last+1, hot-1)
	add(tier.Hot, hot, steps-1)
	return list, nil
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
		if piece.from == tier.Hot {
			break // Those of cold come first.
		}
		if piece.from == tier.Cold && !mayBeRepeated(piece.matrix.Warnings) {
			return
		}
		if until = min(piece.last, l.end-1); piece.first > until {
			continue
		}
		parts = append(parts, piece.matrix)
		if piece.from == tier.Cold {
			fresh += until - piece.first + 1
		}
	}
	if fresh == 0 || (l.entry != nil && fresh < min(fewNew, until/8)) {
		return
	}
	entry := &cache.Entry{First: grid.At(0), Last: grid.At(until), Born: l.askedAt}
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
	l.put(entry, nil)
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
				uncached += max(0, min(piece.last, l.end-1)-piece.first+1)
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
	if !p.isCached() || p.Tier != tier.Cold || p.stepwise == nil {
		return false
	}
	_, is := p.engine.unjoinableReason(p.pieceKey())
	return !is
}
