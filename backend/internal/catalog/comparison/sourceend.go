package comparison

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

const (
	// OldestEnd is how far back from now the end of a source is looked for. A source that ended
	// before counts as gone.
	OldestEnd = 24 * time.Hour
	// sourceCanaries is the maximum number of series by which the end of a source is measured, and
	// sourceNames the maximum number of metrics that they belong to.
	sourceCanaries, sourceNames = 8, 4
	// namesListed is the maximum number of metric names among which these are chosen.
	namesListed = 200
	// intervalWindow is the time in which the scrape interval is measured.
	intervalWindow = 15 * time.Minute
	// endResolution is the distance of the times at which canaries are looked at. It is shorter than
	// the lookback delta of Prometheus.
	endResolution = 4 * time.Minute
)

// endWindows are how far back from now the canaries are looked for, one after the other.
var endWindows = []time.Duration{10 * time.Minute, time.Hour, 6 * time.Hour, OldestEnd}

// SourceEnd measures where the samples of one source of a tier end, by a few of its series. It is not
// safe for concurrent use.
type SourceEnd struct {
	questions sampleQuestions
	scope     string
	every     time.Duration // the least time between two searches

	canaries []string // selectors
	newest   int64
	interval time.Duration
	searched time.Time
}

// NewSourceEnd returns a SourceEnd for the series of a scope, a matcher list without braces. every is
// the least time between two searches for the end of a source that gets no new samples.
func NewSourceEnd(client ownrequest.Client, scope string, every time.Duration) *SourceEnd {
	return &SourceEnd{questions: sampleQuestions{client}, scope: scope, every: every}
}

// Interval returns the longest scrape interval of the canaries, or zero before there are any.
func (e *SourceEnd) Interval() time.Duration { return e.interval }

// Measure returns the timestamp of the newest sample of the source that is not after a time, in
// milliseconds since the Unix epoch. A later sample may exist of series that are not looked at. It
// returns zero if there is none within OldestEnd, and an error if that is not certain.
func (e *SourceEnd) Measure(ctx context.Context, at time.Time) (newest int64, err error) {
	if len(e.canaries) > 0 {
		newest, found, err := e.newestIn(ctx, 0, at)
		if err != nil {
			return 0, err
		}
		if found && newest > e.newest {
			e.newest = newest
		}
		if e.isFresh(at) {
			return e.newest, nil
		}
	}
	if e.searched.IsZero() || at.Sub(e.searched) >= e.every {
		if err := e.search(ctx, at); err != nil {
			return 0, err
		}
		e.searched = at
	}
	if at.Sub(time.UnixMilli(e.newest)) > OldestEnd {
		return 0, nil
	}
	return e.newest, nil
}

// Unbroken returns the time until which no samples of the source are missing, in milliseconds since the Unix
// epoch: its newest sample, or the last one before the first hole, if isBroken. It looks at the time OldestEnd before
// the newest sample, and returns the start of that if there is a hole at once. If Measure has not found a sample, nothing
// is missing.
func (e *SourceEnd) Unbroken(ctx context.Context) (until int64, isBroken bool, err error) {
	if len(e.canaries) == 0 {
		return e.newest, false, nil
	}
	until = e.newest - OldestEnd.Milliseconds()
	found, err := e.points(ctx, e.newestOfAll(), OldestEnd, time.UnixMilli(e.newest))
	if err != nil {
		return 0, false, err
	}
	longest := (endResolution + 2*e.interval + ownrequest.Slack).Milliseconds()
	for _, seconds := range found {
		at := int64(math.Round(seconds * 1000))
		if math.IsNaN(seconds) || at-until > longest {
			break
		}
		until = max(until, at)
	}
	return until, until < e.newest, nil
}

// isFresh reports whether the newest sample is the last one that a series of the source can have
// before a time.
func (e *SourceEnd) isFresh(at time.Time) bool {
	return e.interval > 0 && at.Sub(time.UnixMilli(e.newest)) <= 2*e.interval+ownrequest.Slack
}

// search looks for series with samples that are newer than the newest one so far.
func (e *SourceEnd) search(ctx context.Context, at time.Time) error {
	since := at.Sub(time.UnixMilli(e.newest))
	for _, window := range endWindows {
		isLast := window >= since
		canaries, err := e.list(ctx, window, at)
		if err != nil {
			return err
		}
		isNew, err := e.accept(ctx, canaries, window, at)
		if err == nil && len(canaries) > 0 && window == endWindows[0] && !e.isFresh(at) {
			// Some stores list series of dead targets for hours, and only a few are looked at.
			var isNewer bool
			if canaries, err = e.newestUp(ctx, at); err == nil {
				isNewer, err = e.accept(ctx, canaries, window, at)
			}
			isNew = isNew || isNewer
		}
		if err != nil || isNew || isLast {
			return err
		}
	}
	return nil
}

// accept takes series as canaries if one of them has a newer sample than the newest one so far.
func (e *SourceEnd) accept(ctx context.Context, canaries []string, window time.Duration, at time.Time) (isNew bool, err error) {
	if len(canaries) == 0 {
		return false, nil
	}
	tried := *e
	tried.canaries = canaries
	newest, found, err := tried.newestIn(ctx, window, at)
	if err != nil || !found || newest <= e.newest {
		return false, err
	}
	interval, err := tried.measureInterval(ctx, time.UnixMilli(newest))
	if err != nil {
		return false, err
	}
	e.canaries, e.newest, e.interval = canaries, newest, interval
	return true, nil
}

// list returns selectors of some series that may have samples in a window before a time: of those
// named up, and otherwise of some other metrics.
func (e *SourceEnd) list(ctx context.Context, window time.Duration, at time.Time) (canaries []string, err error) {
	start, end := at.Add(-window).UnixMilli(), at.UnixMilli()
	add := func(name string, limit int) error {
		series, err := e.questions.series(ctx, fmt.Sprintf("{__name__=%q%s}", name, e.more()), start, end, limit)
		for _, labels := range series {
			if selector := promql.FormatLabels(labels); len(selector) <= longestSeries {
				canaries = append(canaries, selector)
			}
		}
		return err
	}
	if err := add("up", sourceCanaries); err != nil || len(canaries) > 0 {
		return canaries, err
	}
	names, err := e.questions.names(ctx, e.scope, start, end, namesListed)
	for i := range min(len(names), sourceNames) {
		if err == nil {
			err = add(names[i*len(names)/min(len(names), sourceNames)], sourceCanaries/sourceNames)
		}
	}
	return canaries, err
}

// newestUp returns selectors of those series named up that have the newest samples at a time.
func (e *SourceEnd) newestUp(ctx context.Context, at time.Time) (canaries []string, err error) {
	answer, err := askSamples[struct {
		Result []struct {
			Metric map[string]string `json:"metric"`
		} `json:"result"`
	}](ctx, e.questions, "/api/v1/query", url.Values{
		"query": {fmt.Sprintf("topk(%d, timestamp(up{%s}))", sourceCanaries, e.scope)}, "time": {formatMilliseconds(at.UnixMilli())},
	})
	for _, series := range answer.Result {
		labels := map[string]string{model.MetricNameLabel: "up"}
		for name, value := range series.Metric {
			labels[name] = value
		}
		if selector := promql.FormatLabels(labels); len(selector) <= longestSeries {
			canaries = append(canaries, selector)
		}
	}
	return canaries, err
}

// newestIn returns the timestamp of the newest sample of the canaries in a window before a time.
func (e *SourceEnd) newestIn(ctx context.Context, window time.Duration, at time.Time) (newest int64, found bool, err error) {
	points, err := e.points(ctx, e.newestOfAll(), window, at)
	for _, seconds := range points {
		if !math.IsNaN(seconds) {
			newest, found = max(newest, int64(math.Round(seconds*1000))), true
		}
	}
	return newest, found, err
}

// newestOfAll returns a query for the timestamp of the newest sample of the canaries.
func (e *SourceEnd) newestOfAll() string {
	parts := make([]string, len(e.canaries))
	for i, selector := range e.canaries {
		parts[i] = "timestamp(" + selector + ")"
	}
	return "max(" + strings.Join(parts, " or ") + ")"
}

// measureInterval returns the longest scrape interval of the canaries that have samples at a time.
func (e *SourceEnd) measureInterval(ctx context.Context, at time.Time) (time.Duration, error) {
	parts := make([]string, len(e.canaries))
	for i, selector := range e.canaries {
		parts[i] = fmt.Sprintf("count_over_time(%s[%s])", selector, model.Duration(intervalWindow))
	}
	points, err := e.points(ctx, "min("+strings.Join(parts, " or ")+")", 0, at)
	if err != nil || len(points) == 0 || !(points[0] >= 1) {
		return intervalWindow, err
	}
	return time.Duration(float64(intervalWindow) / points[0]), nil
}

// points returns the values of a query with one series, every endResolution in a window that ends at
// a time.
func (e *SourceEnd) points(ctx context.Context, query string, window time.Duration, at time.Time) (values []float64, err error) {
	steps := int64(window / endResolution)
	answer, err := askSamples[struct {
		Result model.Matrix `json:"result"`
	}](ctx, e.questions, "/api/v1/query_range", url.Values{
		"query": {query}, "start": {formatMilliseconds(at.UnixMilli() - steps*endResolution.Milliseconds())}, "end": {formatMilliseconds(at.UnixMilli())},
		"step": {fmt.Sprint(int64(endResolution.Seconds()))},
	})
	if err == nil && len(answer.Result) > 0 {
		for _, pair := range answer.Result[0].Values {
			values = append(values, float64(pair.Value))
		}
	}
	return values, err
}

// more returns the scope as further matchers.
func (e *SourceEnd) more() string {
	if e.scope == "" {
		return ""
	}
	return "," + e.scope
}
