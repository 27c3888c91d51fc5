package catalog

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// coldEnd is the end of cold's samples.
type coldEnd struct {
	newest   int64 // timestamp of the newest sample in milliseconds; zero if it is unknown
	measured time.Time
	interval time.Duration // measured scrape interval of cold
}

// covered returns the time until which every one of some series of cold has its samples, in milliseconds
// since the Unix epoch. lags reports whether the newest sample was more than two scrape
// intervals old when it was measured.
func (c *Catalog) covered(end *coldEnd) (covered int64, lags bool) {
	interval := max(c.ScrapeInterval(), end.interval)
	// Two intervals before the newest sample of all series, every series has its samples.
	return end.newest - (2 * interval).Milliseconds(), end.measured.Sub(time.UnixMilli(end.newest)) >= 2*interval+ownrequest.Slack
}

// ColdState returns the state of cold with the measured end of its coverage.
func (c *Catalog) ColdState(now time.Time) tier.State {
	state := c.cold.State(now)
	for _, each := range c.samplesRead() {
		if end := each.newest.Load(); end.newest != 0 {
			if covered, lags := c.covered(end); lags {
				state.Newest = min(state.Newest, covered)
			}
		}
	}
	return state
}

// ColdCompleteUntil returns the time until which cold has every sample of hot's series, in
// milliseconds since the Unix epoch. found is false if it is unknown.
func (c *Catalog) ColdCompleteUntil(now time.Time) (until int64, found bool) {
	list := c.samplesRead()
	if len(list) < max(len(c.read), 1) {
		return 0, false // Of one source, nothing is known.
	}
	until = c.ColdState(now).Newest
	for _, each := range list {
		end := each.newest.Load()
		if end.newest == 0 {
			return 0, false
		}
		covered, _ := c.covered(end)
		until = min(until, covered)
	}
	return until, true
}

// measureColdEnd finds the newest sample that cold has of hot's series.
func (c *Catalog) measureColdEnd(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, minProbeTimeout+c.options.Cold.options.ProbeInterval)
	defer cancel()
	list := c.samplesRead()
	isNew := make([]bool, len(list))
	var running sync.WaitGroup
	for i, each := range list {
		_, lags := c.covered(each.newest.Load())
		running.Go(func() { isNew[i] = each.measure(ctx, lags, now) })
	}
	running.Wait()
	end := int64(0) // of the source that is furthest behind
	for _, each := range list {
		if newest := each.newest.Load().newest; newest != 0 && (end == 0 || newest < end) {
			end = newest
		}
	}
	if slices.Contains(isNew, true) {
		c.options.Cold.setEnd(tierEnd{end, now, c.sharedCatalog})
	}
}
