package catalog

import (
	"context"
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

// covered returns the time until which every series of cold has its samples, in milliseconds
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
	if end := c.newest.Load(); end.newest != 0 {
		if covered, lags := c.covered(end); lags {
			state.Newest = min(state.Newest, covered)
		}
	}
	return state
}

// ColdCompleteUntil returns the time until which cold has every sample of hot's series, in
// milliseconds since the Unix epoch. found is false if it is unknown.
func (c *Catalog) ColdCompleteUntil(now time.Time) (until int64, found bool) {
	end := c.newest.Load()
	if end.newest == 0 {
		return 0, false
	}
	covered, _ := c.covered(end)
	return min(covered, c.ColdState(now).Newest), true
}

// measureColdEnd finds the newest sample that cold has of hot's series.
func (c *Catalog) measureColdEnd(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, minProbeTimeout+c.options.Cold.options.ProbeInterval)
	defer cancel()
	previous := c.newest.Load()
	_, lags := c.covered(previous)
	newest, found := c.coldEnd.Measure(ctx, previous.newest, lags, now)
	if !found {
		return // The last result stays.
	}
	c.newest.Store(&coldEnd{newest: newest, measured: now, interval: c.coldInterval})
	c.options.Cold.end.Store(newest)
}
