// Command tierproxy is the gateway behind the Perses HTTP proxy: it lets
// dashboards read a hot Prometheus and a cold long-term store as if they were
// one. See its --help and docs/configuration.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/perses/common/app"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/common/version"
	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
)

// defaultAddress is where tierproxy listens unless it is told otherwise.
const defaultAddress = ":9190"

func main() {
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
		exit(fmt.Errorf("unexpected argument %q: tierproxy takes flags only, see --help", flag.Arg(0)))
	}
	config, err := datasource.LoadConfig(*configFile)
	if err != nil {
		exit(fmt.Errorf("the configuration has mistakes:\n%w", err))
	}
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
	runner := app.NewRunner().SetTimeout(queryTimeout + shutdownGrace).WithDefaultLogrusBuilder()
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
}

// useDefaultAddress gives the listen address of the server library the
// default of tierproxy.
func useDefaultAddress() {
	listen := flag.Lookup("web.listen-address")
	listen.DefValue = defaultAddress
	if err := listen.Value.Set(defaultAddress); err != nil {
		exit(fmt.Errorf("set the default listen address: %w", err))
	}
}

func exit(err error) {
	fmt.Fprintf(os.Stderr, "tierproxy: %s\n", err)
	os.Exit(1)
}
