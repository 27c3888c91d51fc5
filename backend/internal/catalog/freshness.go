package catalog

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// probeSlack is how much later than its timestamp a sample may appear.
const probeSlack = 5 * time.Second

// checkFreshness checks whether hot still gets samples, and finds gaps.
func (t *Tier) checkFreshness(ctx context.Context, status *Status, now time.Time) {
	if !status.Available || status.Oldest == tier.NothingCovered {
		return
	}
	client := t.api
	newest, found, err := client.searchNewest(ctx, "up", now, max(status.Oldest, now.Add(-24*time.Hour).UnixMilli()))
	if err != nil {
		status.fail(err)
		status.Error = "its newest sample could not be measured: " + status.Error
		return
	}
	if inHead := min(status.newestInHead, now.UnixMilli()); !found || inHead > newest {
		newest = inHead // Hot may ingest samples that it does not scrape.
	}
	status.ScrapeInterval = t.gaps.interval
	age := now.Sub(time.UnixMilli(newest))
	if newest != 0 && age > 2*t.scrapeInterval(status)+probeSlack {
		status.Available = false
		status.Error = fmt.Sprintf("its newest sample is %s old: it answers, but no samples come in", age.Round(time.Second))
		return
	}
	if err := t.gaps.detect(ctx, client, status.server, status.Oldest, now); err != nil {
		if upstream.IsGone(err) {
			status.fail(err)
			return
		}
		status.Oldest = tier.NothingCovered
		status.Error = "gaps in its data could not be looked for: " + upstream.Describe(err)
		return
	}
	status.ScrapeInterval = t.gaps.interval
	if len(t.gaps.canaries) == 0 {
		// Without canaries, the start may have left a gap.
		status.ContiguousSince = status.started.UnixMilli()
	}
	status.ContiguousSince = max(status.ContiguousSince, t.gaps.contiguousSince)
}

// scrapeInterval returns the scrape interval of hot: the longer one of the configured and the
// measured interval.
func (t *Tier) scrapeInterval(status *Status) time.Duration {
	return cmp.Or(max(status.ScrapeInterval, t.settings.ScrapeInterval), DefaultScrapeInterval)
}
