//go:build e2e

package stores

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
)

const (
	minute = time.Minute
	hour   = time.Hour
	// interval is the time between two samples of a series.
	interval = 15 * time.Second
	// reach is how much of the past cold has, and hotReach how much of it hot has.
	reach, hotReach = 30 * hour, 8 * hour
	// ahead is how far the samples of the oracle, and those of servers that get no others, reach beyond now.
	ahead = 2 * hour
	// vanishedBefore is the age of the last samples of a target that is gone.
	vanishedBefore = 150 * minute
)

// group is series that miss the same scrapes.
type group struct {
	series []history.Series
	misses func(milliseconds int64) bool // nil for none
}

// made returns a series.
func made(value func(int64) float64, pairs ...string) history.Series {
	return history.Series{Labels: labels.FromStrings(pairs...), Value: value}
}

// shop returns the series of a web shop, each in a namespace: services in shop, machines in infra.
func shop(now time.Time) []group {
	var regular []history.Series
	for _, each := range (history.Generator{}).All() {
		if each.Histogram != nil {
			continue // Not all stores have native histograms.
		}
		namespace := "shop"
		if each.Labels.Get("job") == "node" {
			namespace = "infra"
		}
		each.Labels = with(each.Labels, "namespace", namespace)
		regular = append(regular, each)
	}
	for i, queue := range []string{"mail", "invoice", "export"} {
		// A counter that starts again every 47, 94 and 141 minutes.
		restarts := int64(47*(i+1)) * minute.Milliseconds()
		regular = append(regular, made(func(at int64) float64 { return math.Floor(float64(at%restarts) / 1000 * float64(i+1) / 2) },
			"__name__", "jobs_processed_total", "queue", queue, "job", "worker", "namespace", "shop"))
	}
	for i := range 4 {
		regular = append(regular, made(func(at int64) float64 { return math.Round(2000+600*math.Sin(float64(at)/7e6+float64(i))) / 100 },
			"__name__", "temperature_celsius", "room", strconv.Itoa(i), "job", "sensor", "namespace", "infra"))
	}
	for i := range 6 {
		pairs := []string{"__name__", "wide", "job", "wide", "namespace", "shop"}
		for label := range 14 {
			pairs = append(pairs, fmt.Sprintf("l%02d", label), fmt.Sprintf("v%d", (i+label)%(label%4+1)))
		}
		pairs = append(pairs, "item", strconv.Itoa(i))
		regular = append(regular, made(func(at int64) float64 { return float64(at/60_000%97) + float64(i) }, pairs...))
	}
	gone := now.Add(-vanishedBefore).UnixMilli()
	patchy := made(func(at int64) float64 { return float64(at / 120_000 % 50) }, "__name__", "patchy", "job", "patchy", "namespace", "shop")
	return []group{
		{series: regular},
		// Seven minutes of each hour are missing.
		{series: []history.Series{patchy}, misses: func(at int64) bool { return at%hour.Milliseconds() < 7*minute.Milliseconds() }},
		{series: []history.Series{
			made(func(at int64) float64 { return math.Floor(float64(at%86_400_000) / 700) }, "__name__", "vanished_total", "instance", "gone:1", "job", "old", "namespace", "shop"),
		}, misses: func(at int64) bool { return at > gone }},
	}
}

// elsewhere returns the series of another cluster, which hot does not have: machines only.
func elsewhere() []group {
	var series []history.Series
	for i := range 2 {
		series = append(series, made(func(at int64) float64 { return float64(at/45_000%13) + float64(i) },
			"__name__", "node_load1", "instance", fmt.Sprintf("far-%d:9100", i), "job", "node", "namespace", "infra"))
	}
	return []group{{series: series}}
}

// with returns labels with more of them, in pairs.
func with(of labels.Labels, pairs ...string) labels.Labels {
	builder := labels.NewBuilder(of)
	for i := 0; i < len(pairs); i += 2 {
		builder.Set(pairs[i], pairs[i+1])
	}
	return builder.Labels()
}

// labelled returns groups whose series have more labels, in pairs.
func labelled(groups []group, pairs ...string) []group {
	return changed(groups, func(of history.Series) (history.Series, bool) {
		of.Labels = with(of.Labels, pairs...)
		return of, true
	})
}

// changed returns groups with changed series, without those that are not kept.
func changed(groups []group, change func(history.Series) (history.Series, bool)) []group {
	var list []group
	for _, each := range groups {
		var series []history.Series
		for _, one := range each.series {
			if one, isKept := change(one); isKept {
				series = append(series, one)
			}
		}
		list = append(list, group{series: series, misses: each.misses})
	}
	return list
}

// shard returns those series of one of two shards.
func shard(groups []group, number int) []group {
	return changed(groups, func(of history.Series) (history.Series, bool) {
		return of, int(of.Labels.Hash()%2) == number
	})
}

// writeBlocks writes the samples of a time as blocks.
func writeBlocks(t *testing.T, directory string, groups []group, from, to time.Time) {
	t.Helper()
	for _, each := range groups {
		if len(each.series) == 0 {
			continue
		}
		made := history.Generator{Interval: interval, Only: each.series, Misses: each.misses}
		require.NoError(t, made.WriteBlocks(t.Context(), directory, from, to))
	}
}

// samples returns the samples from a time, inclusive, to another, exclusive.
func samples(groups []group, from, to time.Time) (list []prompb.TimeSeries) {
	for _, each := range groups {
		for _, series := range each.series {
			one := prompb.TimeSeries{Labels: prompb.FromLabels(series.Labels, nil)}
			for at := first(from).UnixMilli(); at < to.UnixMilli(); at += interval.Milliseconds() {
				if each.misses == nil || !each.misses(at) {
					one.Samples = append(one.Samples, prompb.Sample{Timestamp: at, Value: series.Value(at)})
				}
			}
			if len(one.Samples) > 0 {
				list = append(list, one)
			}
		}
	}
	return list
}

// first returns the first time of a sample that is not before a time.
func first(at time.Time) time.Time {
	if rounded := at.Truncate(interval); rounded.Equal(at) {
		return at
	}
	return at.Truncate(interval).Add(interval)
}

// sender sends samples by remote write.
type sender struct {
	url    string
	header map[string]string
	groups []group
}

// send sends the samples of a time, in requests of an hour, as the stores want them in order.
func (s sender) send(ctx context.Context, from, to time.Time) error {
	for at := from; at.Before(to); at = at.Add(hour) {
		end := at.Add(hour)
		if end.After(to) {
			end = to
		}
		if err := post(ctx, s.url, s.header, samples(s.groups, at, end)); err != nil {
			return fmt.Errorf("send to %s: %w", s.url, err)
		}
	}
	return nil
}
