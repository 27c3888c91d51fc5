package catalog

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
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
	return end.newest - (2 * interval).Milliseconds(), end.measured.Sub(time.UnixMilli(end.newest)) >= 2*interval+probeSlack
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
	if c.learned.Load().Evidence == nil || !c.options.Cold.Status().Available {
		return
	}
	if c.isCurrent(ctx, now) {
		return
	}
	timestamps, isKnown := c.newestOfCanaries(ctx, now)
	if !isKnown {
		timestamps = "timestamp(" + c.coldSelector() + ")"
	}
	cold, previous := c.options.Cold.samples(), c.newest.Load()
	newest, found, err := cold.newestAt(ctx, timestamps, now)
	if err == nil && !found {
		newest = previous.newest
		if now.Sub(c.endSearched) >= endSearchInterval || newest == 0 {
			c.endSearched = now
			newest, _, err = cold.newestSample(ctx, timestamps, now, max(previous.newest, now.Add(-wholeHistory).UnixMilli()))
			newest = max(newest, previous.newest)
		}
	}
	if err != nil || newest == 0 {
		return // The last result stays.
	}
	c.storeEnd(newest, now)
}

// isCurrent measures the end of cold, and reports whether cold gets the newest samples.
func (c *Catalog) isCurrent(ctx context.Context, now time.Time) bool {
	if len(c.endCanaries) == 0 {
		return false
	}
	newest, found, err := c.options.Cold.samples().newestAt(ctx, newestOf(c.endCanaries, comparedSeries.inCold), now)
	if err != nil || !found || now.Sub(time.UnixMilli(newest)) >= 2*max(c.ScrapeInterval(), c.coldInterval)+probeSlack {
		return false
	}
	c.storeEnd(newest, now)
	return true
}

func (c *Catalog) storeEnd(newest int64, now time.Time) {
	c.newest.Store(&coldEnd{newest: newest, measured: now, interval: c.coldInterval})
	c.options.Cold.end.Store(newest)
}

// newestOfCanaries returns an expression for the timestamps of cold's newest samples of series
// that hot has now, and cold has. found is false if there are none.
func (c *Catalog) newestOfCanaries(ctx context.Context, now time.Time) (expression string, found bool) {
	isFresh := c.areFresh(ctx, c.options.Hot, newestOf(c.endCanaries, comparedSeries.inHot), now)
	if !isFresh {
		c.endCanaries = nil
	}
	_, lags := c.covered(c.newest.Load())
	wait := endCanaryInterval
	if isFresh {
		wait = max(wait, c.options.LearnInterval)
	}
	if (!isFresh || lags) && now.Sub(c.endCanariesChosen) >= wait {
		c.endCanariesChosen = now
		c.chooseEndCanaries(ctx, now)
	}
	return newestOf(c.endCanaries, comparedSeries.inCold), len(c.endCanaries) > 0
}

// chooseEndCanaries chooses series of a metric that cold gets, and otherwise of one that it had.
func (c *Catalog) chooseEndCanaries(ctx context.Context, now time.Time) {
	for _, metric := range c.endMetrics(ctx, now) {
		canaries, err := c.commonCanaries(ctx, metric, now)
		if err != nil {
			return // The next search tries again.
		}
		if !c.areFresh(ctx, c.options.Hot, newestOf(canaries, comparedSeries.inHot), now) {
			continue
		}
		isCurrent := c.areFresh(ctx, c.options.Cold, newestOf(canaries, comparedSeries.inCold), now)
		if isCurrent || len(c.endCanaries) == 0 {
			c.endCanaries = canaries
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
)

// endMetrics returns the names of metrics that cold is likely to have: up, those that queries
// read, and some of hot's.
func (c *Catalog) endMetrics(ctx context.Context, now time.Time) []string {
	metrics := append([]string{"up"}, c.comparisons.inBoth(mostEndMetrics/2)...)
	const candidates = 1000
	names, err := c.options.Hot.api.labelValues(ctx, model.MetricNameLabel, now.Add(-10*time.Minute), candidates)
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
func (c *Catalog) commonCanaries(ctx context.Context, metric string, now time.Time) (canaries []comparedSeries, err error) {
	const window = 5 * time.Minute
	selector := promql.FormatLabels(map[string]string{model.MetricNameLabel: metric})
	list, err := c.options.Hot.api.series(ctx, selector, now.Add(-window), canariesPerTier)
	if upstream.CannotTell(err) || len(list) == 0 {
		return nil, nil
	}
	mapping := mappingOf(c.learned.Load())
	for _, labels := range list[:min(len(list), canariesPerTier)] {
		made, ok := mapping.ofHot(labels)
		if !ok {
			continue
		}
		inCold, err := c.options.Cold.api.series(ctx, made.cold, now.Add(-wholeHistory), 1)
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
func (c *Catalog) areFresh(ctx context.Context, in *Tier, timestamps string, now time.Time) bool {
	if timestamps == "" {
		return false
	}
	seconds, found, err := in.api.vectorValue(ctx, "max("+timestamps+")", now)
	age := now.Sub(time.UnixMilli(int64(seconds * 1000)))
	return err == nil && found && age <= 2*c.ScrapeInterval()+probeSlack
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

// measureColdInterval returns the scrape interval of some series of cold. It may be longer than
// that of hot's canary series.
func (c *Catalog) measureColdInterval(ctx context.Context, now time.Time) (time.Duration, error) {
	cold := c.options.Cold.api
	if newest := c.newest.Load().newest; newest != 0 {
		now = time.UnixMilli(newest)
	}
	var series []string
	for _, each := range c.endCanaries {
		series = append(series, each.cold)
	}
	if len(series) == 0 {
		selectors, err := cold.upSeries(ctx, c.coldSelector(), now.Add(-5*time.Minute), now, canaryCount)
		if err != nil {
			return 0, err
		}
		series = slices.Sorted(maps.Keys(selectors))
	}
	return cold.sampleInterval(ctx, series[:min(len(series), canaryCount)], now)
}

// coldSelector returns a selector of hot's series named up in cold.
func (c *Catalog) coldSelector() string {
	evidence := c.learned.Load().Evidence
	if evidence == nil {
		return "up"
	}
	return "up" + promql.FormatLabels(evidence.InjectedLabels)
}
