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

// wholeProbeInterval is the time after which a probe is a whole one although nothing has changed.
const wholeProbeInterval = 50 * time.Second

// look looks at the tier, and returns its new status. A whole look asks everything. In between,
// the newest sample of hot and the stores of cold say enough, as long as nothing changes.
func (t *Tier) look(ctx context.Context, now time.Time) Status {
	if !t.status.Load().Available {
		t.wholeAt = time.Time{}
	}
	look := t.lookAtCold
	if t.options.Name == tier.Hot {
		look = t.lookAtHot
	}
	isWhole := now.Sub(t.wholeAt) >= wholeProbeInterval
	status, isFine := look(ctx, now, isWhole)
	if !isFine && !isWhole {
		t.wholeAt, isWhole = time.Time{}, true
		status, isFine = look(ctx, now, isWhole)
	}
	switch {
	case !isFine:
		t.wholeAt = time.Time{}
	case isWhole:
		t.wholeAt = now
	}
	status.CheckedAt = time.Now()
	return status
}

// lookAtHot looks whether hot gets samples, and measures its coverage. isFine is set if nothing
// has changed, so that the next look need not be a whole one.
func (t *Tier) lookAtHot(ctx context.Context, now time.Time, isWhole bool) (status Status, isFine bool) {
	if isWhole {
		t.whole = Status{Available: true, Oldest: tier.NothingCovered}
	}
	if t.wholeAt.IsZero() {
		t.hotStores.watch.forget404()
		t.api.measureLatency(ctx, &t.whole)
	}
	if isWhole && t.whole.Available {
		t.api.measureCoverage(ctx, &t.whole)
	}
	status = t.whole
	return status, t.checkFreshness(ctx, &status, now)
}

// lookAtCold is lookAtHot for cold, which lists its stores if it is a Thanos.
func (t *Tier) lookAtCold(ctx context.Context, now time.Time, isWhole bool) (status Status, isFine bool) {
	if t.wholeAt.IsZero() {
		t.stores.forget404()
	}
	isThanos := t.stores.seen != nil
	if isWhole {
		t.whole = Status{Available: true, Oldest: tier.NothingCovered}
	}
	if isWhole || !isThanos {
		t.api.measureLatency(ctx, &t.whole)
	}
	if status = t.whole; !status.Available {
		return status, false
	}
	if isWhole {
		t.api.readRuntime(ctx, &t.whole)
		t.whole.Retention = 0 // That of cold does not count.
		status = t.whole
	}
	status.Stores, status.Notes = t.stores.look(ctx, t.api, now)
	if status.Stores != nil && len(status.Stores) == 0 {
		// Its answers would all be empty.
		status.Available, status.Error = false, noStoresYet
	}
	return status, status.Available && len(status.Notes) == 0 && (status.Stores != nil || !isThanos)
}

// measureLatency checks whether the tier evaluates a query, and how long that takes.
func (c apiClient) measureLatency(ctx context.Context, status *Status) {
	began := time.Now()
	err := c.evaluate(ctx)
	if status.Latency = time.Since(began); err != nil {
		status.fail(err)
	}
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
