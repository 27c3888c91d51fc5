package comparison

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// ColdEnd measures where cold's samples of hot's series end. It is not safe for concurrent use.
type ColdEnd struct {
	options     Options
	comparisons *comparisons
	// canaries are the series by which the end is measured. They were last searched at chosen, and
	// the end of a cold that lags at searched.
	canaries         []comparedSeries
	chosen, searched time.Time
}

// NewColdEnd returns a ColdEnd for the tiers of a comparer.
func NewColdEnd(comparer *Comparer) *ColdEnd {
	return &ColdEnd{options: comparer.options, comparisons: comparer.comparisons}
}

// Measure returns the timestamp of the newest sample that cold has of hot's series, in milliseconds
// since the Unix epoch. found is false if it is unknown. previous is the last result, or zero
// without one, and lags is set if cold lagged then.
func (e *ColdEnd) Measure(ctx context.Context, previous int64, lags bool, now time.Time) (newest int64, found bool) {
	state := e.options.State(now)
	if state.Mapping == nil || !state.Cold.Available {
		return 0, false
	}
	cold := sampleQuestions{e.options.Cold}
	if !lags && len(e.canaries) > 0 {
		// While cold gets the newest samples, hot is not asked.
		newest, found, err := cold.newestAt(ctx, newestOf(e.canaries, comparedSeries.inCold), now)
		if err != nil || (found && state.isFresh(newest, now)) {
			return newest, err == nil
		}
	}
	timestamps, isKnown := e.newestOfCanaries(ctx, &state, lags, now)
	if !isKnown {
		timestamps = "timestamp(" + state.upInCold() + ")"
	}
	newest, found, err := cold.newestAt(ctx, timestamps, now)
	if err == nil && !found {
		newest = previous
		if now.Sub(e.searched) >= endSearchInterval || newest == 0 {
			e.searched = now
			newest, _, err = cold.newestSample(ctx, timestamps, now, max(previous, now.Add(-wholeHistory).UnixMilli()))
			newest = max(newest, previous)
		}
	}
	return newest, err == nil && newest != 0
}

// newestOfCanaries returns an expression for the timestamps of cold's newest samples of series
// that hot has now, and cold has. found is false if there are none.
func (e *ColdEnd) newestOfCanaries(ctx context.Context, state *State, lags bool, now time.Time) (expression string, found bool) {
	isFresh := state.areFresh(ctx, e.options.Hot, newestOf(e.canaries, comparedSeries.inHot), now)
	if !isFresh {
		e.canaries = nil
	}
	wait := endCanaryInterval
	if isFresh {
		wait = max(wait, e.options.LearnInterval)
	}
	if (!isFresh || lags) && now.Sub(e.chosen) >= wait {
		e.chosen = now
		e.chooseCanaries(ctx, state, now)
	}
	return newestOf(e.canaries, comparedSeries.inCold), len(e.canaries) > 0
}

// chooseCanaries chooses series of a metric that cold gets, and otherwise of one that it had.
func (e *ColdEnd) chooseCanaries(ctx context.Context, state *State, now time.Time) {
	for _, metric := range e.endMetrics(ctx, now) {
		canaries, err := e.commonCanaries(ctx, state.Mapping, metric, now)
		if err != nil {
			return // The next search tries again.
		}
		if !state.areFresh(ctx, e.options.Hot, newestOf(canaries, comparedSeries.inHot), now) {
			continue
		}
		isCurrent := state.areFresh(ctx, e.options.Cold, newestOf(canaries, comparedSeries.inCold), now)
		if isCurrent || len(e.canaries) == 0 {
			e.canaries = canaries
		}
		if isCurrent {
			return
		}
	}
}

const (
	// endCanaryInterval is the least time between two searches for series that both tiers have.
	endCanaryInterval = 30 * time.Second
	// endSearchInterval is the least time between two searches for the end of a cold tier that
	// lags.
	endSearchInterval = time.Minute
	// mostEndMetrics is the maximum number of metrics among which they are searched.
	mostEndMetrics = 8
	// mostCanaries is the maximum number of series of which the scrape interval is measured.
	mostCanaries = 5
)

// endMetrics returns the names of metrics that cold is likely to have: up, those that queries
// read, and some of hot's.
func (e *ColdEnd) endMetrics(ctx context.Context, now time.Time) []string {
	metrics := append([]string{"up"}, e.comparisons.inBoth(mostEndMetrics/2)...)
	const candidates = 1000
	names, err := e.options.Hot.LabelValues(ctx, model.MetricNameLabel, now.Add(-10*time.Minute), candidates)
	if err != nil {
		return metrics
	}
	for i := range mostEndMetrics {
		if at := i * len(names) / mostEndMetrics; at < len(names) && len(metrics) < mostEndMetrics && !slices.Contains(metrics, names[at]) {
			metrics = append(metrics, names[at])
		}
	}
	return metrics
}

// commonCanaries returns series of a metric that hot has now, and that cold has or had.
func (e *ColdEnd) commonCanaries(ctx context.Context, mapping *Mapping, metric string, now time.Time) (canaries []comparedSeries, err error) {
	const window = 5 * time.Minute
	list, err := e.options.Hot.Series(ctx, mapping.inHot(metric), now.Add(-window), canariesPerTier)
	if upstream.CannotTell(err) || len(list) == 0 {
		return nil, nil
	}
	for _, labels := range list[:min(len(list), canariesPerTier)] {
		made, ok := mapping.ofHot(labels)
		if !ok {
			continue
		}
		inCold, err := e.options.Cold.Series(ctx, made.cold, now.Add(-wholeHistory), 1)
		if err != nil {
			return nil, err
		}
		if len(inCold) > 0 {
			canaries = append(canaries, made)
		}
	}
	return canaries, nil
}

// areFresh reports whether a tier has new samples of series, by an expression for their newest
// timestamps. If hot has none, their end in cold says nothing.
func (s *State) areFresh(ctx context.Context, in ownrequest.Client, timestamps string, now time.Time) bool {
	if timestamps == "" {
		return false
	}
	seconds, found, err := in.VectorValue(ctx, "max("+timestamps+")", now)
	return err == nil && found && s.isFresh(int64(seconds*1000), now)
}

// isFresh reports whether new samples come in, by the timestamp of the newest one.
func (s *State) isFresh(newest int64, now time.Time) bool {
	return now.Sub(time.UnixMilli(newest)) <= 2*s.ScrapeInterval+ownrequest.Slack
}

// newestOf returns an expression for the timestamps of the newest samples of canaries.
func newestOf(canaries []comparedSeries, selector func(comparedSeries) string) string {
	var parts []string
	for _, each := range canaries {
		parts = append(parts, "timestamp("+selector(each)+")")
	}
	return strings.Join(parts, " or ")
}

func (c comparedSeries) inHot() string  { return c.hot }
func (c comparedSeries) inCold() string { return c.cold }

// MeasureInterval returns the scrape interval of some series of cold at a time, or zero if it is
// unknown. It may be longer than that of hot's canary series.
func (e *ColdEnd) MeasureInterval(ctx context.Context, at time.Time) (time.Duration, error) {
	cold := e.options.Cold
	var series []string
	for _, each := range e.canaries {
		series = append(series, each.cold)
	}
	if len(series) == 0 {
		state := e.options.State(at)
		selectors, err := upSeries(ctx, cold, state.upInCold(), at.Add(-5*time.Minute), at, mostCanaries)
		if err != nil {
			return 0, err
		}
		series = slices.Sorted(maps.Keys(selectors))
	}
	return sampleInterval(ctx, cold, series[:min(len(series), mostCanaries)], at)
}

// upInCold returns a selector of hot's series named up in cold.
func (s *State) upInCold() string {
	if s.Mapping == nil {
		return "up"
	}
	if len(s.Mapping.OfHot) > 0 {
		return s.Mapping.InCold("up")
	}
	return "up" + promql.FormatLabels(s.Mapping.Injected)
}

// sampleInterval returns the longest time between two samples of the given series, or zero if
// they have too few samples.
func sampleInterval(ctx context.Context, c ownrequest.Client, series []string, now time.Time) (time.Duration, error) {
	var longest time.Duration
	for _, selector := range series {
		samples, err := c.Samples(ctx, "/api/v1/query", url.Values{"query": {selector + "[15m]"}, "time": {promapi.FormatTime(now)}})
		if err != nil {
			return 0, err
		}
		var distances []time.Duration
		for i := 1; i < len(samples); i++ {
			distances = append(distances, samples[i].Timestamp.Sub(samples[i-1].Timestamp))
		}
		if len(distances) > 0 {
			slices.Sort(distances)
			longest = max(longest, distances[len(distances)/2])
		}
	}
	return longest, nil
}

// upSeries returns selectors of at most limit series named up in a time range. It returns none
// if the tier does not serve the endpoint.
func upSeries(ctx context.Context, c ownrequest.Client, selector string, start, end time.Time, limit int) (map[string]struct{}, error) {
	list, err := ownrequest.Ask[[]map[string]string](ctx, c, "/api/v1/series", url.Values{
		"match[]": {selector}, "start": {promapi.FormatTime(start)}, "end": {promapi.FormatTime(end)}, "limit": {strconv.Itoa(limit)},
	})
	if err != nil && !upstream.CannotTell(err) {
		return nil, err
	}
	selectors := map[string]struct{}{}
	for _, labels := range list {
		delete(labels, model.MetricNameLabel)
		selectors["up"+promql.FormatLabels(labels)] = struct{}{}
	}
	return selectors, nil
}
