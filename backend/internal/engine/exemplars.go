package engine

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// uniteExemplars makes the decision for a request for exemplars one for both tiers. Of neither
// is it known which exemplars it holds: remote write leaves them out by default, and a
// Prometheus keeps a number of them, not those of a time range.
func (p *Plan) uniteExemplars() {
	in := &p.Input
	if !p.traits().Routing.Has(promapi.UnionAlways) || p.Rule < 3 || !in.Hot.Available || !in.Cold.Available || p.hotMatchesNone {
		return // Rules 1 and 2 leave no choice.
	}
	if !p.isLabelled {
		why := in.Unlabelled
		if why == "" {
			why = in.CompletenessWhy
		}
		p.Decision = tier.Decision{Tier: tier.Cold, Reason: tier.ReasonNotInHot, Rule: p.Rule, Warnings: []string{
			fmt.Sprintf("exemplars that only the hot tier holds are missing: %s", why),
		}}
		return
	}
	p.Decision = tier.Decision{Tier: tier.Both, Reason: p.Reason, Rule: p.Rule, Warnings: tier.Texts(in.Cold.Notes, in.Detailed)}
}

// selectExemplars sets the request for hot to those selectors of a query that match series
// of hot. Exemplars are selected, not computed: so the rest of the query does not matter.
func (p *Plan) selectExemplars(query *promql.Query, added map[string]string) error {
	var selectors []string
	var failed error
	for _, selector := range query.Selectors() {
		rewritten, err := selector.WithLabels(added)
		if err != nil {
			failed = err
			continue
		}
		selectors = append(selectors, rewritten.String())
	}
	if p.hotMatchesNone = len(selectors) == 0; p.hotMatchesNone {
		return failed
	}
	p.hot = p.query.Request.With(url.Values{"query": {strings.Join(selectors, " or ")}})
	return nil
}
