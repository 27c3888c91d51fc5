package catalog

import (
	"context"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// A range such as [5m], a subquery and the lookback of an instant selector have two ends. Prometheus 3
// leaves the older one out. Prometheus 2 includes both, and so reads one sample more if samples lie at
// multiples of the step. Servers with the engine of Prometheus do as its version does, whatever
// versions they report. So the tier is asked for a query whose answer tells.

// rangeEndsQuery counts the steps of a minute in a minute that ends at such a step: see closedRanges.
const rangeEndsQuery = "count_over_time(vector(1)[1m:1m])"

// closedRanges reports whether ranges include both of their ends at a tier. It returns an error if the
// tier does not answer. A tier that refuses the query, or answers neither 1 nor 2, counts as one
// like Prometheus 3.
func closedRanges(ctx context.Context, c ownrequest.Client) (bool, error) {
	steps, _, err := c.VectorValue(ctx, rangeEndsQuery, time.Unix(int64(time.Hour/time.Second), 0))
	if err != nil && !upstream.CannotTell(err) {
		return false, err
	}
	return err == nil && steps == 2, nil
}
