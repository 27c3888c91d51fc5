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

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

const (
	// canaryCount is the number of canary series. If all of them are missing, hot was down.
	canaryCount = 3
	// pointsPerScan is the maximum number of points in one range query, of which a Prometheus
	// allows 11,000. scansAtOnce is the maximum number of range queries in one probe.
	pointsPerScan = 10_000
	scansAtOnce   = 8
	// mostSeries is the maximum number of candidates for canaries.
	mostSeries = 2000
)

// DefaultScrapeInterval is the default scrape interval of Prometheus.
const DefaultScrapeInterval = time.Minute

// gapDetector finds the gaps that a Prometheus left while it was down. It follows a few canary
// series named up: a Prometheus writes them at every scrape, even if the target is down.
type gapDetector struct {
	// server identifies the process. Another replica may have other gaps.
	server string
	// canaries are the selectors of the canary series.
	canaries []string
	// interval is the scrape interval of the canaries.
	interval time.Duration
	// checkedUntil is the end of the time without undetected gaps, and contiguousSince the end
	// of the last gap. Both are in milliseconds since the Unix epoch.
	checkedUntil, contiguousSince int64
}

// detect looks for gaps between the last look, or the oldest sample, and now. It sets
// contiguousSince to the end of the last gap. server identifies the process that answers. If
// detect returns an error, nothing is known about the time since the last look.
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
	// The canaries are missing. Other series may still have samples.
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
		// All series of now are new: the gap lasts until now.
		c.contiguousSince = max(c.contiguousSince, now.UnixMilli())
		c.canaries = previous.canaries
	}
	return err
}

// chooseCanaries chooses series that have samples both now and at an earlier time.
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

// scan looks for gaps in the canaries between the last look and now. missing reports whether
// the canaries are missing at the end.
func (c *gapDetector) scan(ctx context.Context, client apiClient, now time.Time) (missing bool, err error) {
	window := 2*c.interval + c.interval/2
	var parts []string
	for _, selector := range c.canaries {
		parts = append(parts, fmt.Sprintf("last_over_time(%s[%dms])", selector, window.Milliseconds()))
	}
	query := fmt.Sprintf("group(%s)", strings.Join(parts, " or "))
	step := max(c.interval, now.Sub(time.UnixMilli(c.checkedUntil))/(pointsPerScan*scansAtOnce)).Truncate(time.Millisecond).Milliseconds()
	// The window of the first point begins where the last scan ended.
	first := c.checkedUntil + window.Milliseconds()
	for from := first; from <= now.UnixMilli(); from += pointsPerScan * step {
		to := min(from+(pointsPerScan-1)*step, now.UnixMilli())
		samples, err := client.samples(ctx, "/api/v1/query_range", url.Values{
			"query": {query}, "start": {promapi.FormatTime(time.UnixMilli(from))}, "end": {promapi.FormatTime(time.UnixMilli(to))},
			"step": {strconv.FormatFloat(float64(step)/1000, 'f', 3, 64)},
		})
		if err != nil {
			return false, err
		}
		expected := from
		for _, sample := range samples {
			point := int64(sample.Timestamp)
			if missing || point != expected {
				// The first sample after the gap is within the window, and those of all other
				// series within another interval.
				c.contiguousSince = max(c.contiguousSince, point+c.interval.Milliseconds())
			}
			missing, expected = false, point+step
			c.checkedUntil = max(c.checkedUntil, point-window.Milliseconds())
		}
		missing = missing || expected <= to
	}
	return missing, nil
}
