package catalog

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// minProbeTimeout is what a probe may take however short its interval.
	minProbeTimeout = 2 * time.Second
)

// errNoCoverage is why hot covers nothing although it answers.
var errNoCoverage = errors.New("its oldest sample could not be measured: it neither scrapes itself nor tells its blocks")

// measure probes the tier: whether it evaluates a query and, for hot, from
// when on it holds data.
func (c apiClient) measure(ctx context.Context, name tier.Name) Status {
	status := Status{Oldest: tier.NothingCovered}
	started := time.Now()
	err := c.evaluate(ctx)
	status.Latency = time.Since(started)
	switch {
	case err != nil:
		status.failure, status.Error = err, upstream.Describe(err)
	case name == tier.Hot:
		status.Available = true
		err = c.measureCoverage(ctx, &status)
		switch {
		case err != nil && upstream.IsGone(err):
			status.Available, status.failure, status.Error = false, err, upstream.Describe(err)
		case err != nil:
			status.Error = err.Error()
		}
	default:
		status.Available = true
	}
	status.CheckedAt = time.Now()
	return status
}

// measureCoverage finds the oldest sample of hot. Every source that answers
// counts, and the newest of what they say: too late costs speed, too early
// would be a wrong answer. A retention alone is no source, because a
// Prometheus that was started yesterday has it too.
func (c apiClient) measureCoverage(ctx context.Context, status *Status) error {
	var fromMetric, fromBlocks, newest int64
	var metricError, blocksError error
	group, groupContext := errgroup.WithContext(ctx)
	group.Go(func() error { fromMetric, metricError = c.oldestByMetric(groupContext); return nil })
	group.Go(func() error { fromBlocks, newest, blocksError = c.rangeOfBlocks(groupContext); return nil })
	group.Go(func() error { c.readRuntime(groupContext, status); return nil })
	_ = group.Wait() // The functions keep their errors: one of the sources is enough.
	status.newestInHead = newest
	if metricError != nil && blocksError != nil {
		if upstream.IsGone(metricError) {
			return metricError
		}
		return errNoCoverage
	}
	// A source that failed says 1970, and so nothing.
	status.Oldest = max(fromMetric, fromBlocks)
	return nil
}
