package engine

import (
	"cmp"
	"context"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// addSampleGaps adds to the input of the rules what each tier lacks of the metrics that the
// request reads. It measures nothing for requests whose tier is decided without that.
func (p *Plan) addSampleGaps(ctx context.Context) {
	in := &p.Input
	if p.isDecided() || !in.Hot.Available || !in.Cold.Available {
		return
	}
	selectors, err := selectorsOf(p.query.Request)
	if err != nil {
		return
	}
	gaps := p.replica.Catalog.SampleGaps(ctx, catalog.SamplesRead{
		Selectors: selectors, Oldest: in.Extent.Oldest, Newest: min(in.Extent.Newest, in.Now), Each: p.reads, Detailed: in.Detailed,
	})
	in.Hot.Missing, in.Cold.Missing, p.comparedUntil = gaps.Hot, gaps.Cold, gaps.Until
	if gaps.Unmeasured == nil {
		return
	}
	p.comparedUntil = 0
	if in.Completeness != tier.Incomplete && in.Unlabelled == "" {
		in.Unmeasured, in.MeasuringFailed = shownMetric(*gaps.Unmeasured), gaps.Failed
		if gaps.Younger != nil {
			in.Younger = shownMetric(*gaps.Younger)
		}
	}
}

// addMerged adds to the input of the rules that cold lacks series that it takes for replicas of one. From
// before hot's coverage nothing else has them.
func (p *Plan) addMerged(ctx context.Context) {
	in := &p.Input
	selectors, err := selectorsOf(p.query.Request)
	if err != nil || in.OnlyTier != "" || in.Extent.Nothing || !p.traits().Evaluates() || p.query.Request.Parameters.Get("dedup") == "false" {
		return
	}
	if p.merged = p.replica.Catalog.Merged(ctx, selectors, in.Extent.Oldest); p.merged != "" && in.Hot.Oldest != tier.NothingCovered {
		in.Cold.Missing = append(in.Cold.Missing, tier.Missing{
			Target: "series that only the label " + p.merged + " tells apart", From: in.Hot.Oldest - 1, To: tier.End,
		})
	}
}

// isDecided reports whether it does not matter for a request what the tiers lack.
func (p *Plan) isDecided() bool {
	in := p.Input
	return in.Forced != "" || in.ColdParameter != "" || in.OnlyTier != "" || in.Extent.Nothing || p.traits().Routing.Has(promapi.PerServer)
}

// shownMetric returns the name of a metric, or words for one that the caller may not see.
func shownMetric(name string) string { return cmp.Or(name, "a metric of such a name") }

// reads returns what each selector of the request reads, or nil if that is not known.
func (p *Plan) reads() []promql.Read {
	request, times := p.query.Request, p.query.Request.TimeRange
	if !request.Endpoint.Traits().Evaluates() {
		return nil
	}
	query, err := promql.Parse(request.Parameters.Get("query"))
	if err != nil {
		return nil
	}
	list, err := query.Reads(promql.Evaluation{Start: times.Start, End: times.End, Step: times.Step, LookbackDelta: p.lookback()})
	if err != nil {
		return nil
	}
	return list
}
