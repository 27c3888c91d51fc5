package diagnosis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// Measurement is how long the tiers take for a typical range query.
type Measurement struct {
	// Range is the time range of the query, and Step its step, as Prometheus durations.
	Range string `json:"range"`
	Step  string `json:"step"`
	// NewestOf is the range of which Range is the newest part, or empty.
	NewestOf string `json:"newest_of,omitempty"`
	// HotSeconds and ColdSeconds are the medians of the tiers. Each is absent if the tier was not
	// measured.
	HotSeconds  float64 `json:"hot_seconds,omitempty"`
	ColdSeconds float64 `json:"cold_seconds,omitempty"`
	// GaveUp are the tiers whose queries were cancelled after this time.
	GaveUp []string `json:"gave_up,omitempty"`
}

// adviceLimits bound what Advise costs, and how long it takes.
type adviceLimits struct {
	// repeats is how often each tier gets each query. A query that takes longer than once is not
	// repeated.
	repeats int
	once    time.Duration
	// stop is from which time on no longer range is measured. giveUp is when a query is cancelled.
	stop, giveUp time.Duration
	// reserve is the time that is left for what follows.
	reserve time.Duration
	// known is how long Advise waits until tierproxy knows what the tiers have of a metric, and kept
	// until answers can be kept.
	known, kept time.Duration
}

var defaultLimits = adviceLimits{
	repeats: 3, once: time.Second, stop: 3 * time.Second, giveUp: 8 * time.Second, reserve: time.Second,
	known: 5 * time.Second, kept: 2 * time.Second,
}

// latency is how long a tier took for one query.
type latency struct {
	median, fastest time.Duration
	// gaveUp is set if the query was cancelled after this time.
	gaveUp bool
}

// String formats the median for people.
func (l *latency) String() string {
	if l.gaveUp {
		return "more than " + FormatTook(l.median)
	}
	return FormatTook(l.median)
}

// rangeLatency is how long the tiers took for one range; nil for a tier that was not measured.
type rangeLatency struct {
	length, step time.Duration
	hot, cold    *latency
	// isKept is set if half of what cold answers to such a query is kept.
	isKept bool
}

// of returns the latency of a tier.
func (t *rangeLatency) of(name tier.Name) **latency {
	if name == tier.Hot {
		return &t.hot
	}
	return &t.cold
}

// slowest returns the longer median.
func (t *rangeLatency) slowest() (slowest time.Duration) {
	for _, each := range []*latency{t.hot, t.cold} {
		if each != nil {
			slowest = max(slowest, each.median)
		}
	}
	return slowest
}

// measurements are what Advise has measured.
type measurements struct {
	// ranges are the whole ranges, the shortest first. newest is the newest part of the longest one,
	// or nil.
	ranges []rangeLatency
	newest *rangeLatency
	// stopped says why longer ranges are missing, or is empty.
	stopped string
}

// longest returns the longest range that cold was measured with, or nil.
func (m *measurements) longest() *rangeLatency {
	if last := len(m.ranges) - 1; last >= 0 && m.ranges[last].cold != nil {
		return &m.ranges[last]
	}
	return nil
}

// measure measures the typical queries one after the other, the shortest range first. It stops at a range
// that takes long, and shortly before ctx ends. At most (2 × ranges + 2) × repeats queries are made.
func (a *advice) measure(ctx context.Context) {
	if deadline, is := ctx.Deadline(); is {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-a.options.limits.reserve))
		defer cancel()
	}
	for _, query := range a.queries {
		var tiers []tier.Name
		if query.isCompared() {
			tiers = append(tiers, tier.Hot)
		}
		if query.plan.Rule != 5 && query.plan.Input.Cold.Available {
			tiers = append(tiers, tier.Cold)
		}
		if len(tiers) == 0 {
			continue
		}
		took, err := a.measureRange(ctx, query, query.length, tiers)
		if err != nil {
			a.measured.stopped = fmt.Sprintf("%s and longer were not measured: %s", formatRange(query.length), describeError(ctx, err))
			break
		}
		a.measured.ranges = append(a.measured.ranges, took)
		if slow := took.slowest(); slow >= a.options.limits.stop && query != a.queries[len(a.queries)-1] {
			a.measured.stopped = fmt.Sprintf("ranges longer than %s were not measured, because one of the tiers takes %s for it", formatRange(query.length), FormatTook(slow))
			break
		}
	}
	a.measureNewest(ctx)
}

// measureNewest measures the newest part of the longest range: what a refresh needs if the rest is kept.
func (a *advice) measureNewest(ctx context.Context) {
	longest := a.measured.longest()
	if longest == nil {
		return
	}
	query := a.queryOf(longest.length)
	part := query.plan.HotPart()
	if part >= longest.length {
		return
	}
	tiers := []tier.Name{tier.Cold}
	if a.queries[0].isCompared() && query.reach() >= part {
		tiers = append(tiers, tier.Hot)
	}
	if took, err := a.measureRange(ctx, query, part, tiers); err == nil {
		a.measured.newest = &took
	}
}

func (a *advice) queryOf(length time.Duration) *rangeQuery {
	return a.queries[slices.IndexFunc(a.queries, func(query *rangeQuery) bool { return query.length == length })]
}

// measureRange measures a query over a range that ends now. The tiers take turns.
func (a *advice) measureRange(ctx context.Context, query *rangeQuery, length time.Duration, tiers []tier.Name) (rangeLatency, error) {
	measured := rangeLatency{length: length, step: query.step}
	limits, took := a.options.limits, map[tier.Name][]time.Duration{}
	for isSlow := false; !isSlow && len(took[tiers[0]]) < limits.repeats; {
		for _, name := range tiers {
			each, gaveUp, err := a.time(ctx, query, length, name)
			if err != nil {
				return measured, fmt.Errorf("%s: %w", name, err)
			}
			took[name] = append(took[name], each)
			isSlow = isSlow || each >= limits.once
			*measured.of(name) = &latency{gaveUp: gaveUp}
		}
	}
	for _, name := range tiers {
		slices.Sort(took[name])
		result := *measured.of(name)
		result.fastest, result.median = took[name][0], took[name][len(took[name])/2]
	}
	return measured, nil
}

// time returns how long a tier takes for a query, until the last byte of the answer. gaveUp is set if
// the query was cancelled then. Nothing comes from the cache, or goes there.
func (a *advice) time(ctx context.Context, query *rangeQuery, length time.Duration, from tier.Name) (took time.Duration, gaveUp bool, err error) {
	limited, cancel := context.WithTimeout(ctx, a.options.limits.giveUp)
	defer cancel()
	began := time.Now()
	body, err := a.ask(limited, from, query.text, began.Add(-length), began, query.step)
	if err == nil {
		_, err = io.Copy(io.Discard, body)
		err = errors.Join(err, body.Close())
	}
	took = time.Since(began)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return took, true, nil
	}
	return took, false, err
}

// ask returns the successful answer of one tier to a query, which the caller closes. Without a step, it
// is an instant query.
func (a *advice) ask(ctx context.Context, from tier.Name, text string, start, end time.Time, step time.Duration) (io.ReadCloser, error) {
	query, err := a.admit(ctx, text, start, end, step)
	if err != nil {
		return nil, err
	}
	defer query.OnPlanned()
	whole := *query.Datasource
	whole.Cached, whole.Strategy = false, tier.StrategyRoute
	query.Datasource, query.Forced, query.CacheControl = &whole, from, engine.CacheControl{NoRead: true, NoStore: true}
	response, err := a.core.Engine.Do(ctx, query)
	if err != nil {
		return nil, err
	}
	if response.Status != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("the answer has the status %d", response.Status)
	}
	return response.Body, nil
}

// maxCountBytes is the maximum size of the answer of countByJob, in bytes.
const maxCountBytes = 1 << 20

// countByJob returns how many series a selector has in each job, at a tier.
func (a *advice) countByJob(ctx context.Context, selector string, from tier.Name) (map[string]int, error) {
	body, err := a.ask(ctx, from, "count by (job) ("+selector+")", time.Time{}, time.Time{}, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	var answer struct {
		Data struct {
			Result model.Vector `json:"result"`
		} `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(body, maxCountBytes)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("the %s tier has too many jobs, or its answer cannot be read: %w", from, err)
	}
	jobs := map[string]int{}
	for _, sample := range answer.Data.Result {
		jobs[string(sample.Metric["job"])] += int(sample.Value)
	}
	return jobs, nil
}

// view returns the measurement for a Finding. whole is the range of which it is the newest part, or zero.
func (t *rangeLatency) view(whole time.Duration) Measurement {
	view := Measurement{Range: formatRange(t.length), Step: formatRange(t.step)}
	if whole > 0 {
		view.NewestOf = formatRange(whole)
	}
	for _, name := range []tier.Name{tier.Hot, tier.Cold} {
		took := *t.of(name)
		if took == nil {
			continue
		}
		if took.gaveUp {
			view.GaveUp = append(view.GaveUp, string(name))
		}
		if name == tier.Hot {
			view.HotSeconds = took.median.Seconds()
		} else {
			view.ColdSeconds = took.median.Seconds()
		}
	}
	return view
}

// FormatTook formats a measured time for people, with two or three digits.
func FormatTook(took time.Duration) string {
	switch {
	case took < 10*time.Millisecond:
		return took.Round(100 * time.Microsecond).String()
	case took < time.Second:
		return took.Round(time.Millisecond).String()
	}
	return took.Round(100 * time.Millisecond).String()
}

// formatRange formats a time range as Perses does: in days, and not in weeks.
func formatRange(length time.Duration) string {
	if days := length / (24 * time.Hour); days > 0 && length%(24*time.Hour) == 0 {
		return strconv.Itoa(int(days)) + "d"
	}
	return model.Duration(length).String()
}
