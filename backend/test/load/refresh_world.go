package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	// refreshInterval is the time between two samples of what the dashboards show.
	refreshInterval = 30 * time.Second
	// notUploaded is how far back from now the newest uploaded block ends: Prometheus writes one every two hours.
	notUploaded = 2 * time.Hour
)

// refreshWorld is a Thanos that reads the blocks that one Prometheus or more have uploaded, and what they have not
// through their sidecars.
type refreshWorld struct {
	// name is that of its rows, empty for the usual world.
	name string
	// pair is set for an HA pair that Thanos deduplicates. Otherwise there is one Prometheus.
	pair bool
	// dashboards are those that are measured.
	dashboards []refreshedDashboard
}

var refreshWorlds = []refreshWorld{
	{dashboards: refreshedDashboards},
	{name: "HA pair with deduplication, ", pair: true, dashboards: refreshedDashboards[:2]},
}

// refreshBench measures what a dashboard costs that is refreshed.
type refreshBench struct {
	*world
	refreshWorld

	report   *report
	hots     []*stack.Server // Prometheus
	sidecars []*stack.Server // one for each of them
	frontend *stack.Server
	through  *stack.Server    // tierproxy
	alone    *stack.Server    // tierproxy without hot
	replicas [2]*stack.Server // two tierproxies with one Redis
}

// measureRefreshes loads dashboards over a history of the given length and refreshes them: on Thanos
// directly, through Thanos' query-frontend, and through tierproxy as it is by default, in turns. It adds
// rows to the report. It returns an error if a request was not answered, and none for a goal that was
// missed.
func measureRefreshes(ctx context.Context, report *report, reach time.Duration) error {
	for _, each := range refreshWorlds {
		if err := each.measure(ctx, report, reach); err != nil {
			return err
		}
	}
	return nil
}

// measure is measureRefreshes in one world.
func (r refreshWorld) measure(ctx context.Context, report *report, reach time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "tiered-prometheus-load-")
	if err != nil {
		return err
	}
	b := &refreshBench{world: &world{dir: dir, progress: os.Stderr}, refreshWorld: r, report: report}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	defer b.stop()
	b.report.progress("%sbuild programs and %s of history, and start the servers", r.name, reach)
	if err := b.start(ctx, reach); err != nil {
		return err
	}
	for _, shown := range r.dashboards {
		b.report.progress("measure %s%s", r.name, shown.name)
		if err := b.run(ctx, shown, reach); err != nil {
			return err
		}
	}
	return nil
}

// servers are the histories of each Prometheus since a time.
func (r refreshWorld) servers(from, now time.Time) []history.Generator {
	if !r.pair {
		return []history.Generator{{Interval: refreshInterval}}
	}
	pair := []history.Generator{replica(0, from, now), replica(1, from, now)}
	for i := range pair {
		misses := pair[i].Misses
		pair[i].Misses = func(at int64) bool {
			// Scrapes that it missed where its samples begin would look as if a block lacked.
			return misses(at) && now.Add(-hotReach).Sub(time.UnixMilli(at)).Abs() > 15*time.Minute
		}
	}
	return pair
}

// start makes the history and starts the servers.
func (b *refreshBench) start(ctx context.Context, reach time.Duration) error {
	if err := b.buildFor(ctx, []string{"prometheus", "thanos"}, future); err != nil {
		return err
	}
	if err := b.startCold(ctx, time.Now(), reach); err != nil {
		return err
	}
	var err error
	if b.frontend, err = b.queryFrontend(ctx); err != nil {
		return err
	}
	var hot []document
	for _, each := range b.hots {
		hot = append(hot, document{"url": each.URL})
	}
	tiers := func(more document) document {
		more["hot"], more["cold"] = hot, document{"url": b.coldQuery.URL}
		return more
	}
	if b.through, err = b.tierproxy(ctx, "tierproxy-refresh", tiers(document{})); err != nil {
		return err
	}
	if b.alone, err = b.tierproxy(ctx, "tierproxy-alone", document{"cold": document{"url": b.coldQuery.URL}}); err != nil {
		return err
	}
	address, err := b.startRedis(ctx)
	if err != nil {
		return err
	}
	for i := range b.replicas {
		config := tiers(document{"cache": document{"redis": document{"address": address}}})
		if b.replicas[i], err = b.tierproxy(ctx, fmt.Sprintf("tierproxy-replica-%d", i), config); err != nil {
			return err
		}
	}
	return nil
}

// startCold starts each Prometheus with its sidecar, and a Thanos over all of them and the blocks that they have
// uploaded.
func (b *refreshBench) startCold(ctx context.Context, now time.Time, reach time.Duration) error {
	thanos := stack.Thanos{Dir: b.dir, Bucket: b.path("bucket")}
	if b.pair {
		thanos.QueryArguments = []string{"--query.replica-label", "replica"}
	}
	log, err := os.Create(b.path("upload.log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	for i, generator := range b.servers(now.Add(-reach), now) {
		hot, blocks := fmt.Sprintf("hot-%d", i), b.path(fmt.Sprintf("blocks-%d", i))
		external, uploaded := map[string]string{"cluster": "load"}, []string{`cluster="load"`}
		if b.pair {
			external["replica"], uploaded = hot, append(uploaded, fmt.Sprintf("replica=%q", hot))
		}
		if err := errors.Join(
			generator.WriteBlocks(ctx, blocks, now.Add(-reach), now.Add(-notUploaded)),
			generator.WriteBlocks(ctx, b.path(hot), now.Add(-hotReach), now.Add(future)),
		); err != nil {
			return err
		}
		if err := thanos.Upload(ctx, b.programs["thanos"], blocks, log, uploaded...); err != nil {
			return err
		}
		server, err := b.prometheus(ctx, hot, func(p *stack.Prometheus) {
			p.OutOfOrderWindow, p.ScrapeItself, p.Global = "0s", false, document{"external_labels": external}
		})
		if err != nil {
			return err
		}
		sidecar, err := stack.Thanos{Dir: b.path(hot)}.StartPart(ctx, b.programs["thanos"], "sidecar", "--prometheus.url", server.URL, "--tsdb.path", b.path("none"))
		if err != nil {
			return err
		}
		b.hots, b.sidecars, b.started = append(b.hots, server), append(b.sidecars, &sidecar.Server), append(b.started, sidecar)
		thanos.QueryArguments = append(thanos.QueryArguments, "--endpoint", sidecar.GRPC)
	}
	servers, err := thanos.Start(ctx, b.programs["thanos"])
	if err != nil {
		return err
	}
	b.coldQuery, b.coldStore = servers.Query, servers.Store
	b.started = append(b.started, servers.Store, servers.Query)
	return nil
}

// startRedis starts Debian's Redis, and returns where it is.
func (b *refreshBench) startRedis(ctx context.Context) (string, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "", fmt.Errorf("%w: scripts/install-debian-packages installs it", err)
	}
	port, err := stack.FreePort()
	if err != nil {
		return "", err
	}
	process, err := stack.Start(ctx, stack.Command{
		Name: "redis", Path: path, LogDir: b.dir, Arguments: []string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--dir", b.dir},
	})
	if err != nil {
		return "", err
	}
	_, err = b.keep(&stack.Server{Process: process}, nil)
	return fmt.Sprintf("127.0.0.1:%d", port), err
}

func (w *world) queryFrontend(ctx context.Context) (*stack.Server, error) {
	port, err := stack.FreePort()
	if err != nil {
		return nil, err
	}
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	process, err := stack.Start(ctx, stack.Command{
		Name: "thanos-query-frontend", Path: w.programs["thanos"], LogDir: w.dir, ReadyURL: "http://" + listen + "/-/ready",
		Arguments: []string{
			"query-frontend", "--http-address", listen, "--query-frontend.downstream-url", w.coldQuery.URL, "--log.level", "warn",
			"--query-range.response-cache-config", "type: IN-MEMORY\nconfig:\n  max_size: 256MB\n",
		},
	})
	if err != nil {
		return nil, err
	}
	return w.keep(&stack.Server{Process: process, URL: "http://" + listen}, nil)
}
