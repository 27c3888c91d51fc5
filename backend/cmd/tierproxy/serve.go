package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/perses/common/app"
	commonlogrus "github.com/perses/common/logrus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
)

// serve is what tierproxy does without a subcommand.
func serve(options *options) error {
	config, err := datasource.LoadConfig(options.config)
	if err = errors.Join(options.mistakes(&config), err); err != nil {
		return fmt.Errorf("the configuration has mistakes:\n%w", err)
	}
	commonlogrus.NewBuilder().SetUp()
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		versioncollector.NewCollector("tierproxy"),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	settings := []datasource.Option{datasource.WithRegistry(registry)}
	if options.adminAddress != "" {
		settings = append(settings, datasource.WithSeparateAdmin())
	}
	manager, err := datasource.NewManager(config, logrus.StandardLogger(), settings...)
	if err != nil {
		return err
	}
	return serveWith(manager, options, time.Duration(config.Query.Timeout))
}

// serveWith serves until a signal comes. Queries that are under way then
// finish: the server waits for them, and only afterwards the manager is closed.
func serveWith(manager *datasource.Manager, options *options, queryTimeout time.Duration) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	files, err := options.tlsFiles()
	if err != nil {
		return fmt.Errorf("--web.tls-cert-file, --web.tls-key-file, --web.tls-client-ca-file: %w", err)
	}
	served := gateway{handler: manager.Handler()}
	if files != nil {
		if served.listener, err = listen(value("web.listen-address"), files); err != nil {
			return fmt.Errorf("--web.listen-address: %w", err)
		}
		// The library would read the files once, and then never again.
		if err := errors.Join(flag.Set("web.tls-cert-file", ""), flag.Set("web.tls-key-file", "")); err != nil {
			return err
		}
	}
	runner := app.NewRunner().SetTimeout(queryTimeout + shutdownGrace)
	runner.HTTPServerBuilder().
		OverrideDefaultMiddleware(true). // The defaults compress answers that pass through.
		ActivatePprof(false).
		APIRegistration(served)
	stopAdmin, err := serveAdmin(manager, options, files)
	if err != nil {
		return fmt.Errorf("--web.admin-address: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := manager.Start(ctx); err != nil {
		return err
	}
	runner.Start()
	stopAdmin()
	if err := manager.Close(); err != nil {
		logrus.WithError(err).Error("the manager did not close cleanly")
	}
	select {
	case <-signals:
		return nil
	default:
		// The runner returns nothing, whatever the reason.
		return errors.New("the HTTP server ended by itself: it logged the reason as \"http server stopped\"")
	}
}

// serveAdmin serves the admin address, if there is one, until the function that
// it returns is called.
func serveAdmin(manager *datasource.Manager, options *options, files *tlsFiles) (stop func(), err error) {
	if options.adminAddress == "" {
		return func() {}, nil
	}
	listener, err := listen(options.adminAddress, files)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: manager.AdminHandler(options.pprof), ReadHeaderTimeout: readHeaderTimeout}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logrus.WithError(err).Error("the admin address is no longer served")
		}
	}()
	logrus.Infof("the admin address is %s", listener.Addr())
	return func() { _ = server.Close() }, nil // What is cut off is a scrape.
}
