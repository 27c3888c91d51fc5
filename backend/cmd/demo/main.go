// Command demo runs the whole product on one machine: a hot tier for each of two clusters and a
// cold one, with generated history, tierproxy, and a real Perses server with the plugin module and a datasource that percli
// applied. scripts/demo builds its parts and starts it: make demo.
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
	// A closed terminal sends SIGHUP.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// The servers end with the thread that started them, so this thread has to remain.
	runtime.LockOSThread()
	demo := &demo{output: os.Stdout}
	once := flag.Bool("once", false, "Break and heal hot after the queries, and stop, instead of running until Ctrl-C.")
	flag.StringVar(&demo.persesPath, "perses", "", "Path of perses.")
	flag.StringVar(&demo.percliPath, "percli", "", "Path of percli.")
	flag.StringVar(&demo.proxyPath, "tierproxy", "", "Path of tierproxy.")
	flag.StringVar(&demo.archive, "plugin", "", "Path of the archive of the plugin module.")
	flag.StringVar(&demo.pageDir, "page", "", "Directory of the page.")
	flag.StringVar(&demo.controlFile, "control", "build/demo/control", "File to write the address for scripts/demo-control to.")
	flag.Parse()
	if *once {
		demo.controlFile = "" // A demo that runs on may be controlled by it.
	}
	if err := run(ctx, demo, *once); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1) //nolint:gocritic // Everything has stopped.
	}
}

// run starts everything, shows it, and stops everything.
func run(ctx context.Context, demo *demo, once bool) (err error) {
	defer func() { err = errors.Join(err, demo.stop()) }()
	for _, step := range []func(context.Context) error{
		demo.prepare, demo.startTiers, demo.startGateway, demo.startPerses, demo.applyExamples, demo.startControl, demo.show,
	} {
		if err := step(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if once {
		return demo.breakAndHeal(ctx)
	}
	demo.lead()
	<-ctx.Done()
	return nil
}
