package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	// clusterReach is how far back each cluster's own Prometheus reaches. The store gateway has what
	// is older than clusterUploaded, as if a sidecar had uploaded it.
	clusterReach, clusterUploaded = 4 * time.Hour, 2 * time.Hour
	// clusterFuture is how far its blocks reach beyond the start: the time for the measurement.
	clusterFuture = time.Hour
	// clusterScrapes is the time between two samples.
	clusterScrapes = 30 * time.Second
)

// clusterOptions say how large the clusters are, and how long they are measured.
type clusterOptions struct {
	// clusters is how many there are, and pods how many each has, with 80 series each.
	clusters, pods int
	// rounds is how often each way loads the dashboard with each value of the variable.
	rounds int
	// counted is how long own requests are counted, in use and again idle.
	counted time.Duration
}

// clusterWorld is several clusters with a Prometheus and a sidecar each, and a Thanos over all.
type clusterWorld struct {
	*world

	options    clusterOptions
	names      []string // of the clusters
	prometheus []*stack.Server
	sidecars   []*stack.Server
	many, one  *stack.Server // tierproxy with all Prometheus as hot, and with the first only
}

// measureClusters loads a dashboard with a cluster variable through tierproxy with every cluster's own
// Prometheus as hot, through one with a single Prometheus, and on Thanos directly, in turns, and prints
// tables.
func measureClusters(ctx context.Context, out io.Writer, settings clusterOptions) (err error) {
	dir, err := os.MkdirTemp("", "tiered-prometheus-load-")
	if err != nil {
		return err
	}
	w := &clusterWorld{world: &world{dir: dir, progress: os.Stderr}, options: settings}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	defer w.stop()
	progress := report{out: out}
	for i := range settings.clusters {
		w.names = append(w.names, string(rune('a'+i)))
	}
	bench := &clusterBench{clusterWorld: w, report: &progress}
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"build programs and history", w.build}, {"start the servers", w.start}, {"wait for them", bench.settle},
		{"compare the answers", bench.compare}, {"measure", bench.run}, {"count own requests", bench.countOwn},
	} {
		progress.progress("%s", step.name)
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	bench.write(out)
	return nil
}

// data returns the directory of a Prometheus.
func (w *clusterWorld) data(cluster string) string { return w.path("hot-" + cluster) }

func (w *clusterWorld) thanos() stack.Thanos {
	return stack.Thanos{Dir: w.dir, Bucket: w.path("bucket")}
}

// build makes the programs and the blocks, and uploads the older ones.
func (w *clusterWorld) build(ctx context.Context) error {
	w.programs = map[string]string{}
	for _, name := range []string{"prometheus", "thanos"} {
		path, err := stack.Tool(ctx, w.progress, name)
		if err != nil {
			return err
		}
		w.programs[name] = path
	}
	if err := w.buildOwn(ctx); err != nil {
		return err
	}
	log, err := os.Create(w.path("upload.log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	now := time.Now()
	for number, name := range w.names {
		generator := history.Generator{Interval: clusterScrapes, Only: clusterSeries(w.options.pods, number)}
		uploaded := now.Add(-clusterUploaded)
		if err := generator.WriteBlocks(ctx, w.data(name), now.Add(-clusterReach), uploaded); err != nil {
			return err
		}
		if err := w.thanos().Upload(ctx, w.programs["thanos"], w.data(name), log, fmt.Sprintf("cluster=%q", name), `replica="0"`); err != nil {
			return err
		}
		if err := generator.WriteBlocks(ctx, w.data(name), uploaded, now.Add(clusterFuture)); err != nil {
			return err
		}
	}
	return nil
}

// start starts the servers.
func (w *clusterWorld) start(ctx context.Context) error {
	thanos, hot := w.thanos(), []document{}
	thanos.QueryArguments = []string{"--query.replica-label=replica"}
	for _, name := range w.names {
		prometheus, err := w.keep(stack.Prometheus{
			Name: "hot-" + name, Dir: w.dir, Data: w.data(name), Retention: "60d", ScrapeItself: true,
			Global: document{"external_labels": map[string]string{"cluster": name, "replica": "0"}, "scrape_interval": "15s"},
			// As a Prometheus with a sidecar has it: blocks are not compacted.
			Arguments: []string{"--storage.tsdb.min-block-duration=2h", "--storage.tsdb.max-block-duration=2h"},
		}.Start(ctx, w.programs["prometheus"]))
		if err != nil {
			return err
		}
		sidecar, err := thanos.StartPart(ctx, w.programs["thanos"], "sidecar", "--tsdb.path", w.data(name), "--prometheus.url", prometheus.URL)
		if err != nil {
			return err
		}
		w.started = append(w.started, sidecar)
		w.prometheus, w.sidecars = append(w.prometheus, prometheus), append(w.sidecars, &sidecar.Server)
		thanos.QueryArguments = append(thanos.QueryArguments, "--endpoint="+sidecar.GRPC)
		hot = append(hot, document{"name": name, "url": prometheus.URL})
	}
	servers, err := thanos.Start(ctx, w.programs["thanos"])
	if err != nil {
		return err
	}
	w.coldQuery, w.coldStore = servers.Query, servers.Store
	w.started = append(w.started, servers.Store, servers.Query)
	config := func(hot any) document {
		return document{"hot": hot, "cold": document{"url": w.coldQuery.URL}, "routing": document{"threshold": "2h"}}
	}
	if w.many, err = w.tierproxy(ctx, "tierproxy-many", config(hot)); err != nil {
		return err
	}
	w.one, err = w.tierproxy(ctx, "tierproxy-one", config(document{"url": w.prometheus[0].URL}))
	return err
}

// all is the expression that matches every cluster, as a variable has it.
func (w *clusterWorld) all() string { return "(" + strings.Join(w.names, "|") + ")" }

// values are those that the variable of the dashboard takes.
func (w *clusterWorld) values() []string { return append(append([]string{}, w.names...), w.all()) }
