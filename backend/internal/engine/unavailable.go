package engine

import (
	"context"
	"slices"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// nameSource names the source of hot in explanations if it is unavailable and others are not meant.
func (p *Plan) nameSource() {
	if in := &p.Input; in.Detailed && !in.Hot.Available && len(p.matching.all) > 1 {
		in.Source = p.ownSource().text()
	}
}

// isCompleteButUnavailable reports whether cold answers only because this source of hot is down.
func (p *Plan) isCompleteButUnavailable() bool {
	return p.Tier == tier.Cold && p.Reason == tier.ReasonHotUnavailable && p.Input.Completeness != tier.Incomplete
}

// explainedBy returns the plan that explains best why cold answers a query for which no source of hot
// that is available is complete: that of a source which would be complete, but is down. The tier is the
// same. unavailable is such a plan among those that were made, or nil.
func (p *Plan) explainedBy(ctx context.Context, unavailable *Plan) *Plan {
	switch {
	case p.Tier != tier.Cold || p.Reason != tier.ReasonNotInHot || p.Input.NoSource:
		return p
	case unavailable != nil:
		return unavailable
	case len(p.names) == 0 || len(p.matching.candidates) <= mostCandidates:
		return p
	}
	about, available, planned := p.subject, 0, 0
	for _, about.hotSource = range p.matching.candidates {
		if available == mostCandidates || planned == mostCandidates {
			break // Later ones would not be tried either if they were available.
		}
		if about.hotSource.isAvailable() {
			available++
			continue
		}
		if !about.hotSource.hadAll(p.names, p.Input.Extent.Oldest) {
			continue
		}
		planned++
		if plan, err := about.plan(ctx); err == nil && plan.isCompleteButUnavailable() {
			return plan
		}
	}
	return p
}

// hadAll reports whether a server of the source is known to have all of some metrics. It asks nothing.
func (s source) hadAll(names []string, oldest int64) bool {
	now := time.Now()
	return slices.ContainsFunc(s.replicas, func(replica Replica) bool {
		return replica.Hot.Probed() && replica.Hot.HasAll(names, max(oldest, replica.Hot.State(now).Oldest))
	})
}
