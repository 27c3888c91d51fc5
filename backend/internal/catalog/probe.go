package catalog

import (
	"context"
	"sync"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// minProbeTimeout is the minimum timeout of a probe.
const minProbeTimeout = 2 * time.Second

// noCoverage is the error of a hot tier that answers, but whose coverage is unknown.
const noCoverage = "its oldest sample could not be measured: it neither scrapes itself nor reports its blocks"

// measure checks whether the tier evaluates a query, and measures the start of hot's coverage.
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

// fail records that a tier does not answer.
func (s *Status) fail(err error) {
	s.Available, s.failure, s.Error = false, err, upstream.Describe(err)
}

// measureCoverage finds the oldest sample of hot. Of several results, the latest counts: too
// late makes queries slower, too early would give wrong answers. The retention alone proves
// nothing, because a Prometheus that started yesterday also has one.
func (c apiClient) measureCoverage(ctx context.Context, status *Status) {
	var fromMetric, fromBlocks, newest int64
	var metricError, blocksError error
	var running sync.WaitGroup
	running.Go(func() { fromMetric, metricError = c.oldestByMetric(ctx) })
	running.Go(func() { fromBlocks, newest, blocksError = c.rangeOfBlocks(ctx) })
	running.Go(func() { c.readRuntime(ctx, status) })
	running.Wait()
	status.newestInHead = newest
	switch {
	case metricError == nil || blocksError == nil:
		// A failed request leaves zero, the earliest time.
		status.Oldest = max(fromMetric, fromBlocks)
	case upstream.IsGone(metricError):
		status.fail(metricError)
	default:
		status.Error = noCoverage
	}
}
