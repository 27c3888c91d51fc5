package catalog

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// minProbeTimeout is what a probe may take however short its interval.
const minProbeTimeout = 2 * time.Second

// noCoverage is why hot covers nothing although it answers.
const noCoverage = "its oldest sample could not be measured: it neither scrapes itself nor tells its blocks"

// measure probes the tier: whether it evaluates a query and, for hot, from
// when on it holds data.
func (c apiClient) measure(ctx context.Context, name tier.Name) Status {
	status := Status{Oldest: tier.NothingCovered}
	started := time.Now()
	err := c.evaluate(ctx)
	status.Latency = time.Since(started)
	if status.Available = err == nil; err != nil {
		status.fail(err)
	} else if name == tier.Hot {
		c.measureCoverage(ctx, &status)
	}
	status.CheckedAt = time.Now()
	return status
}

// fail notes that a tier does not answer.
func (s *Status) fail(err error) {
	s.Available, s.failure, s.Error = false, err, upstream.Describe(err)
}

// measureCoverage finds the oldest sample of hot. Of all that the endpoints say, the
// latest counts: too late costs speed, too early would be a wrong answer. A retention
// alone says nothing: a Prometheus that started yesterday has one, too.
func (c apiClient) measureCoverage(ctx context.Context, status *Status) {
	var fromMetric, fromBlocks, newest int64
	var metricError, blocksError error
	group, groupContext := errgroup.WithContext(ctx)
	group.Go(func() error { fromMetric, metricError = c.oldestByMetric(groupContext); return nil })
	group.Go(func() error { fromBlocks, newest, blocksError = c.rangeOfBlocks(groupContext); return nil })
	group.Go(func() error { c.readRuntime(groupContext, status); return nil })
	_ = group.Wait() // The functions keep their errors: one of the sources is enough.
	status.newestInHead = newest
	switch {
	case metricError == nil || blocksError == nil:
		// A source that failed says 1970, and so nothing.
		status.Oldest = max(fromMetric, fromBlocks)
	case upstream.IsGone(metricError):
		status.fail(metricError)
	default:
		status.Error = noCoverage
	}
}
