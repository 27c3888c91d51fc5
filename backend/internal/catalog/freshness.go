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

const (
	// noCoverage is the error of a hot tier that answers, but whose coverage is unknown.
	noCoverage = "its oldest sample could not be measured: it has no series that tierproxy can follow, such as up"
	// noStart is the error of a hot tier in which nothing shows its gaps.
	noStart = "gaps in its data could not be looked for: it has no series that tierproxy can follow, such as up, and it does not report its start"
)

// checkFreshness checks whether hot still gets samples, finds gaps, and measures since when hot
// has samples if it does not report it. It returns true if nothing has changed since the last
// check, and if the samples of a single server were read, so that it is sure to answer.
func (t *Tier) checkFreshness(ctx context.Context, status *Status, now time.Time) (isFine bool) {
	if !status.Available {
		return false
	}
	scopes := t.hotStores.look(ctx, t.api, status, now)
	if !status.Available || len(status.Notes) > 0 {
		return false
	}
	isFine = len(scopes) > 0
	var detectors []*gapDetector
	for _, scope := range scopes {
		followed := t.gaps.of(status.server, scope, now)
		if err := followed.follow(ctx, t.api, now); err != nil {
			status.fail(err)
			status.Error = "its newest sample could not be measured: " + status.Error
			return false
		}
		detectors = append(detectors, followed)
	}
	if t.isStale(detectors, status, now) {
		return false
	}
	for _, followed := range detectors {
		if err := t.scan(ctx, followed, status, now); err != nil {
			if upstream.IsGone(err) {
				status.fail(err)
				return false
			}
			status.Oldest = tier.NothingCovered
			status.Error = "gaps in its data could not be looked for: " + upstream.Describe(err)
			return false
		}
		isFine = isFine && len(followed.canaries) > 0 && followed.complete && followed.lookedAt.Before(now)
	}
	t.conclude(detectors, status, now)
	return isFine && status.Error == "" && t.gaps.servers(now) == 1
}

// isStale reports whether no samples come in, and measures the scrape interval.
func (t *Tier) isStale(detectors []*gapDetector, status *Status, now time.Time) bool {
	var newest, fastest int64
	for _, followed := range detectors {
		status.ScrapeInterval = max(status.ScrapeInterval, followed.interval)
		if followed.newest != 0 && (newest == 0 || followed.newest < newest) {
			newest = followed.newest
		}
		if len(followed.canaries) > 0 {
			fastest = max(fastest, followed.canaries[0].interval)
		}
	}
	interval := cmp.Or(max(time.Duration(fastest)*time.Millisecond, t.settings.ScrapeInterval), DefaultScrapeInterval)
	age := now.Sub(time.UnixMilli(newest))
	if newest == 0 || age <= 2*interval+probeSlack {
		return false
	}
	status.Available = false
	status.Error = fmt.Sprintf("its newest sample is %s old: it answers, but no samples come in", age.Round(time.Second))
	return true
}

func (t *Tier) scan(ctx context.Context, followed *gapDetector, status *Status, now time.Time) error {
	bound := status.Oldest
	if !status.reported {
		if err := followed.checkStart(ctx, t.api, now); err != nil {
			return err
		}
		bound = 0
	}
	return followed.scan(ctx, t.api, bound, now)
}

// conclude sets the coverage of hot from what the detectors found.
func (t *Tier) conclude(detectors []*gapDetector, status *Status, now time.Time) {
	measured, sparse := len(detectors) > 0, len(detectors) == 0
	var start int64
	for _, followed := range detectors {
		start = max(start, followed.start)
		// An empty storage, or one that has just started, covers nothing.
		measured, sparse = measured && followed.start != 0, sparse || followed.empty || followed.newest != 0
	}
	status.ContiguousSince = t.gaps.contiguousSince(now)
	switch {
	case measured && !status.reported:
		status.Oldest, status.Error = start, ""
	case measured || (status.reported && status.Stores != nil):
	case !status.reported:
		// The retention that a server reports proves nothing: one that started yesterday has
		// one, too. That of the configuration is a declaration.
		status.Error = cmp.Or(status.Error, noCoverage)
		status.unmeasurable = !sparse
	case status.started.UnixMilli() < earliestTimestamp:
		status.Oldest, status.Error = tier.NothingCovered, noStart
		status.unmeasurable = !sparse
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
