package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	// refreshes is how often a dashboard is loaded; the first is no refresh.
	refreshes = 10
	// firstLoads is how often a first load is measured: one says little.
	firstLoads = 15
	// atOnce is how many panels a browser asks for at a time.
	atOnce = 6
	// refreshInterval is the time between two samples of what the dashboards show.
	refreshInterval = 30 * time.Second
)

// refreshedDashboard is a dashboard, aligned to its step as Perses does.
type refreshedDashboard struct {
	window

	name string
	// every is the time between two refreshes, as far as the range that they ask
	// for goes.
	every time.Duration
	goals refreshGoals
}

// refreshGoals are ratios; 0 for none.
type refreshGoals struct{ refresh, firstLoad, cpu, samples, sharedHits float64 }

var refreshedDashboards = []refreshedDashboard{
	{window{7 * 24 * time.Hour, 10 * time.Minute}, "7 d, step 10 min", 30 * time.Second, refreshGoals{refresh: 0.04, firstLoad: 1.1, cpu: 0.3, samples: 1}},
	{window{24 * time.Hour, time.Minute}, "24 h, step 1 min", 30 * time.Second, refreshGoals{refresh: 0.15, samples: 1, sharedHits: 0.9}},
	// It moves so far between two looks, and begins so far back, that cold has to be
	// asked for new steps: in five minutes hot answers them all.
	{window{7 * 24 * time.Hour, 15 * time.Minute}, "7 d, step 15 min", 2 * time.Hour, refreshGoals{samples: 1}},
}

// refreshBench measures what a dashboard costs that is refreshed.
type refreshBench struct {
	*world

	report   report
	frontend *stack.Server
	through  *stack.Server    // tierproxy with a cache in memory
	replicas [2]*stack.Server // two tierproxies with one Redis
}

// measureRefreshes loads dashboards and refreshes them, on Thanos directly, through
// Thanos' query-frontend, and through tierproxy that cuts and caches, in turns, and
// prints a table. It returns an error where a request was not answered, and none
// for a goal that was missed.
func measureRefreshes(ctx context.Context, out io.Writer, reach time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "tiered-prometheus-load-")
	if err != nil {
		return err
	}
	b := &refreshBench{world: &world{dir: dir, progress: os.Stderr}, report: report{out: out}}
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
	b.report.write(out)
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
	config := func(cache document) document {
		cache["enabled"] = true
		return document{
			"hot": document{"url": b.hot.URL, "complete": true}, "cold": document{"url": b.coldQuery.URL},
			"routing": document{"strategy": "split"}, "cache": cache, "probe": document{"interval": "1s"},
		}
	}
	if b.through, err = b.tierproxy(ctx, "tierproxy-refresh", config(document{})); err != nil {
		return err
	}
	address, err := b.startRedis(ctx)
	if err != nil {
		return err
	}
	for i := range b.replicas {
		if b.replicas[i], err = b.tierproxy(ctx, fmt.Sprintf("tierproxy-replica-%d", i), config(document{"redis": document{"address": address}})); err != nil {
			return err
		}
	}
	return nil
}

// ways are those to a dashboard: Thanos directly, through its query-frontend,
// through tierproxy, and through two replicas of it.
func (b *refreshBench) ways() []*way {
	with := func(name string, servers ...*stack.Server) *way {
		made := &way{name: name, cold: b.coldQuery, client: httpClient(), processes: map[string]*stack.Server{"query": b.coldQuery, "store": b.coldStore}}
		for i, each := range servers {
			made.bases = append(made.bases, each.URL)
			made.processes[fmt.Sprint("front", i)] = each
		}
		return made
	}
	ways := []*way{with("Thanos Query", b.coldQuery), with("query-frontend", b.frontend), with("tierproxy", b.through), with("two replicas of tierproxy", b.replicas[:]...)}
	for _, each := range ways[2:] {
		each.processes["hot"] = b.hot
	}
	return ways
}

// run loads a dashboard, refreshes it, and adds what that took to the report.
func (b *refreshBench) run(ctx context.Context, shown refreshedDashboard, reach time.Duration) error {
	ways := b.ways()
	first := time.Now().Add(-refreshes * shown.every)
	direct, anew := b.ways()[0], b.ways()[2]
	anew.anew = true
	for i := range firstLoads {
		for j := range 2 {
			if err := []*way{direct, anew}[(i+j)%2].load(ctx, shown.window, first); err != nil {
				return err
			}
		}
	}
	for i := range refreshes {
		for j := range ways { // In turns, each first once.
			if err := ways[(i+j)%len(ways)].load(ctx, shown.window, first.Add(time.Duration(i)*shown.every)); err != nil {
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
	thanos, frontend, through, replicas := ways[0], ways[1], ways[2], ways[3]
	what := fmt.Sprintf("%s, refreshed every %s, %d panels, %d days of history: ", shown.name, shown.every, len(panels), int(reach.Hours()/24))
	refresh := func(w *way) float64 { return medianOf(w.took[1:]).Seconds() }
	b.compare(what+"refresh, median", "Thanos Query", refresh(thanos), refresh(through), shown.goals.refresh, duration)
	b.compare(what+"the same through query-frontend", "Thanos Query", refresh(thanos), refresh(frontend), 0, duration)
	b.add(what+"first load, median of the ratios of pairs", "Thanos Query", medianOf(direct.took).Seconds(), medianOf(anew.took).Seconds(), pairRatio(direct, anew), shown.goals.firstLoad, duration)
	cpu := func(w *way) float64 { return medianOf(w.cpu[1:]).Seconds() }
	b.compare(what+"CPU of all servers for each refresh", "query-frontend", cpu(frontend), cpu(through), shown.goals.cpu, duration)
	samples := func(w *way) float64 {
		total := 0.0
		for _, each := range w.samples[1:] {
			total += each
		}
		return total
	}
	b.compare(what+"samples read by cold's engine in all refreshes", "query-frontend", samples(frontend), samples(through), shown.goals.samples, number)
	b.compare(what+"the same", "Thanos Query", samples(thanos), samples(through), 0, number)
	if shown.goals.sharedHits > 0 {
		ratio := replicas.hitRatio() / max(through.hitRatio(), 1e-9)
		b.report.add(row{
			what: what + "steps from the cache of two replicas with a Redis", against: "one replica", direct: percent(through.hitRatio()), through: percent(replicas.hitRatio()),
			goal: fmt.Sprintf("≥ %g times", shown.goals.sharedHits), measured: fmt.Sprintf("%.2f times", ratio),
		}, ratio >= shown.goals.sharedHits)
	}
	for _, each := range []*way{through, replicas} {
		different, all, err := each.differentPoints(ctx, thanos, shown.window, first.Add(refreshes*shown.every))
		if err != nil {
			return err
		}
		b.report.add(row{
			what: what + "points that differ, through " + each.name, against: "Thanos Query, no deduplication", direct: number(float64(all)),
			through: number(float64(different)), goal: "0", measured: number(float64(different)),
		}, different == 0 && all > 0)
	}
	different, all, err := frontend.differentPoints(ctx, thanos, shown.window, first.Add(refreshes*shown.every))
	b.report.note(what+"points that differ, through query-frontend", "Thanos Query, no deduplication", number(float64(different)), number(float64(all)))
	for _, each := range ways {
		each.client.CloseIdleConnections()
	}
	return err
}

// pairRatio is the median of how many times longer the loads of one way took than
// those of another beside them.
func pairRatio(direct, through *way) float64 {
	ratios := make([]float64, 0, len(direct.took))
	for i := range direct.took {
		ratios = append(ratios, through.took[i].Seconds()/direct.took[i].Seconds())
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// compare adds the ratio of two values; a goal of 0 is none.
func (b *refreshBench) compare(what, against string, direct, through, goal float64, write unit) {
	ratio := through / max(direct, 1e-9)
	if direct == 0 && through == 0 {
		ratio = 0
	}
	b.add(what, against, direct, through, ratio, goal, write)
}

// add adds a ratio that was found in another way than compare does.
func (b *refreshBench) add(what, against string, direct, through, ratio, goal float64, write unit) {
	added := row{what: what, against: against, direct: write(direct), through: write(through), measured: fmt.Sprintf("%.3f times", ratio)}
	if goal == 0 {
		b.report.rows = append(b.report.rows, added)
		return
	}
	added.goal = fmt.Sprintf("≤ %g times", goal)
	b.report.add(added, ratio <= goal)
}

func percent(part float64) string { return fmt.Sprintf("%.1f %%", 100*part) }

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
