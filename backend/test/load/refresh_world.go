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

// refreshBench measures what a dashboard costs that is refreshed.
type refreshBench struct {
	*world

	report   *report
	frontend *stack.Server
	through  *stack.Server    // tierproxy
	alone    *stack.Server    // tierproxy without hot
	replicas [2]*stack.Server // two tierproxies with one Redis
}

// measureRefreshes loads dashboards over a history of the given length and refreshes them: on Thanos
// directly, through Thanos' query-frontend, and through tierproxy as it is by default, in turns. It adds
// rows to the report. It returns an error if a request was not answered, and none for a goal that was
// missed.
func measureRefreshes(ctx context.Context, report *report, reach time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "tiered-prometheus-load-")
	if err != nil {
		return err
	}
	b := &refreshBench{world: &world{dir: dir, progress: os.Stderr}, report: report}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	defer b.stop()
	b.report.progress("build programs and %s of history, and start the servers", reach)
	if err := b.start(ctx, reach); err != nil {
		return err
	}
	for _, shown := range refreshedDashboards {
		b.report.progress("measure %s", shown.name)
		if err := b.run(ctx, shown, reach); err != nil {
			return err
		}
	}
	return nil
}

// start makes the history and starts the servers.
func (b *refreshBench) start(ctx context.Context, reach time.Duration) error {
	if err := b.buildFor(ctx, []string{"prometheus", "thanos"}, future); err != nil {
		return err
	}
	now, generator := time.Now(), history.Generator{Interval: refreshInterval}
	err := errors.Join(
		generator.WriteBlocks(ctx, b.path("blocks"), now.Add(-reach), now.Add(future)),
		generator.WriteBlocks(ctx, b.path("hot-refresh"), now.Add(-hotReach), now.Add(future)),
	)
	if err != nil {
		return err
	}
	if b.hot, err = b.prometheus(ctx, "hot-refresh", func(p *stack.Prometheus) { p.OutOfOrderWindow = "0s"; p.ScrapeItself = false }); err != nil {
		return err
	}
	if err := b.startThanos(ctx); err != nil {
		return err
	}
	if b.frontend, err = b.queryFrontend(ctx); err != nil {
		return err
	}
	tiers := func(more document) document {
		more["hot"], more["cold"] = document{"url": b.hot.URL}, document{"url": b.coldQuery.URL}
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
