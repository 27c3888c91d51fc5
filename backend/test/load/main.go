// Command load measures tierproxy beside what people would use instead, with the
// real Perses, Prometheus and Thanos, and prints a table with goals and
// measured ratios: see docs/performance.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 2 && slices.Contains([]string{serveAnswers, serveProxy, serveHonest, serveHostile}, os.Args[1]) {
		exit(runServer(os.Args[1:]))
	}
	if len(os.Args) > 2 && os.Args[1] == hostileCallers {
		exit(runHostileCallers(context.Background(), os.Stdout, os.Args[2]))
	}
	isShort := flag.Bool("short", false, "Measure for seconds rather than minutes: shows that it works, and no ratio to trust.")
	rounds := flag.Int("rounds", 5, "How often each pair of ways is measured, in turns.")
	duration := flag.Duration("duration", 10*time.Second, "How long each of them is measured in a round.")
	only := flag.String("only", strings.Join(allScenarios, ","), "Measure only these scenarios, separated by commas.")
	soakFor := flag.Duration("soak", 0, "Instead, ask for that long at --soak.rate while tiers restart at random.")
	soakRate := flag.Float64("soak.rate", 200, "Requests a second of --soak.")
	firstLoadReach := flag.Duration("first-load", 0, "Instead, load panels over that much history of which nothing is kept, in parts and undivided, --rounds times.")
	reach := flag.Duration("history", 30*24*time.Hour, "How much history the dashboards of the scenario refreshes have.")
	clusters := flag.Int("clusters", 0, "Instead, load a dashboard with a cluster variable over that `number` of clusters, --rounds times.")
	clusterPods := flag.Int("clusters.pods", 400, "How many pods each of --clusters has, with 80 series each.")
	siegeFor := flag.Duration("siege", 0, "Instead, attack tierproxy for that long while 20 users look at dashboards.")
	siegeRows := flag.String("siege.rows", "", "Make only the attacks of these rows, 3 to 9, separated by commas.")
	siegeSeed := flag.Uint64("siege.seed", uint64(time.Now().UnixNano()), "The `number` that the attacks of --siege are drawn by.")
	binary := flag.String("binary", "", "The tierproxy of --siege, such as one of an older release. Empty: it is built from the checkout.")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	settings := options{rounds: *rounds, duration: *duration, crowds: []int{1, 10, 50, 200}, clients: 16, reach: *reach, filling: 400, dashboards: allDashboards}
	if *isShort {
		settings = shortOptions
	}
	settings.only = strings.Split(*only, ",")
	var err error
	if *firstLoadReach > 0 {
		err = measureFirstLoads(ctx, os.Stdout, *firstLoadReach, *rounds)
	} else if *clusters > 0 {
		err = measureClusters(ctx, os.Stdout, clusterOptions{clusters: *clusters, pods: *clusterPods, rounds: *rounds, counted: 2 * time.Minute})
	} else if *siegeFor > 0 {
		err = siege(ctx, os.Stdout, siegeOptions{duration: *siegeFor, rows: *siegeRows, seed: *siegeSeed, binary: *binary})
	} else if *soakFor > 0 {
		err = soak(ctx, os.Stdout, *soakFor, *soakRate)
	} else {
		err = measure(ctx, os.Stdout, settings)
	}
	stop()
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "load: %s\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// shortOptions show that everything works, in less than a minute.
var shortOptions = options{rounds: 1, duration: 400 * time.Millisecond, crowds: []int{1, 10}, clients: 4, only: allScenarios, reach: 50 * time.Hour, filling: 4, dashboards: 1}

// measure runs the scenarios and prints the table. It returns an error if a request was not answered,
// and none for a goal that was missed.
func measure(ctx context.Context, out io.Writer, settings options) error {
	if err := unknownScenario(settings.only); err != nil {
		return err
	}
	table := &report{out: out}
	defer table.write(out)
	ownWorlds := map[string]func() error{
		byRefreshes: func() error { return measureRefreshes(ctx, table, settings.reach) },
		byReplicas:  func() error { return measureReplicas(ctx, table) },
	}
	if slices.ContainsFunc(settings.only, func(name string) bool { return ownWorlds[name] == nil }) {
		if err := measureShared(ctx, table, settings); err != nil {
			return err
		}
	}
	for _, name := range settings.only {
		if run := ownWorlds[name]; run != nil {
			if err := run(); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// measureShared runs the scenarios that share their servers.
func measureShared(ctx context.Context, table *report, settings options) (err error) {
	dir, err := os.MkdirTemp("", "tiered-prometheus-load-")
	if err != nil {
		return err
	}
	w := &world{dir: dir, progress: os.Stderr}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	defer w.stop()
	b := &bench{world: w, options: settings, report: table}
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{{"build programs and history", w.build}, {"start the servers", w.start}, {"wait for them", w.settle}, {"measure", b.run}} {
		table.progress("%s", step.name)
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}
