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

// heavyPanels are the queries of a dashboard over clusterSeries: each reads hundreds of series.
var heavyPanels = []string{
	`sum by (service) (rate(http_requests_total[5m]))`,
	`sum by (mode) (rate(node_cpu_seconds_total[5m]))`,
	`histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))`,
	`sum by (instance) (rate(node_cpu_seconds_total{mode!="idle"}[5m]))`,
	`sum by (code) (rate(http_requests_total[5m]))`,
	`max by (instance) (rate(node_cpu_seconds_total{mode="user"}[5m]))`,
	`avg by (cpu) (rate(node_cpu_seconds_total[5m]))`,
	`topk(5, sum by (pod) (rate(http_requests_total{code="200"}[5m])))`,
	`sum(rate(http_request_duration_seconds_sum[5m])) / sum(rate(http_request_duration_seconds_count[5m]))`,
	`count by (mode) (node_cpu_seconds_total)`,
}

// firstLoadWindows are the ranges of which nothing is kept.
var firstLoadWindows = []struct {
	name string
	window
}{
	{"7 d, step 10 min", window{7 * 24 * time.Hour, 10 * time.Minute}},
	{"30 d, step 1 h", window{30 * 24 * time.Hour, time.Hour}},
}

const (
	// dashboardPanels is how many panels a dashboard has.
	dashboardPanels = 20
	// firstLoadInterval is the time between two samples.
	firstLoadInterval = time.Minute
	firstLoadPods     = 5
	firstLoadNodes    = 5
)

// firstLoadWay is a way to the data of which nothing is kept.
type firstLoadWay struct {
	base string
	more url.Values // parameters
	took []time.Duration
	cpu  []time.Duration
}

// firstLoadBench measures first loads of long ranges.
type firstLoadBench struct {
	*world

	report  report
	through *stack.Server
	rounds  int
}

// measureFirstLoads loads panels and dashboards of which nothing is kept, on Thanos with the engine of
// Prometheus directly, through tierproxy that asks for the whole, and through tierproxy that asks for
// parts at once, in turns. It prints a table.
func measureFirstLoads(ctx context.Context, out io.Writer, reach time.Duration, rounds int) (err error) {
	dir, err := os.MkdirTemp("", "tiered-prometheus-load-")
	if err != nil {
		return err
	}
	b := &firstLoadBench{world: &world{dir: dir, progress: os.Stderr}, report: report{out: out}, rounds: rounds}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	defer b.stop()
	b.report.progress("build programs and %s of history, and start the servers", reach)
	if err := b.start(ctx, reach); err != nil {
		return err
	}
	defer b.report.write(out)
	for _, shown := range firstLoadWindows {
		for _, crowd := range []int{1, atOnce} {
			if shown.span > reach {
				continue
			}
			if err := b.run(ctx, shown.name, shown.window, crowd); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *firstLoadBench) start(ctx context.Context, reach time.Duration) error {
	if err := b.buildFor(ctx, []string{"prometheus", "thanos"}, future); err != nil {
		return err
	}
	now, generator := time.Now(), history.Generator{Interval: firstLoadInterval, Only: firstLoadSeries()}
	err := errors.Join(
		generator.WriteBlocks(ctx, b.path("blocks"), now.Add(-reach), now.Add(future)),
		generator.WriteBlocks(ctx, b.path("hot-first"), now.Add(-hotReach), now.Add(future)),
	)
	if err != nil {
		return err
	}
	if b.hot, err = b.prometheus(ctx, "hot-first", func(p *stack.Prometheus) { p.OutOfOrderWindow = "0s"; p.ScrapeItself = false }); err != nil {
		return err
	}
	if err := b.startThanos(ctx); err != nil {
		return err
	}
	b.through, err = b.tierproxy(ctx, "tierproxy-first", document{
		"hot": document{"url": b.hot.URL, "complete": true}, "cold": document{"url": b.coldQuery.URL},
		"routing": document{"strategy": "split"}, "cache": document{"enabled": true}, "probe": document{"interval": "1s"},
		"query": document{"timeout": "2m"},
	})
	return err
}

// firstLoadSeries are the series of some pods and nodes.
func firstLoadSeries() []history.Series {
	return slices.DeleteFunc(clusterSeries(firstLoadPods, 0), func(series history.Series) bool {
		node, found := strings.CutPrefix(series.Labels.Get("instance"), "10.0.0.")
		number, err := strconv.Atoi(strings.TrimSuffix(node, ":8080"))
		return found && err == nil && series.Labels.Get("job") == "node" && number >= firstLoadNodes
	})
}

// run loads a panel, or a dashboard of which so many panels are asked for at once, in turns.
func (b *firstLoadBench) run(ctx context.Context, name string, shown window, crowd int) error {
	what := name + ", one panel alone"
	if crowd > 1 {
		what = fmt.Sprintf("%s, %d panels, %d at once", name, dashboardPanels, crowd)
	}
	b.report.progress("measure %s", what)
	// A parameter that chooses the engine keeps tierproxy from dividing a query.
	direct, whole, parts := &firstLoadWay{base: b.coldQuery.URL}, &firstLoadWay{base: b.through.URL, more: url.Values{"engine": {"prometheus"}}}, &firstLoadWay{base: b.through.URL}
	ways := []*firstLoadWay{direct, whole, parts}
	before, err := b.divided(ctx)
	if err != nil {
		return err
	}
	for round := range b.rounds + 1 {
		for i := range ways {
			if err := b.load(ctx, ways[(round+i)%len(ways)], shown, crowd, round); err != nil {
				return err
			}
		}
	}
	after, err := b.divided(ctx)
	if err != nil {
		return err
	}
	for _, against := range []struct {
		name string
		way  *firstLoadWay
	}{{"the same through tierproxy, undivided", whole}, {"Thanos Query", direct}} {
		for _, measure := range []struct {
			name string
			of   func(*firstLoadWay) []time.Duration
		}{
			{"time", func(w *firstLoadWay) []time.Duration { return w.took[1:] }},
			{"CPU of all servers", func(w *firstLoadWay) []time.Duration { return w.cpu[1:] }},
		} {
			there, here := measure.of(against.way), measure.of(parts)
			ratios := make([]float64, 0, len(there))
			for i := range there {
				ratios = append(ratios, here[i].Seconds()/there[i].Seconds())
			}
			slices.Sort(ratios)
			b.report.rows = append(b.report.rows, row{
				what: what + ": " + measure.name, against: against.name, direct: short(medianOf(there)), through: short(medianOf(here)),
				measured: fmt.Sprintf("%.2f times", ratios[len(ratios)/2]),
			})
		}
	}
	b.report.note(what+": divided queries", "", number(after-before), "")
	return nil
}

// load asks for panels as nobody has before: each load of a round is a step older than those before.
func (b *firstLoadBench) load(ctx context.Context, w *firstLoadWay, shown window, crowd, round int) error {
	panels := heavyPanels[round%len(heavyPanels):][:1]
	if crowd > 1 {
		panels = slices.Concat(heavyPanels, heavyPanels)
	}
	processes := target{processes: map[string]*stack.Server{"query": b.coldQuery, "store": b.coldStore, "through": b.through, "hot": b.hot}}
	before, err := readCPU(processes)
	if err != nil {
		return err
	}
	began := time.Now()
	group, groupContext := errgroup.WithContext(ctx)
	group.SetLimit(crowd)
	for i, panel := range panels {
		// The second half of a dashboard is another time.
		end := began.Truncate(shown.step).Add(-time.Duration(round)*shown.step - time.Duration(i/len(heavyPanels))*time.Minute)
		group.Go(func() error { return w.ask(groupContext, panel, shown, end) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	w.took = append(w.took, time.Since(began))
	after, err := readCPU(processes)
	total := time.Duration(0)
	for name := range processes.processes {
		total += after[name] - before[name]
	}
	w.cpu = append(w.cpu, total)
	return err
}

func (w *firstLoadWay) ask(ctx context.Context, panel string, shown window, end time.Time) error {
	values := url.Values{
		"query": {panel}, "start": {seconds(end.Add(-shown.span))}, "end": {seconds(end)}, "step": {strconv.Itoa(int(shown.step.Seconds()))},
	}
	for name, list := range w.more {
		values[name] = list
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.base+"/api/v1/query_range?"+values.Encode(), http.NoBody)
	if err != nil {
		return err
	}
	request.Header.Set("Cache-Control", "no-cache")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d: %.300s", w.base, response.StatusCode, text)
	}
	return err
}

// divided returns how many queries tierproxy has divided so far.
func (b *firstLoadBench) divided(ctx context.Context) (float64, error) {
	_, body, _, err := get(ctx, b.through.URL+"/metrics")
	if err != nil {
		return 0, err
	}
	found := lines(string(body), "tierproxy_divided_queries_total ")
	if len(found) != 1 {
		return 0, fmt.Errorf("%s does not count the queries that it divides", b.through.URL)
	}
	return strconv.ParseFloat(found[0][len("tierproxy_divided_queries_total "):], 64)
}
