// Command demo shows the whole product on one machine: two tiers with made-up
// history, tierproxy, and a real Perses server with the plugin module and a
// datasource that percli applied. scripts/demo
// builds its parts and starts it: make demo.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	// SIGHUP comes when the terminal is closed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// The servers die with the thread that started them: this one stays.
	runtime.LockOSThread()
	demo := &demo{output: os.Stdout}
	once := flag.Bool("once", false, "Stop when the queries were shown, instead of at Ctrl-C.")
	flag.StringVar(&demo.persesPath, "perses", "", "The program perses.")
	flag.StringVar(&demo.percliPath, "percli", "", "The program percli.")
	flag.StringVar(&demo.proxyPath, "tierproxy", "", "The program tierproxy.")
	flag.StringVar(&demo.archive, "plugin", "", "The archive of the plugin module.")
	flag.StringVar(&demo.pageDir, "page", "", "The directory of the page.")
	flag.Parse()
	if err := run(ctx, demo, *once); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1) //nolint:gocritic // Nothing is left to stop.
	}
}

// run starts everything, shows it, and stops everything again.
func run(ctx context.Context, demo *demo, once bool) (err error) {
	defer func() { err = errors.Join(err, demo.stop()) }()
	for _, step := range []func(context.Context) error{
		demo.prepare, demo.startTiers, demo.startGateway, demo.startPerses, demo.applyExamples, demo.show,
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
