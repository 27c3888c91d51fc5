package diagnosis

import (
	"context"
	"fmt"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// ruleOfCompleteness is the routing rule that hot has to be complete.
const ruleOfCompleteness = 4

// unused adds an error if hot answers not even an instant query that names the labels of its own source.
// What the reports on the tiers say already, such as an unknown coverage, is not repeated.
func (a *advice) unused(ctx context.Context) error {
	if a.selector == "" || !a.hasHot() || len(a.labelsOfHot()) == 0 {
		return nil
	}
	query := &rangeQuery{step: minStep, text: a.selector}
	if err := a.planUntilDecided(ctx, query); err != nil {
		return err
	}
	if query.plan.Tier == tier.Cold && query.plan.Rule == ruleOfCompleteness {
		a.add("routing", SeverityError, fmt.Sprintf("hot answers not even %s: %s", a.selector, query.plan.Sentence(query.plan.Input)),
			"compare the external labels of hot with those of its series in cold. Health says in learning_error and evidence_missing what tierproxy could not find out")
	}
	return nil
}
