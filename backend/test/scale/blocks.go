package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
)

const (
	// blocks and blockRange are what the store has of every cluster.
	blocks     = 7
	blockRange = 48 * time.Hour
	// committed is after how many samples they are written.
	committed = 50_000
	// scrapeInterval is the time between two samples of a dashboard's series.
	scrapeInterval = time.Minute
	// perTarget is how many series a target exposes, wide how many of them have the
	// same name, and kinds how many kinds of targets there are, each with its names.
	perTarget, wide, kinds = 200, 20, 10
)

// others are the clusters that only the store knows.
var others = []string{"east", "west", "south"}

// own is the cluster that hot watches.
const own = "lab"

// cluster is what one cluster has: so many series with a sample at both ends of each
// block, and those of a generator in full.
type cluster struct {
	name      string
	series    int
	generator history.Generator
	// pods have samples of the last hours.
	pods []history.Series
}

// clusters returns hot's cluster and the others.
func (o options) clusters() []cluster {
	all := []cluster{{own, o.own, history.Generator{Interval: scrapeInterval}, pods(o.own / perTarget)}}
	// The gateway looks at every up of hot's targets, so they have all their samples.
	all[0].generator.Only = all[0].generator.All()
	for target := range o.own / perTarget {
		all[0].generator.Only = append(all[0].generator.Only, up(target))
	}
	for _, name := range others {
		all = append(all, cluster{name, o.foreign / len(others), history.Generator{Interval: scrapeInterval, Only: []history.Series{up(0)}}, nil})
	}
	return all
}

// up returns the series up of a target, which is always 1.
func up(target int) history.Series {
	return history.Series{Labels: seriesLabels(target*perTarget, ""), Value: func(int64) float64 { return 1 }}
}

// seriesLabels returns the labels of a series by its number. Targets of one kind
// expose up, 19 series of app_wide and 180 names of their own; in hot's cluster one
// kind of targets has names that no other cluster knows.
func seriesLabels(number int, in string) labels.Labels {
	target, position := number/perTarget, number%perTarget
	name, shard := fmt.Sprintf("app_metric_%04d", target%kinds*perTarget+position), ""
	switch {
	case position == 0:
		name = "up"
	case position < wide:
		name, shard = "app_wide", fmt.Sprintf("%02d", position)
	case in == own && target%kinds == kinds-1:
		name = fmt.Sprintf("lab_metric_%04d", position)
	}
	return labels.FromStrings("__name__", name, "instance", fmt.Sprintf("pod-%06d:8080", target), "job", "app", "shard", shard)
}

// writeBlocks writes the blocks of the cluster below a directory.
func (c cluster) writeBlocks(ctx context.Context, directory string, now time.Time) error {
	for i := range blocks {
		from := now.Add(-time.Duration(blocks-i) * blockRange)
		to := from.Add(blockRange)
		if i == blocks-1 {
			to = to.Add(future)
		}
		if err := c.writeBlock(ctx, directory, from, to); err != nil {
			return fmt.Errorf("write block %d of %s: %w", i+1, filepath.Base(directory), err)
		}
	}
	return nil
}

func (c cluster) writeBlock(ctx context.Context, directory string, from, to time.Time) (err error) {
	writer, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), directory, 4*blockRange.Milliseconds())
	if err != nil {
		return err
	}
	defer func() {
		if closeError := writer.Close(); err == nil {
			err = closeError
		}
	}()
	appender := writer.Appender(ctx)
	if err := c.generator.Append(appender, from, to); err != nil {
		return err
	}
	if err := appender.Commit(); err != nil {
		return err
	}
	if err := c.writeSeries(ctx, writer, from, to); err != nil {
		return err
	}
	if to.Sub(from) > blockRange { // the newest block
		if err := writePods(ctx, writer, c.pods, to.Add(-future-recent), to); err != nil {
			return err
		}
	}
	_, err = writer.Flush(ctx)
	return err
}

// recent is how far back from now pods have their samples: a dashboard reads no older ones.
const recent = 2 * time.Hour

// containers is how many each pod has.
const containers = 3

// pods returns what is known of the containers of the targets of hot's cluster, one pod each.
func pods(targets int) (all []history.Series) {
	for number := range targets * containers {
		target := number / containers
		of := func(name string, value func(at int64) float64) {
			all = append(all, history.Series{Value: value, Labels: labels.FromStrings(
				"__name__", name, "job", "kubelet", "instance", fmt.Sprintf("node-%02d:10250", target%40), "container", fmt.Sprintf("container-%d", number%containers),
				"namespace", fmt.Sprintf("team-%02d", target%25), "pod", fmt.Sprintf("app-%06d", target),
			)})
		}
		perSecond := 0.1 + float64(number%100)/100
		grown := func(at int64) float64 { return perSecond * float64(at%(1<<32)) / 1000 }
		of("container_cpu_usage_seconds_total", grown)
		of("container_network_receive_bytes_total", func(at int64) float64 { return 1e5 * grown(at) })
		of("container_network_transmit_bytes_total", func(at int64) float64 { return 2e4 * grown(at) })
		of("container_memory_working_set_bytes", func(at int64) float64 { return 1e8 * (1 + 2*perSecond + float64(at/60_000%10)/100) })
	}
	return all
}

// writePods writes the samples of pods since a time.
func writePods(ctx context.Context, writer *tsdb.BlockWriter, series []history.Series, from, to time.Time) error {
	for some := range slices.Chunk(series, 100) {
		appender := writer.Appender(ctx)
		if err := (history.Generator{Interval: scrapeInterval, Only: some}).Append(appender, from, to); err != nil {
			return err
		}
		if err := appender.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// writeSeries writes the first samples of all series, then the last ones.
func (c cluster) writeSeries(ctx context.Context, writer *tsdb.BlockWriter, from, to time.Time) (err error) {
	full := map[uint64]bool{}
	for _, series := range c.generator.Only {
		full[series.Labels.Hash()] = true
	}
	references := make([]storage.SeriesRef, c.series)
	for _, at := range []int64{from.UnixMilli(), to.UnixMilli() - 1} {
		for start := 0; start < c.series; start += committed {
			if err := ctx.Err(); err != nil {
				return err
			}
			appender := writer.Appender(ctx)
			for i := start; i < min(start+committed, c.series); i++ {
				series := seriesLabels(i, c.name)
				if full[series.Hash()] {
					continue
				}
				if references[i], err = appender.Append(references[i], series, at, float64(i)); err != nil {
					return err
				}
			}
			if err := appender.Commit(); err != nil {
				return err
			}
		}
	}
	return nil
}
