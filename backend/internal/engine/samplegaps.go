package engine

import (
	"cmp"
	"context"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// addSampleGaps adds to the input of the rules what each tier lacks of the metrics that the
// request reads. It measures nothing for requests whose tier is decided without that.
func (p *Plan) addSampleGaps(ctx context.Context) {
	in := &p.Input
	isDecided := in.Forced != "" || in.ColdParameter != "" || in.OnlyTier != "" || in.Extent.Nothing
	if isDecided || !in.Hot.Available || !in.Cold.Available || p.traits().Routing.Has(promapi.PerServer) {
		return
	}
	selectors, err := selectorsOf(p.query.Request)
	if err != nil {
		return
	}
	gaps := p.replica.Catalog.SampleGaps(ctx, selectors, in.Extent.Oldest, min(in.Extent.Newest, in.Now), in.Detailed)
	in.Hot.Missing, in.Cold.Missing, p.comparedUntil = gaps.Hot, gaps.Cold, gaps.Until
	if gaps.Unmeasured == nil {
		return
	}
	p.comparedUntil = 0
	if in.Completeness != tier.Incomplete && in.Unlabelled == "" {
		in.Unmeasured = cmp.Or(*gaps.Unmeasured, "a metric of such a name")
	}
}
