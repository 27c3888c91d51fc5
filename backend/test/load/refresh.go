package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	// refreshes is how often a dashboard is refreshed, refreshEvery the time
	// between two, as far as the range that it asks for goes.
	refreshes    = 10
	refreshEvery = 30 * time.Second
	// atOnce is how many panels a browser asks for at a time.
	atOnce = 6
)

// refreshedWindows are those of the dashboards, aligned to their step as Perses
// does.
var refreshedWindows = []struct {
	window

	name string
	goal float64 // of the whole dashboard, against Thanos
}{
	{window{7 * 24 * time.Hour, 10 * time.Minute}, "7 d, step 10 min", 0.04},
	{window{24 * time.Hour, time.Minute}, "24 h, step 1 min", 0.15},
}

// way is one way to a dashboard.
type way struct {
	name, base string
	processes  map[string]*stack.Server
	client     *http.Client
	took       []time.Duration
	cpu        []time.Duration
}

// load asks for all panels once, and returns how long that took and what it cost
// all servers.
func (w *way) load(ctx context.Context, shown window, end time.Time) error {
	before, err := readCPU(target{processes: w.processes})
	if err != nil {
		return err
	}
	began := time.Now()
	end = end.Truncate(shown.step)
	group, groupContext := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, panel := range panels {
		group.Go(func() error {
			values := url.Values{
				"query": {panel}, "start": {seconds(end.Add(-shown.span))}, "end": {seconds(end)}, "step": {strconv.Itoa(int(shown.step.Seconds()))},
			}
			request, err := http.NewRequestWithContext(groupContext, http.MethodGet, w.base+"/api/v1/query_range?"+values.Encode(), http.NoBody)
			if err != nil {
				return err
			}
			response, err := w.client.Do(request)
			if err != nil {
				return err
			}
			defer func() { _ = response.Body.Close() }()
			if _, err = io.Copy(io.Discard, response.Body); err == nil && response.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s: status %d", w.name, response.StatusCode)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	w.took = append(w.took, time.Since(began))
	after, err := readCPU(target{processes: w.processes})
	used := time.Duration(0)
	for name := range w.processes {
		used += after[name] - before[name]
	}
	w.cpu = append(w.cpu, used)
	return err
}

func medianOf(list []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

// measureRefreshes loads a dashboard and refreshes it, on Thanos directly, through
// Thanos' query-frontend, and through tierproxy that cuts and caches, in turns.
func measureRefreshes(ctx context.Context, out io.Writer, reach time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "tiered-prometheus-load-")
	if err != nil {
		return err
	}
	w := &world{dir: dir, progress: os.Stderr}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	defer w.stop()
	if err := w.buildFor(ctx, []string{"prometheus", "thanos"}, future); err != nil {
		return err
	}
	now := time.Now()
	if err := (history.Generator{Interval: 30 * time.Second}).WriteBlocks(ctx, w.path("blocks"), now.Add(-reach), now.Add(future)); err != nil {
		return err
	}
	if w.hot, err = w.prometheus(ctx, "hot", func(p *stack.Prometheus) { p.OutOfOrderWindow = "0s"; p.ScrapeItself = false }); err != nil {
		return err
	}
	if err := w.startThanos(ctx); err != nil {
		return err
	}
	frontend, err := w.queryFrontend(ctx)
	if err != nil {
		return err
	}
	through, err := w.tierproxy(ctx, "tierproxy-refresh", document{
		"hot": document{"url": w.hot.URL, "complete": true}, "cold": document{"url": w.coldQuery.URL},
		"routing": document{"strategy": "split"}, "cache": document{"enabled": true}, "probe": document{"interval": "1s"},
	})
	if err != nil {
		return err
	}
	tiers := map[string]*stack.Server{"query": w.coldQuery, "store": w.coldStore}
	with := func(more map[string]*stack.Server) map[string]*stack.Server {
		for name, server := range tiers {
			more[name] = server
		}
		return more
	}
	for _, shown := range refreshedWindows {
		ways := []*way{
			{name: "Thanos Query", base: w.coldQuery.URL, processes: with(map[string]*stack.Server{})},
			{name: "query-frontend", base: frontend.URL, processes: with(map[string]*stack.Server{"frontend": frontend})},
			{name: "tierproxy", base: through.URL, processes: with(map[string]*stack.Server{"tierproxy": through, "hot": w.hot})},
		}
		for _, each := range ways {
			each.client = httpClient()
			defer each.client.CloseIdleConnections()
		}
		first := time.Now().Add(-refreshes * refreshEvery)
		for i := range refreshes {
			for j := range ways { // In turns, each first once.
				if err := ways[(i+j)%len(ways)].load(ctx, shown.window, first.Add(time.Duration(i)*refreshEvery)); err != nil {
					return err
				}
			}
			if i == 0 {
				select { // Until what was answered is known to be whole.
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(5 * time.Second):
				}
			}
		}
		_, _ = fmt.Fprintf(out, "\n%s, %d panels, %s of history\n", shown.name, len(panels), reach)
		for _, each := range ways {
			_, _ = fmt.Fprintf(out, "%-16s first %8s  refresh %8s (%.3f of Thanos)  CPU of all servers per refresh %8s (%.2f of query-frontend)\n", each.name,
				short(each.took[0]), short(medianOf(each.took[1:])), medianOf(each.took[1:]).Seconds()/medianOf(ways[0].took[1:]).Seconds(),
				short(medianOf(each.cpu[1:])), medianOf(each.cpu[1:]).Seconds()/max(medianOf(ways[1].cpu[1:]).Seconds(), 1e-3))
		}
		_, _ = fmt.Fprintf(out, "goal: refresh at most %g of Thanos; first load at most 1.1 (it is %.2f)\n", shown.goal, ways[2].took[0].Seconds()/ways[0].took[0].Seconds())
	}
	_, body, _, err := get(ctx, through.URL+"/metrics")
	if err == nil {
		for _, line := range lines(string(body), "tierproxy_cache_") {
			_, _ = fmt.Fprintln(out, line)
		}
	}
	return err
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

// lines are those of a text that begin so.
func lines(text, prefix string) []string {
	var found []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, prefix) {
			found = append(found, line)
		}
	}
	return found
}
