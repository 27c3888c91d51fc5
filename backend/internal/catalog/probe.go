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

// measureCoverage reads since when a Prometheus has samples, from the list of its blocks. A
// metric such as prometheus_tsdb_lowest_timestamp_seconds proves nothing: it may be that of
// another server. Without the list, checkFreshness measures the coverage.
func (c apiClient) measureCoverage(ctx context.Context, status *Status) {
	var oldest int64
	var err error
	var running sync.WaitGroup
	running.Go(func() { oldest, err = c.oldestBlock(ctx) })
	running.Go(func() { c.readRuntime(ctx, status) })
	running.Wait()
	switch {
	case err == nil:
		status.Oldest, status.reported = oldest, oldest != tier.NothingCovered
	case upstream.IsGone(err):
		status.fail(err)
	}
}
