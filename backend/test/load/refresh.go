package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	// refreshes is how often a dashboard is loaded; the first is no refresh.
	refreshes = 10
	// firstLoads is how often a first load is measured: one says little.
	firstLoads = 15
	// atOnce is how many panels a browser asks for at a time.
	atOnce = 6
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

// refreshGoals are ratios; 0 for none. refresh, firstLoad and alone compare with Thanos Query, the
// others but sharedHits with query-frontend. alone and aloneOfFrontend are those of a datasource
// without hot.
type refreshGoals struct {
	refresh, firstLoad, cpu, samples, sharedHits float64
	alone, aloneOfFrontend                       float64
	bytes                                        float64
}

var refreshedDashboards = []refreshedDashboard{
	{window{7 * 24 * time.Hour, 10 * time.Minute}, "7 d, step 10 min", 30 * time.Second, refreshGoals{
		refresh: 0.03, firstLoad: 1.1, cpu: 0.3, samples: 1, alone: 0.1, aloneOfFrontend: 0.5, bytes: 1.1,
	}},
	{window{24 * time.Hour, time.Minute}, "24 h, step 1 min", 30 * time.Second, refreshGoals{
		refresh: 0.12, samples: 1, sharedHits: 0.9, alone: 0.1, aloneOfFrontend: 0.5,
	}},
	// It moves so far between two looks, and begins so far back, that cold has to be
	// asked for new steps: in five minutes hot answers them all.
	{window{7 * 24 * time.Hour, 15 * time.Minute}, "7 d, step 15 min", 2 * time.Hour, refreshGoals{samples: 1}},
}

// refreshWays are the ways to a dashboard.
type refreshWays struct{ thanos, frontend, through, alone, replicas *way }

func (w refreshWays) all() []*way {
	return []*way{w.thanos, w.frontend, w.through, w.alone, w.replicas}
}

func (b *refreshBench) ways() refreshWays {
	with := func(name string, servers ...*stack.Server) *way {
		made := &way{name: name, cold: b.coldQuery, client: httpClient(), processes: map[string]*stack.Server{"query": b.coldQuery, "store": b.coldStore}}
		for i := range b.hots { // Cold reads from them, too.
			made.processes[fmt.Sprint("hot", i)], made.processes[fmt.Sprint("sidecar", i)] = b.hots[i], b.sidecars[i]
		}
		for i, each := range servers {
			made.bases = append(made.bases, each.URL)
			made.processes[fmt.Sprint("front", i)] = each
		}
		return made
	}
	return refreshWays{
		with("Thanos Query", b.coldQuery), with("query-frontend", b.frontend), with("tierproxy", b.through),
		with("tierproxy with cold alone", b.alone), with("two replicas of tierproxy", b.replicas[:]...),
	}
}

// run loads a dashboard, refreshes it, and adds what that took to the report.
func (b *refreshBench) run(ctx context.Context, shown refreshedDashboard, reach time.Duration) error {
	ways := b.ways()
	what := fmt.Sprintf("%s%s, refreshed every %s, %d panels, %d days of history: ", b.name, shown.name, shown.every, len(panels), int(reach.Hours()/24))
	if err := b.untilKept(ctx, what, ways, shown); err != nil {
		return err
	}
	first := time.Now().Add(-refreshes * shown.every)
	direct, anew := b.ways().thanos, b.ways().through
	anew.anew = true
	for i := range firstLoads {
		for j := range 2 {
			if err := []*way{direct, anew}[(i+j)%2].load(ctx, shown.window, first); err != nil {
				return err
			}
		}
	}
	list := ways.all()
	for i := range refreshes {
		if shown.every >= time.Hour { // By then, the new steps of the refresh before are kept.
			if err := confirm(ctx); err != nil {
				return err
			}
		}
		for j := range list { // In turns, each first once or more.
			if err := list[(i+j)%len(list)].load(ctx, shown.window, first.Add(time.Duration(i)*shown.every)); err != nil {
				return err
			}
		}
	}
	b.addTimes(what, ways, shown.goals)
	b.add(what+"first load, median of the ratios of pairs", "Thanos Query", medianOf(direct.took).Seconds(), medianOf(anew.took).Seconds(), pairRatio(direct, anew), shown.goals.firstLoad, duration)
	b.addCosts(what, ways, shown.goals)
	var err error
	if !b.pair { // What Thanos deduplicates changes from look to look.
		err = b.addDifferences(ctx, what, ways, shown.window, first.Add(refreshes*shown.every))
	}
	for _, each := range append(list, direct, anew) {
		each.client.CloseIdleConnections()
	}
	return err
}

// addTimes adds how long refreshes took their user.
func (b *refreshBench) addTimes(what string, ways refreshWays, goals refreshGoals) {
	refresh := func(w *way) float64 { return medianOf(w.took[1:]).Seconds() }
	b.compare(what+"refresh, median", "Thanos Query", refresh(ways.thanos), refresh(ways.through), goals.refresh, duration)
	b.compare(what+"the same, datasource with cold alone", "Thanos Query", refresh(ways.thanos), refresh(ways.alone), goals.alone, duration)
	b.compare(what+"the same, datasource with cold alone", "query-frontend", refresh(ways.frontend), refresh(ways.alone), goals.aloneOfFrontend, duration)
	b.compare(what+"the same through query-frontend", "Thanos Query", refresh(ways.thanos), refresh(ways.frontend), 0, duration)
}

// addCosts adds what refreshes cost the servers and the network.
func (b *refreshBench) addCosts(what string, ways refreshWays, goals refreshGoals) {
	cpu := func(w *way) float64 { return medianOf(w.cpu[1:]).Seconds() }
	b.compare(what+"CPU of all servers for each refresh", "query-frontend", cpu(ways.frontend), cpu(ways.through), goals.cpu, duration)
	b.compare(what+"the same, datasource with cold alone", "query-frontend", cpu(ways.frontend), cpu(ways.alone), 0, duration)
	b.compare(what+"bytes to the browser", "Thanos Query, gzip", float64(ways.thanos.lastBytes), float64(ways.through.lastBytes), goals.bytes, kilobytes)
	samples := func(w *way) float64 {
		total := 0.0
		for _, each := range w.samples[1:] {
			total += each
		}
		return total
	}
	if samples(ways.frontend) == 0 { // There is no new step to read.
		goals.samples = 0
	}
	b.compare(what+"samples read by cold's engine in all refreshes", "query-frontend", samples(ways.frontend), samples(ways.through), goals.samples, number)
	b.compare(what+"the same, datasource with cold alone", "query-frontend", samples(ways.frontend), samples(ways.alone), 0, number)
	if goals.sharedHits > 0 {
		through, replicas := ways.through.hitRatio(), ways.replicas.hitRatio()
		ratio := replicas / max(through, 1e-9)
		b.report.add(row{
			what: what + "steps from the cache of two replicas with a Redis", against: "one replica", direct: percent(through), through: percent(replicas),
			goal: fmt.Sprintf("≥ %g times", goals.sharedHits), measured: fmt.Sprintf("%.2f times", ratio),
		}, ratio >= goals.sharedHits)
	}
}

// addDifferences adds how many points differ from those of Thanos.
func (b *refreshBench) addDifferences(ctx context.Context, what string, ways refreshWays, shown window, end time.Time) error {
	for _, each := range []*way{ways.through, ways.alone, ways.replicas} {
		different, all, err := each.differentPoints(ctx, ways.thanos, shown, end)
		if err != nil {
			return err
		}
		b.report.add(row{
			what: what + "points that differ, through " + each.name, against: "Thanos Query, no deduplication", direct: number(float64(all)),
			through: number(float64(different)), goal: "0", measured: number(float64(different)),
		}, different == 0 && all > 0)
	}
	different, all, err := ways.frontend.differentPoints(ctx, ways.thanos, shown, end)
	b.report.note(what+"points that differ, through query-frontend", "Thanos Query, no deduplication", number(float64(different)), number(float64(all)))
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
	if direct == 0 {
		b.report.note(what, against, write(through), write(direct))
		return
	}
	b.add(what, against, direct, through, through/direct, goal, write)
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
