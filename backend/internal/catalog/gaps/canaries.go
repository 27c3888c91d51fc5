package gaps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// canaryCount is the maximum number of canary series. If all of them lack samples, hot
	// was down.
	canaryCount = 5
	// groupsAsked is the maximum number of jobs, or of metric names, from which canaries are
	// chosen, and seriesPerGroup the maximum number of series of each.
	groupsAsked, seriesPerGroup = 8, 3
	// canaryWindow is how far a canary is read to measure its interval.
	canaryWindow = 20 * time.Minute
)

// asker asks one server about its series.
type asker struct{ ownrequest.Client }

// canary is a series that shows whether a server ingests samples.
type canary struct {
	selector string
	// interval is its newest measured scrape interval, and newest its newest timestamp. Both
	// are in milliseconds.
	interval, newest int64
	group            int // series of one job, or of one metric
}

// candidates are the series from which canaries are chosen.
type candidates []canary

// canarySearch is what a search for canaries found.
type canarySearch struct {
	// alive are the series that have samples at the given time.
	alive candidates
	// newest is the timestamp of the newest sample, even if that one is too old.
	newest int64
	// empty is set if the tier has no series at that time.
	empty bool
	// names are the metric names of the series if they are not named up.
	names []string
}

// canariesAt looks for series that have samples at a time: those whose newest sample before it
// is at most as old as their own intervals allow, plus slack. scope is a matcher list without
// braces, or empty. canariesAt prefers series named up, because a Prometheus writes them at every
// scrape, even if the target is down.
//
// It lists a few series of some jobs. Only if none of them has samples, which happens if most
// targets have changed, it reads all series named up at that time. Without any series named up,
// it takes some other metrics.
func (c asker) canariesAt(ctx context.Context, scope string, at time.Time, slack time.Duration) (result canarySearch, err error) {
	if result, err = c.upCanariesAt(ctx, scope, at, slack); err != nil || len(result.alive) > 0 {
		return result, err
	}
	names, err := c.fewValues(ctx, model.MetricNameLabel, "", scope, at.Add(-canaryLookback), at, namesAsked)
	if err != nil {
		return result, err
	}
	result.empty = names != nil && len(names) == 0
	for i := range min(groupsAsked, len(names)) {
		result.names = append(result.names, names[i*len(names)/min(groupsAsked, len(names))])
	}
	other, err := c.namedCanariesAt(ctx, result.names, scope, at, slack)
	result.alive, result.newest = other.alive, max(result.newest, other.newest)
	return result, err
}

// namedCanariesAt is canariesAt for series of some metrics, and only those.
func (c asker) namedCanariesAt(ctx context.Context, names []string, scope string, at time.Time, slack time.Duration) (result canarySearch, err error) {
	var groups []string
	for _, name := range names {
		groups = append(groups, fmt.Sprintf("{__name__=%q%s}", name, prefixed(",", scope)))
	}
	selectors, err := c.sampleOfGroups(ctx, groups, at.Add(-canaryLookback), at)
	if err != nil {
		return result, err
	}
	result.alive, result.newest, err = c.measureCanaries(ctx, selectors, at, slack)
	return result, err
}

// upCanariesAt is canariesAt for series named up, and only those.
func (c asker) upCanariesAt(ctx context.Context, scope string, at time.Time, slack time.Duration) (result canarySearch, err error) {
	looks := []func() ([]string, error){
		func() ([]string, error) { return c.sampleOfJobs(ctx, scope, at) },
		func() ([]string, error) {
			query := fmt.Sprintf("topk(%d, count_over_time(up{%s}[%s]))", 2*canaryCount, scope, model.Duration(canaryLookback))
			return c.selectorsOf(ctx, query, "up", at)
		},
	}
	for _, look := range looks {
		selectors, err := look()
		if err != nil {
			return result, err
		}
		found, last, err := c.measureCanaries(ctx, selectors, at, slack)
		result.alive, result.newest = found, max(result.newest, last)
		if err != nil || len(found) > 0 {
			return result, err
		}
	}
	return result, nil
}

// canaryLookback is how far before a time canaries are looked for.
const canaryLookback = 5 * time.Minute

// sampleOfJobs returns selectors of a few series named up of some jobs.
func (c asker) sampleOfJobs(ctx context.Context, scope string, at time.Time) ([]string, error) {
	start := at.Add(-canaryLookback)
	jobs, err := c.fewValues(ctx, "job", "up", scope, start, at, groupsAsked)
	if err != nil {
		return nil, err
	}
	groups := []string{"up{" + scope + "}"}
	if len(jobs) > 0 {
		groups = nil
		for _, job := range jobs {
			groups = append(groups, fmt.Sprintf("up{job=%q%s}", job, prefixed(",", scope)))
		}
	}
	return c.sampleOfGroups(ctx, groups, start, at)
}

// namesAsked is the maximum number of metric names from which canaries are chosen.
const namesAsked = 200

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

// fewValues returns some values of a label, up to limit, of the series of a metric. It returns
// nil if the tier does not serve the endpoint.
func (c asker) fewValues(ctx context.Context, label, metric, scope string, start, end time.Time, limit int) ([]string, error) {
	parameters := url.Values{"start": {promapi.FormatTime(start)}, "end": {promapi.FormatTime(end)}, "limit": {strconv.Itoa(limit)}}
	if metric+scope != "" {
		parameters.Set("match[]", metric+"{"+scope+"}")
	}
	values, err := ownrequest.Ask[[]string](ctx, c.Client, "/api/v1/label/"+url.PathEscape(label)+"/values", parameters)
	if err != nil {
		return nil, notServed(ctx, err)
	}
	return append([]string{}, values[:min(len(values), limit)]...), nil
}

// notServed returns nil for errors of endpoints that a tier does not serve, or not in time: then
// other endpoints tell.
func notServed(ctx context.Context, err error) error {
	if upstream.IsGone(err) || ctx.Err() != nil {
		return err
	}
	return nil
}

// sampleOfGroups returns selectors of a few series that some selectors match.
func (c asker) sampleOfGroups(ctx context.Context, groups []string, start, end time.Time) ([]string, error) {
	lists, failures := make([][]string, len(groups)), make([]error, len(groups))
	var running sync.WaitGroup
	for i, group := range groups {
		running.Go(func() {
			series, err := ownrequest.Ask[[]map[string]string](ctx, c.Client, "/api/v1/series", url.Values{
				"match[]": {group}, "start": {promapi.FormatTime(start)}, "end": {promapi.FormatTime(end)}, "limit": {strconv.Itoa(seriesPerGroup)},
			})
			if err != nil {
				failures[i] = notServed(ctx, err)
				return
			}
			for _, labels := range series[:min(len(series), seriesPerGroup)] {
				lists[i] = append(lists[i], promql.FormatLabels(labels))
			}
		})
	}
	running.Wait()
	return slices.Concat(lists...), errors.Join(failures...)
}

// selectorsOf returns selectors of the series in the result of a query that drops the metric
// name.
func (c asker) selectorsOf(ctx context.Context, query, metric string, at time.Time) ([]string, error) {
	answer, err := ownrequest.Ask[struct {
		Result []struct{ Metric map[string]string } `json:"result"`
	}](ctx, c.Client, "/api/v1/query", url.Values{"query": {query}, "time": {promapi.FormatTime(at)}})
	if err != nil && !upstream.CannotTell(err) {
		return nil, err
	}
	var selectors []string
	for _, series := range answer.Result {
		if series.Metric == nil {
			series.Metric = map[string]string{}
		}
		series.Metric[model.MetricNameLabel] = metric
		selectors = append(selectors, promql.FormatLabels(series.Metric))
	}
	return selectors, nil
}

// measureCanaries returns those of some series that have samples at a time. See canariesAt.
func (c asker) measureCanaries(ctx context.Context, selectors []string, at time.Time, slack time.Duration) (alive candidates, newest int64, err error) {
	found, failures := make(candidates, len(selectors)), make([]error, len(selectors))
	var running sync.WaitGroup
	slots := make(chan struct{}, groupsAsked)
	for i, selector := range selectors {
		running.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			var times []int64
			// A sample at that time itself is no sample before it.
			times, failures[i] = c.timestamps(ctx, selector, at.Add(-canaryWindow), at.Add(-time.Millisecond))
			if len(times) > 0 {
				found[i] = canary{selector: selector, interval: newestInterval(times), newest: times[len(times)-1], group: i / seriesPerGroup}
			}
		})
	}
	running.Wait()
	for _, each := range found {
		newest = max(newest, each.newest)
		if each.interval > 0 && at.UnixMilli()-each.newest <= tolerance(each.interval)+milliseconds(slack) {
			alive = append(alive, each)
		}
	}
	return alive, newest, errors.Join(failures...)
}

// timestamps returns the timestamps of the samples of a series after a time, and until a later one.
// With an error, it returns none.
func (c asker) timestamps(ctx context.Context, selector string, after, until time.Time) ([]int64, error) {
	query := fmt.Sprintf("%s[%dms]", selector, milliseconds(until.Sub(after)))
	samples, err := c.Samples(ctx, "/api/v1/query", url.Values{"query": {query}, "time": {promapi.FormatTime(until)}})
	times := make([]int64, 0, len(samples))
	for _, sample := range samples {
		times = append(times, int64(sample.Timestamp))
	}
	return times, err
}

// fastest returns the canaries among the candidates: those with the shortest intervals, of as
// many groups as possible. A slow series would hide short gaps.
func (l candidates) fastest() []canary {
	shortest := fastestInterval(l)
	var chosen []canary
	taken := map[int]int{} // by group
	rank := make([]int, len(l))
	for i, each := range l {
		rank[i] = taken[each.group]
		taken[each.group]++
	}
	order := make([]int, len(l))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(rank[a], rank[b]) })
	for _, i := range order {
		if l[i].interval <= shortest+shortest/2 && len(chosen) < canaryCount {
			chosen = append(chosen, l[i])
		}
	}
	return chosen
}

// slowest returns the longest interval of the candidates.
func (l candidates) slowest() time.Duration {
	var longest int64
	for _, each := range l {
		longest = max(longest, each.interval)
	}
	return time.Duration(longest) * time.Millisecond
}

// searchNewest returns the timestamp of the newest sample that a selector of up series matches,
// in milliseconds. If there is none within the lookback, it looks further and further back,
// until earliest. Then it returns zero.
func (c asker) searchNewest(ctx context.Context, selector string, now, earliest time.Time) (newest int64, err error) {
	for at, back := now, time.Duration(0); !at.Before(earliest); at = now.Add(-back) {
		seconds, found, err := c.VectorValue(ctx, "max(timestamp("+selector+"))", at)
		if err != nil || (found && !math.IsNaN(seconds)) {
			return int64(math.Round(seconds * 1000)), err
		}
		back = max(2*back, 5*time.Minute)
	}
	return 0, nil
}
