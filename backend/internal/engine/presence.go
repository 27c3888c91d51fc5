package engine

import (
	"context"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// addPresence adds to the input of the rules what each tier lacks of the metrics that the
// request reads. It measures nothing for requests whose tier is decided without that.
func (p *Plan) addPresence(ctx context.Context) {
	in, evidence := &p.Input, p.replica.Catalog
	isDecided := in.Forced != "" || in.ColdParameter != "" || in.OnlyTier != "" || in.Extent.Nothing
	if isDecided || !in.Hot.Available || !in.Cold.Available || p.traits().Routing.Has(promapi.PerServer) {
		return
	}
	selectors, err := selectorsOf(p.query.Request)
	if err != nil {
		return
	}
	comparing, cancel := context.WithTimeout(ctx, timeToCompare)
	names := p.snapshot.Evidence.NamesRead(comparing, selectors)
	cancel()
	if len(names) == 0 {
		return
	}
	shown, list := map[string]string{}, make([]string, 0, len(names))
	for _, each := range names {
		list = append(list, each.Name)
		if each.Literal || in.Detailed {
			shown[each.Name] = each.Name
		}
	}
	found := evidence.Presence(ctx, list, in.Extent.Oldest, min(in.Extent.Newest, in.Now))
	in.Hot.Missing, in.Cold.Missing = found.Hot, found.Cold
	for _, missing := range [][]tier.Missing{in.Hot.Missing, in.Cold.Missing} {
		for i := range missing {
			missing[i].Metric = shown[missing[i].Metric]
		}
	}
	p.measuredUntil = found.Until
	if len(found.Unmeasured) > 0 {
		p.isUnmeasured = true
		if in.Completeness != tier.Incomplete && in.Unlabelled == "" {
			in.Unmeasured = shown[found.Unmeasured[0]]
			if in.Unmeasured == "" {
				in.Unmeasured = "a metric of such a name"
			}
		}
	}
}
