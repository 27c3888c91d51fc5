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

// lookUpSteps looks up what the cache has of a range query that cold answers, or a
// part of it. It returns nil where nothing of it may be kept.
func (p *Plan) lookUpSteps(ctx context.Context, held *reservation) *lookup {
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
		l.entry = l.get(ctx, held)
	}
	return l
}

// timeParameters are those that the key holds in another form, or that change no
// value: what the pieces are cut from and joined to.
var timeParameters = []string{"query", "start", "end", "step", "limit", "time", "timeout"}

// pieces are what the answer is put together from: what the cache has, and the
// steps that are missing.
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
	// fewSteps is how many steps more hot is asked for without a thought.
	fewSteps = 16
	// fewNew is how many steps of cold the cache may lack: an entry that was
	// written anew for each of them would cost more than to ask for them again.
	fewNew = 4
)

// keepSteps keeps what cold has answered and can no longer change.
func (l *lookup) keepSteps(pieces []*piece) {
	if l == nil || l.plan.query.NoStore {
		return
	}
	grid := l.plan.stepwise.grid
	var parts []*splice.Matrix
	fresh, until, last := 0, -1, -1 // the steps that the cache lacks, the last one to keep, and the last one of the parts
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
		parts, last = append(parts, piece.matrix), piece.last
		if piece.from == tier.Cold {
			fresh += until - piece.first + 1
		}
	}
	if fresh == 0 || (l.entry != nil && fresh < min(fewNew, until/8)) {
		return
	}
	entry := &cache.Entry{First: grid.At(0), Last: grid.At(until), Born: l.asked}
	if l.entry != nil && l.entry.Born.Before(entry.Born) {
		entry.Born = l.entry.Born
	}
	text, err := textOf(parts...)
	if err == nil && last > until {
		// The newest steps of cold may still change.
		var matrix *splice.Matrix
		if matrix, err = splice.Parse(text, nil); err == nil {
			err = matrix.Window(entry.First, entry.Last, grid.Step)
		}
		if err == nil {
			text, err = textOf(matrix)
		}
	}
	if err != nil {
		return
	}
	entry.Answer = text
	l.put(entry, nil)
}

// textOf returns the answer that some pieces make together.
func textOf(parts ...*splice.Matrix) ([]byte, error) {
	joined := splice.Join(parts, 0)
	text := bytes.NewBuffer(make([]byte, 0, joined.Size()+bytes.MinRead))
	_, err := text.ReadFrom(joined.Reader())
	return text.Bytes(), err
}

// usedSteps says how much of the answer came from the cache.
func (p *Plan) usedSteps(l *lookup, pieces []*piece) CacheUse {
	use := CacheUse{Result: CacheMiss, Steps: p.stepwise.grid.Len()}
	uncached := 0 // steps that cold was asked for although they may be kept
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

// isStepwiseAtCold reports whether a query goes to cold as a whole, and the cache
// may have some of its steps.
func (p *Plan) isStepwiseAtCold() bool {
	if !p.isCached() || p.Tier != tier.Cold || p.stepwise == nil {
		return false
	}
	_, is := p.engine.unjoinableReason(p.pieceKey())
	return !is
}
