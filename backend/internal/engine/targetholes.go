package engine

import (
	"context"
	"sync"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/targets"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// targetWait is how long a query waits for what is not known yet about targets.
const targetWait = 500 * time.Millisecond

// addTargetHoles adds to the input of the rules the targets that the replica of hot could not
// scrape for a while, if the request reads their samples and another server has them. While it is
// not known whether cold has them, it counts as if it did, if it covers what is read.
func (p *Plan) addTargetHoles(ctx context.Context) {
	in := &p.Input
	hasOthers := p.query.Datasource.Cold != nil || len(p.others) > 0
	if p.isDecided() || !hasOthers || !in.Hot.Available || in.Completeness == tier.Incomplete || in.Unlabelled != "" {
		return
	}
	ctx, cancel := ownrequest.WithTimeout(ctx, targetWait)
	defer cancel()
	holes := p.targetHoles(ctx)
	if len(holes) == 0 {
		return
	}
	inCold := make([]tier.Presence, len(holes))
	if p.replica.Catalog != nil && in.Cold.Available {
		inCold = p.replica.Catalog.ColdScraped(ctx, holes)
	} else {
		for i := range inCold {
			inCold[i] = tier.Absent
		}
	}
	var others []targets.Hole
	coldCovers := in.ColdCovers()
	for i, hole := range holes {
		switch {
		case inCold[i] == tier.Present, inCold[i] == tier.Unknown && coldCovers:
			in.Hot.Missing = append(in.Hot.Missing, catalog.MissingOf(hole, in.Detailed))
		default:
			others = append(others, hole)
		}
	}
	for _, hole := range p.inReplicas(ctx, others) {
		in.OtherReplicas = append(in.OtherReplicas, catalog.MissingOf(hole, in.Detailed))
	}
}

// targetHoles returns the holes of targets that the request reads.
func (p *Plan) targetHoles(ctx context.Context) []targets.Hole {
	in, reads := p.Input, sync.OnceValue(p.reads)
	return p.replica.Hot.TargetHoles(ctx, p.snapshot.Hot.Honored, func(hole targets.Hole) (list []promql.Selector) {
		if in.Extent.Oldest >= hole.To || min(in.Extent.Newest, in.Now) <= hole.From {
			return nil
		}
		if reads() == nil {
			list, _ = selectorsOf(p.query.Request) // What is not understood gets an error of the tier.
			return list
		}
		for _, read := range reads() {
			if read.Oldest < hole.To && read.Newest > hole.From {
				list = append(list, read.Selector)
			}
		}
		return list
	})
}

// inReplicas returns the holes in which another replica of hot has scraped the targets, or may have.
func (p *Plan) inReplicas(ctx context.Context, holes []targets.Hole) (list []targets.Hole) {
	if len(holes) == 0 {
		return nil
	}
	has := make([]bool, len(holes))
	for _, other := range p.others {
		if !other.Hot.Status().Available {
			continue
		}
		for i, presence := range other.Hot.Scraped(ctx, p.replica.Hot, holes) {
			has[i] = has[i] || presence != tier.Absent
		}
	}
	for i, hole := range holes {
		if has[i] {
			list = append(list, hole)
		}
	}
	return list
}
