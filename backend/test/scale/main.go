// Command scale measures the CPU time and memory of tierproxy and its tiers in a large
// installation, idle and while one dashboard refreshes: see docs/performance.md.
//
// It builds the installation first: a Thanos store with millions of series of other
// clusters, a Prometheus with two weeks of a cluster of its own, a Perses with ten
// datasources, and two tierproxies.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// options say how large the installation is, and how long it is measured.
type options struct {
	// foreign and own are how many series the other clusters have together, and hot.
	foreign, own int
	// duration is how long each phase takes.
	duration time.Duration
	// binary is a tierproxy to measure instead of that of the checkout.
	binary string
	// directory holds the blocks, and is reused if it has them.
	directory string
	// serve leaves the tiers running, without gateways, instead of measuring.
	serve bool
	// dashboard is the name of the dashboard.
	dashboard string
	// strict makes a missed goal an error.
	strict bool
}

// errGoalsMissed is returned with --strict.
var errGoalsMissed = errors.New("not every goal is met")

func main() {
	var settings options
	flag.IntVar(&settings.foreign, "series", 2_000_000, "How many series the other clusters have together.")
	flag.IntVar(&settings.own, "series.hot", 200_000, "How many series hot has.")
	flag.DurationVar(&settings.duration, "for", 5*time.Minute, "How long each phase is measured.")
	flag.StringVar(&settings.binary, "binary", "", "A tierproxy to measure, such as one of an older release. Empty: it is built from the checkout.")
	flag.StringVar(&settings.directory, "directory", "", "A `directory` for the blocks, which later runs of the same day use again. Empty: one of the user's cache directory.")
	flag.BoolVar(&settings.serve, "serve", false, "Do not measure: start the tiers, print their URLs, and wait for Ctrl-C.")
	flag.StringVar(&settings.dashboard, "dashboard", "cluster", "The dashboard that refreshes: cluster, half of whose panels read a series of each container, or services, whose panels read some dozen series.")
	flag.BoolVar(&settings.strict, "strict", false, "Exit with status 1 if a goal is missed.")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Stderr, settings)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "scale: %s\n", err)
		os.Exit(1)
	}
}

// run builds the installation, measures it, and writes tables to out.
func run(ctx context.Context, out, progress io.Writer, settings options) error {
	panels, isKnown := dashboards[settings.dashboard]
	if !isKnown {
		return fmt.Errorf("there is no dashboard %q", settings.dashboard)
	}
	directory, err := settings.blocksDirectory()
	if err != nil {
		return err
	}
	w := &world{options: settings, panels: panels, dir: directory, progress: progress}
	defer w.stop()
	if err := w.build(ctx); err != nil {
		return err
	}
	if err := w.startTiers(ctx); err != nil {
		return err
	}
	if settings.serve {
		for _, server := range w.tiers() {
			_, _ = fmt.Fprintf(out, "%s: %s, process %d\n", server.name, server.URL, server.PID())
		}
		<-ctx.Done()
		return nil
	}
	found, err := w.measure(ctx)
	if err != nil {
		return err
	}
	if err := found.write(out); err != nil {
		return err
	}
	if settings.strict && !found.met() {
		return errGoalsMissed
	}
	return nil
}

// blocksDirectory returns the directory of the blocks, which exists.
func (o options) blocksDirectory() (string, error) {
	directory := o.directory
	if directory == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		directory = filepath.Join(cache, "tiered-prometheus", fmt.Sprintf("scale-%d-%d", o.foreign, o.own))
	}
	return directory, os.MkdirAll(directory, 0o700)
}
