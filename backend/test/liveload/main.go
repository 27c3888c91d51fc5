// Command liveload follows live queries with many subscribers of two tierproxies, while hot, cold and
// one of the gateways restart, and compares what each has in the end: see docs/performance.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options say how large the load is.
type options struct {
	// duration is how long samples come, and step that of all queries.
	duration, step time.Duration
	// subscribers are spread over so many queries.
	subscribers, queries int
	// strict makes a missed goal an error.
	strict bool
}

// errGoalsMissed is returned with --strict, and if a stream is not equal to query_range.
var errGoalsMissed = errors.New("not every goal is met")

func main() {
	var settings options
	flag.DurationVar(&settings.duration, "for", 10*time.Minute, "How long the queries are followed.")
	flag.DurationVar(&settings.step, "step", 5*time.Second, "The step of the queries.")
	flag.IntVar(&settings.subscribers, "subscribers", 1000, "How many streams there are, at both gateways together.")
	flag.IntVar(&settings.queries, "queries", 20, "How many different queries they follow.")
	flag.BoolVar(&settings.strict, "strict", false, "Exit with status 1 if a goal is missed.")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Stderr, settings)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "liveload: %s\n", err)
		os.Exit(1)
	}
}

// run starts the servers, follows the queries, and writes a table to out.
func run(ctx context.Context, out, progress io.Writer, settings options) (err error) {
	if err := enoughFiles(settings.subscribers); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "tiered-prometheus-liveload-")
	if err != nil {
		return err
	}
	l := &load{world: &world{options: settings, dir: dir, progress: progress}}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	defer l.stop()
	if err := l.start(ctx); err != nil {
		return err
	}
	found, err := l.run(ctx)
	if err != nil {
		return err
	}
	if err := found.write(out); err != nil {
		return err
	}
	if found.different > 0 || found.holes > 0 || (settings.strict && !found.met()) {
		return errGoalsMissed
	}
	return nil
}

// enoughFiles returns an error if this program or a gateway may not have so many connections.
func enoughFiles(subscribers int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if needed := uint64(subscribers)*5/4 + 200; limit.Cur < needed { //nolint:gosec // G115: it is not negative.
		return fmt.Errorf("%d subscribers need %d file descriptors, and ulimit -n is %d", subscribers, needed, limit.Cur)
	}
	return nil
}
