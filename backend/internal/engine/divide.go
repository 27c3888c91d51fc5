package engine

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

const (
	// leastPart is the shortest part of a query that cold answers in parts.
	leastPart = 24 * time.Hour
	// leastPartSteps is how many steps a part has at least.
	leastPartSteps = 32
	// mostOverhead is which share of a part cold may read once more for another part: the window
	// of the query, and the steps by which a part starts early.
	mostOverhead = 8
	// mostParts is the maximum number of parts: each of them is a query.
	mostParts = 8
)

// engineParameter is the parameter that chooses the PromQL engine of a Thanos for one query.
const engineParameter = "engine"

// MostParts returns into how many parts the steps that cold answers can be divided, so that
// cold computes each on a core of its own. It is 1 if that does not help. The load of cold and the
// cache may allow fewer: see divide.
func (p *Plan) MostParts() int {
	if p.stepwise == nil || p.unjoinable != nil || (p.Cut == nil && !p.isStepwiseAtCold()) {
		return 1
	}
	most := 1
	for _, run := range p.runs() {
		if run.Tier == tier.Cold {
			most = max(most, p.mostPartsOf(run.First, run.Last))
		}
	}
	return min(most, p.query.Datasource.Cold.Parallel())
}

// mostPartsOf returns into how many parts some steps of cold can be divided at most.
func (p *Plan) mostPartsOf(first, last int) int {
	steps := p.stepwise
	step := time.Duration(steps.grid.Step) * time.Millisecond
	length := time.Duration(last-first+1) * step
	if length < 2*leastPart || p.query.Datasource.Cold.Parallel() < 2 || p.cold.Parameters.Get(engineParameter) != "" {
		return 1
	}
	extent, err := steps.extentAt(steps.grid.At(first))
	if err != nil || extent.Nothing || extent.Span == math.MaxInt64 {
		return 1
	}
	overhead := extent.Span + cmp.Or(p.lookback(), promql.DefaultLookbackDelta) + time.Duration(steps.lead)*step
	return max(1, min(mostParts, int(length/max(leastPart, mostOverhead*overhead)), (last-first+1)/leastPartSteps))
}

// divide divides the longest piece that cold has to answer into parts, which cold answers at once.
// There are as many as cold has cores free: none of them delays another query. The headroom, which may
// be nil, is for their calls.
func (p *Plan) divide(pieces []*piece) ([]*piece, *admission.Headroom) {
	longest, others := -1, 0
	for i, piece := range pieces {
		if piece.matrix != nil || piece.from != tier.Cold {
			continue
		}
		if others++; longest < 0 || piece.last-piece.first > pieces[longest].last-pieces[longest].first {
			longest = i
		}
	}
	if longest < 0 {
		return pieces, nil
	}
	whole, others := pieces[longest], others-1
	most := p.mostPartsOf(whole.first, whole.last)
	if most == 1 {
		return pieces, nil
	}
	headroom := p.query.Datasource.Cold.Headroom(p.partsKey(whole), p.query.Caller, most+others)
	count := min(most, headroom.Calls()-others)
	if count < 2 {
		return pieces, headroom
	}
	divided := append([]*piece{}, pieces[:longest]...)
	for i, steps := 0, whole.last-whole.first+1; i < count; i++ {
		divided = append(divided, &piece{first: whole.first + i*steps/count, last: whole.first + (i+1)*steps/count - 1, from: tier.Cold, headroom: headroom})
	}
	if onDivided := p.engine.options.OnDivided; onDivided != nil {
		onDivided()
	}
	return append(divided, pieces[longest+1:]...), headroom
}

// partsKey returns a key of what the parts of a piece are calls for.
func (p *Plan) partsKey(whole *piece) string {
	grid := p.stepwise.grid
	key := p.cacheKey("", timeParameters, p.stepwise.cold.String(), fmt.Sprint(grid.At(whole.first), grid.At(whole.last), grid.Step, p.stepwise.lead))
	return string(key[:])
}
