package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
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
	mostSeries      = 2000
	defaultInterval = DefaultScrapeInterval
)

// DefaultScrapeInterval is the scrape interval of a Prometheus that says nothing.
const DefaultScrapeInterval = time.Minute

// gapDetector finds the gaps that a Prometheus which was down has left. It
// follows a few series named up: a Prometheus writes them for every target at
// every scrape, whether the target answers or not.
type gapDetector struct {
	// server identifies the process that was followed: another replica may
	// have other gaps.
	server string
	// canaries are the selectors of the canary series.
	canaries []string
	// interval is the time between two samples of the canaries.
	interval time.Duration
	// checkedUntil is up to when gaps were looked for; contiguousSince is since when there
	// has been none. Milliseconds since the Unix epoch.
	checkedUntil, contiguousSince int64
}

// detect looks for gaps from the oldest sample, or from where it looked last,
// to now, and moves contiguousSince behind the last one. server identifies the
// process that answers.
//
// It returns an error when hot could not be asked; then nothing is known of
// the time since it looked last.
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
	c.interval = defaultInterval
	if len(c.canaries) == 0 {
		return nil
	}
	interval, err := client.sampleInterval(ctx, c.canaries, now)
	if interval > 0 {
		c.interval = max(interval, time.Second)
	}
	return err
}

// scan looks at the canaries from where it looked last to now. missing tells
// that they are missing at the end.
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
		points, err := client.present(ctx, query, from, to, step)
		if err != nil {
			return false, err
		}
		expected := from
		for _, point := range points {
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

// sampleInterval returns the time between two samples of the given series, the
// longest one; zero where they have too few.
func (c apiClient) sampleInterval(ctx context.Context, series []string, now time.Time) (time.Duration, error) {
	var longest time.Duration
	for _, selector := range series {
		data, err := c.Get(ctx, "/api/v1/query", url.Values{"query": {selector + "[15m]"}, "time": {formatSeconds(now)}})
		if err != nil {
			return 0, err
		}
		var answer struct {
			Result model.Matrix `json:"result"`
		}
		if err := json.Unmarshal(data, &answer); err != nil {
			return 0, errors.Join(upstream.ErrNotAnAnswer, err)
		}
		if len(answer.Result) == 0 || len(answer.Result[0].Values) < 2 {
			continue
		}
		samples := answer.Result[0].Values
		var distances []time.Duration
		for i := 1; i < len(samples); i++ {
			distances = append(distances, samples[i].Timestamp.Sub(samples[i-1].Timestamp))
		}
		slices.Sort(distances)
		longest = max(longest, distances[len(distances)/2])
	}
	return longest, nil
}

// upSeries returns selectors of the series that a selector of series named up
// finds in a time range, at most so many.
func (c apiClient) upSeries(ctx context.Context, selector string, start, end time.Time, limit int) (map[string]struct{}, error) {
	data, err := c.Get(ctx, "/api/v1/series", url.Values{
		"match[]": {selector}, "start": {formatSeconds(start)}, "end": {formatSeconds(end)}, "limit": {strconv.Itoa(limit)},
	})
	selectors := map[string]struct{}{}
	if upstream.CannotTell(err) {
		return selectors, nil
	}
	if err != nil {
		return nil, err
	}
	var list []model.LabelSet
	if json.Unmarshal(data, &list) != nil {
		return selectors, nil //nolint:nilerr // What is no list of series holds none.
	}
	for _, set := range list {
		var matchers []string
		for name, value := range set {
			if name != model.MetricNameLabel {
				matchers = append(matchers, fmt.Sprintf("%s=%q", quoteName(string(name)), string(value)))
			}
		}
		slices.Sort(matchers)
		selectors["up{"+strings.Join(matchers, ",")+"}"] = struct{}{}
	}
	return selectors, nil
}

// quoteName quotes a label name where PromQL asks for it.
func quoteName(name string) string {
	if model.LegacyValidation.IsValidLabelName(name) {
		return name
	}
	return strconv.Quote(name)
}

// present returns the evaluation times, in milliseconds, at which a range
// query yields something.
func (c apiClient) present(ctx context.Context, query string, from, to, step int64) ([]int64, error) {
	data, err := c.Get(ctx, "/api/v1/query_range", url.Values{
		"query": {query}, "start": {formatSeconds(time.UnixMilli(from))}, "end": {formatSeconds(time.UnixMilli(to))},
		"step": {strconv.FormatFloat(float64(step)/1000, 'f', 3, 64)},
	})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Result model.Matrix `json:"result"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, errors.Join(upstream.ErrNotAnAnswer, err)
	}
	if len(answer.Result) == 0 {
		return nil, nil
	}
	points := make([]int64, 0, len(answer.Result[0].Values))
	for _, sample := range answer.Result[0].Values {
		points = append(points, int64(sample.Timestamp))
	}
	return points, nil
}

// newestSample returns the timestamp of the newest sample that the selector of
// up series finds at a time, in milliseconds; found is false where it finds
// none within the lookback.
func (c apiClient) newestSample(ctx context.Context, selector string, at time.Time) (newest int64, found bool, err error) {
	seconds, found, err := c.vectorValue(ctx, "max(timestamp("+selector+"))", at)
	if err != nil || !found || math.IsNaN(seconds) {
		return 0, false, err
	}
	return int64(math.Round(seconds * 1000)), true, nil
}

// searchNewest is newestSample for a tier whose samples may have ended long
// ago: where the lookback finds nothing, it looks further and further back, at
// most to the given time, and says so by it.
func (c apiClient) searchNewest(ctx context.Context, selector string, now time.Time, earliest int64) (newest int64, found bool, err error) {
	newest, found, err = c.newestSample(ctx, selector, now)
	for back := 5 * time.Minute; err == nil && !found; back *= 2 {
		at := now.Add(-back)
		if at.UnixMilli() < earliest {
			return earliest, false, nil
		}
		newest, found, err = c.newestSample(ctx, selector, at)
	}
	return newest, found, err
}
