// Command tierproxy is the gateway behind the Perses HTTP proxy: it lets
// dashboards read a hot Prometheus and a cold long-term store as if they were
// one. See its --help and docs/configuration.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/perses/common/app"
	commonlogrus "github.com/perses/common/logrus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/common/version"
	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
)

func main() {
	if status, found := runSubcommand(os.Args[1:]); found {
		os.Exit(status)
	}
	flag.Usage = usage
	configFile := flag.String("config", "", "Path of the YAML configuration file. Without it the environment and the defaults count.")
	showVersion := flag.Bool("version", false, "Print the version and exit.")
	app.InitFlag()
	useDefaultAddress()
	flag.Parse()
	if *showVersion {
		fmt.Println(version.Print("tierproxy"))
		return
	}
	if flag.NArg() > 0 {
		exit(fmt.Errorf("unexpected argument %q: there is no such subcommand, and the server takes flags only, see --help", flag.Arg(0)))
	}
	config, err := datasource.LoadConfig(*configFile)
	if err = errors.Join(flagMistakes(), err); err != nil {
		exit(fmt.Errorf("the configuration has mistakes:\n%w", err))
	}
	commonlogrus.NewBuilder().SetUp()
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		versioncollector.NewCollector("tierproxy"),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	manager, err := datasource.NewManager(config, logrus.StandardLogger(), datasource.WithRegistry(registry))
	if err != nil {
		exit(err)
	}
	run(manager, time.Duration(config.Query.Timeout))
}

// run serves until a signal comes. Queries that are under way then finish: the
// server waits for them, and only afterwards the manager is closed.
func run(manager *datasource.Manager, queryTimeout time.Duration) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	runner := app.NewRunner().SetTimeout(queryTimeout + shutdownGrace)
	runner.HTTPServerBuilder().
		OverrideDefaultMiddleware(true). // The defaults compress answers that pass through.
		ActivatePprof(false).
		APIRegistration(gateway{manager.Handler()})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := manager.Start(ctx); err != nil {
		exit(err)
	}
	runner.Start()
	if err := manager.Close(); err != nil {
		logrus.WithError(err).Error("the manager did not close cleanly")
	}
	select {
	case <-signals:
	default:
		// The runner returns nothing, whatever the reason.
		exit(errors.New("the HTTP server ended by itself: it logged the reason as \"http server stopped\""))
	}
}

func exit(err error) {
	fmt.Fprintf(os.Stderr, "tierproxy: %s\n", err)
	os.Exit(1)
}
