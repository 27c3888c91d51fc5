package catalog

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/gaps"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// DefaultScrapeInterval is the default scrape interval of Prometheus.
const DefaultScrapeInterval = time.Minute

const (
	// noCoverage is the error of a hot tier that answers, but whose coverage is unknown.
	noCoverage = "its oldest sample could not be measured: it has no series that tierproxy can follow, such as up"
	// noStart is the error of a hot tier in which nothing shows its gaps.
	noStart = "gaps in its data could not be looked for: it has no series that tierproxy can follow, such as up, and it does not report its start"
)

// checkFreshness checks whether hot still gets samples, finds gaps, and measures since when hot
// has samples if it does not report it. It returns true if it read samples, nothing has changed,
// and a single server answers.
func (t *Tier) checkFreshness(ctx context.Context, status *Status, now time.Time) (isFine bool) {
	if !status.Available {
		return false
	}
	if t.hotStores.look(ctx, t.api, status, now) {
		t.lookForTenant(ctx, status, now)
		return t.checkSources(ctx, status, now)
	}
	return t.checkSamples(ctx, t.api, status, &t.gaps, "", now)
}

// checkSamples is checkFreshness for the series of a scope, a matcher list without braces. It is empty
// for all series.
func (t *Tier) checkSamples(ctx context.Context, client ownrequest.Client, status *Status, detectors *gaps.Detectors, scope string, now time.Time) (isFine bool) {
	followed, err := detectors.Follow(ctx, client, status.server, []string{scope}, now)
	if err != nil {
		status.fail(err)
		status.Error = "its newest sample could not be measured: " + status.Error
		return false
	}
	if t.isStale(followed, status, now) {
		return false
	}
	var bound int64
	if status.reported {
		bound = status.Oldest
	}
	if err := followed.Scan(ctx, bound, now); err != nil {
		if upstream.IsGone(err) {
			status.fail(err)
			return false
		}
		status.Oldest = tier.NothingCovered
		status.Error = "gaps in its data could not be looked for: " + upstream.Describe(err)
		return false
	}
	t.conclude(followed, status, detectors.ContiguousSince(now))
	return status.Error == "" && followed.IsUnchanged() && detectors.Servers(now) == 1
}

// isStale reports whether no samples come in, and measures the scrape interval.
func (t *Tier) isStale(followed gaps.Followed, status *Status, now time.Time) bool {
	status.ScrapeInterval = max(status.ScrapeInterval, followed.ScrapeInterval())
	status.shortestInterval = followed.CanaryInterval()
	newest := followed.Newest()
	interval := cmp.Or(max(followed.CanaryInterval(), t.settings.ScrapeInterval), DefaultScrapeInterval)
	age := now.Sub(time.UnixMilli(newest))
	if newest == 0 || age <= 2*interval+ownrequest.Slack {
		return false
	}
	status.Available = false
	status.Error = fmt.Sprintf("its newest sample is %s old: it answers, but no samples come in", age.Round(time.Second))
	return true
}

// conclude sets the coverage of hot from what the detectors found.
func (t *Tier) conclude(followed gaps.Followed, status *Status, contiguousSince int64) {
	start, measured, sparse := followed.Start()
	status.ContiguousSince = contiguousSince
	switch {
	case measured && !status.reported:
		status.Oldest, status.Error = start, ""
	case measured || (status.reported && status.Stores != nil):
	case !status.reported:
		// The retention that a server reports proves nothing: one that started yesterday has
		// one, too. That of the configuration is a declaration. It holds from the start of the
		// process on: before, the server may have had another disk.
		status.Error = cmp.Or(status.Error, noCoverage)
		status.unmeasurable = !sparse && status.started.UnixMilli() >= earliestTimestamp
	case status.started.UnixMilli() < earliestTimestamp:
		status.Oldest, status.Error = tier.NothingCovered, noStart
	default:
		// Without canaries, the start may have left a gap.
		status.ContiguousSince = max(status.ContiguousSince, status.started.UnixMilli())
	}
}

// scrapeInterval returns the scrape interval of hot: the longer one of the configured and the
// measured interval.
func (t *Tier) scrapeInterval(status *Status) time.Duration {
	return cmp.Or(max(status.ScrapeInterval, t.settings.ScrapeInterval), DefaultScrapeInterval)
}
