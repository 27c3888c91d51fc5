package catalog

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// A range such as [5m], a subquery and the lookback of an instant selector have two ends. Prometheus 3
// leaves the older one out. Prometheus 2 includes both, and so reads one sample more if samples lie at
// multiples of the step. Servers with the engine of Prometheus do as its version does, whatever
// versions they report. So the tier is asked for a query whose answer tells.

// rangeEndsQuery counts the steps within a minute. At rangeEndsTime, both ends of the minute are steps.
const rangeEndsQuery = "count_over_time(vector(1)[1m:1m])"

var rangeEndsTime = time.Unix(3600, 0)

// closedRanges reports whether ranges include both of their ends at a tier. It returns an error if the
// tier does not answer. A tier that refuses the query counts as one like Prometheus 3.
func closedRanges(ctx context.Context, c ownrequest.Client) (bool, error) {
	steps, found, err := c.VectorValue(ctx, rangeEndsQuery, rangeEndsTime)
	if refused, is := errors.AsType[*upstream.StatusError](err); is && refused.Status == http.StatusUnprocessableEntity {
		return false, nil
	}
	if err != nil && !upstream.CannotTell(err) {
		return false, err
	}
	return found && steps == 2, nil
}
