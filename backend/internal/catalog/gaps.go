package catalog

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// canaryCount is how many series of hot are followed to find gaps: if all of
	// them are missing, hot itself was down.
	canaryCount = 3
	// pointsPerScan and scansAtOnce bound how much of the past is looked at in
	// one query, and how many queries one probe makes for it. A Prometheus
	// refuses more than 11,000 points.
	pointsPerScan = 10_000
	scansAtOnce   = 8
	// mostSeries is how many series are looked at to find canaries.
	mostSeries = 2000
)

// DefaultScrapeInterval is the scrape interval of a Prometheus that says nothing.
const DefaultScrapeInterval = time.Minute

// gapDetector finds the gaps that a Prometheus left while it was down. It follows a
// few canary series named up: a Prometheus writes them for every target at every
// scrape, whether the target answers or not.
type gapDetector struct {
	// server identifies the process that was followed: another replica may
	// have other gaps.
	server string
	// canaries are the selectors of the canary series.
	canaries []string
	// interval is the time between two samples of the canaries.
	interval time.Duration
	// Gaps were looked for up to checkedUntil, and there is none after
	// contiguousSince. Milliseconds since the Unix epoch.
	checkedUntil, contiguousSince int64
}

// detect looks for gaps between the last look, or the oldest sample, and now. It
// moves contiguousSince behind the last gap. server identifies the process that
// answers.
//
// It returns an error if hot could not be asked. Then nothing is known of the time
// since the last look.
func (c *gapDetector) detect(ctx context.Context, client apiClient, server string, oldest int64, now time.Time) error {
	if server != c.server {
		*c = gapDetector{server: server, contiguousSince: c.contiguousSince}
	}
	if len(c.canaries) == 0 {
		c.checkedUntil = oldest
		if err := c.chooseCanaries(ctx, client, oldest, now); err != nil || len(c.canaries) == 0 {
			return err
		}
	}
	missing, err := c.scan(ctx, client, now)
	if err != nil || !missing {
		return err
	}
	// The canaries are gone. Are others there that were there before, too?
	previous := *c
	c.canaries = nil
	if err := c.chooseCanaries(ctx, client, c.checkedUntil, now); err != nil {
		*c = previous
		return err
	}
	if len(c.canaries) > 0 {
		missing, err = c.scan(ctx, client, now)
	}
	if err == nil && missing {
		// What is written now was not written before: the gap reaches to now.
		c.contiguousSince = max(c.contiguousSince, now.UnixMilli())
		c.canaries = previous.canaries
	}
	return err
}

// chooseCanaries picks canaries: series that are there now and were there at a time.
func (c *gapDetector) chooseCanaries(ctx context.Context, client apiClient, then int64, now time.Time) error {
	const window = 5 * time.Minute
	start := time.UnixMilli(then)
	if now.Sub(start) < window {
		start = now.Add(-window)
	}
	before, err := client.upSeries(ctx, "up", start, start.Add(window), mostSeries)
	if err != nil {
		return err
	}
	after, err := client.upSeries(ctx, "up", now.Add(-window), now, mostSeries)
	if err != nil {
		return err
	}
	for _, selector := range slices.Sorted(maps.Keys(after)) {
		if _, both := before[selector]; both && len(c.canaries) < canaryCount {
			c.canaries = append(c.canaries, selector)
		}
	}
	c.interval = DefaultScrapeInterval
	if len(c.canaries) == 0 {
		return nil
	}
	interval, err := client.sampleInterval(ctx, c.canaries, now)
	if interval > 0 {
		c.interval = max(interval, time.Second)
	}
	return err
}

// scan looks at the canaries between the last look and now. missing reports whether
// they are missing at the end.
func (c *gapDetector) scan(ctx context.Context, client apiClient, now time.Time) (missing bool, err error) {
	window := 2*c.interval + c.interval/2
	var parts []string
	for _, selector := range c.canaries {
		parts = append(parts, fmt.Sprintf("last_over_time(%s[%dms])", selector, window.Milliseconds()))
	}
	query := fmt.Sprintf("group(%s)", strings.Join(parts, " or "))
	step := max(c.interval, now.Sub(time.UnixMilli(c.checkedUntil))/(pointsPerScan*scansAtOnce)).Truncate(time.Millisecond).Milliseconds()
	// The window of the first point has to lie within what was looked at.
	first := c.checkedUntil + window.Milliseconds()
	for from := first; from <= now.UnixMilli(); from += pointsPerScan * step {
		to := min(from+(pointsPerScan-1)*step, now.UnixMilli())
		samples, err := client.samples(ctx, "/api/v1/query_range", url.Values{
			"query": {query}, "start": {formatSeconds(time.UnixMilli(from))}, "end": {formatSeconds(time.UnixMilli(to))},
			"step": {strconv.FormatFloat(float64(step)/1000, 'f', 3, 64)},
		})
		if err != nil {
			return false, err
		}
		expected := from
		for _, sample := range samples {
			point := int64(sample.Timestamp)
			if missing || point != expected {
				// The first sample after the gap lies within the window; all
				// series are scraped within an interval of each other.
				c.contiguousSince = max(c.contiguousSince, point+c.interval.Milliseconds())
			}
			missing, expected = false, point+step
			c.checkedUntil = max(c.checkedUntil, point-window.Milliseconds())
		}
		missing = missing || expected <= to
	}
	return missing, nil
}
