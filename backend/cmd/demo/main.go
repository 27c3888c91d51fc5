// Command demo shows the whole product on one machine: two tiers with made-up
// history, tierproxy, and a real Perses server with the plugin module and a
// datasource that percli applied. Run it from the checkout: make demo.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	// The servers die with the thread that started them: this one stays.
	runtime.LockOSThread()
	once := flag.Bool("once", false, "Stop when the queries were shown, instead of at Ctrl-C.")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *once, os.Stdout)
	interrupted := ctx.Err() != nil
	stop()
	if err != nil && !interrupted {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run starts everything, shows it, and stops everything again.
func run(ctx context.Context, once bool, output io.Writer) (err error) {
	demo := &demo{output: output}
	defer func() { err = errors.Join(err, demo.stop()) }()
	for _, step := range []func(context.Context) error{
		demo.build, demo.startTiers, demo.startGateway, demo.startPerses, demo.applyExamples, demo.show,
	} {
		if err := step(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if once {
		return nil
	}
	demo.say("\nCtrl-C stops everything.")
	<-ctx.Done()
	return nil
}
