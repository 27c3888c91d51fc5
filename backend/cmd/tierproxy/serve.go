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

	"github.com/perses/common/app"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/sirupsen/logrus"
)

// serve is what tierproxy does without a subcommand: it serves until a signal
// comes. Queries that are under way then finish: the server waits for them, and
// only afterwards the gateway is closed.
func serve(options *options) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		versioncollector.NewCollector("tierproxy"),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	gateways, err := newReloader(options, registry)
	if err != nil {
		return err
	}
	runner := app.NewRunner().SetTimeout(gateways.current.timeout + shutdownGrace)
	if gateways.tracers != nil {
		runner.OTeLProviderBuilder().SetProvider(gateways.tracers)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	files, err := options.tlsFiles()
	if err != nil {
		return fmt.Errorf("--web.tls-cert-file, --web.tls-key-file, --web.tls-client-ca-file: %w", err)
	}
	served := urlSpace{handler: gateways}
	if files != nil {
		if served.listener, err = listen(value("web.listen-address"), files); err != nil {
			return fmt.Errorf("--web.listen-address: %w", err)
		}
		// The library would read the files once, and then never again.
		if err := errors.Join(flag.Set("web.tls-cert-file", ""), flag.Set("web.tls-key-file", "")); err != nil {
			return err
		}
	}
	runner.HTTPServerBuilder().
		OverrideDefaultMiddleware(true). // The defaults compress answers that pass through.
		ActivatePprof(false).
		APIRegistration(served)
	stopAdmin, err := serveAdmin(gateways, options, files)
	if err != nil {
		return fmt.Errorf("--web.admin-address: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := gateways.start(ctx); err != nil {
		return err
	}
	runner.Start()
	stopAdmin()
	gateways.stop()
	cancel()
	gateways.wait()
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
func serveAdmin(gateways *reloader, options *options, files *tlsFiles) (stop func(), err error) {
	if options.adminAddress == "" {
		return func() {}, nil
	}
	listener, err := listen(options.adminAddress, files)
	if err != nil {
		return nil, err
	}
	server := &http.Server{
		Handler: http.HandlerFunc(gateways.serveAdmin), MaxHeaderBytes: maxHeaderBytes,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: adminTimeout, WriteTimeout: adminTimeout, IdleTimeout: idleTimeout,
	}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logrus.WithError(err).Error("the admin address is no longer served")
		}
	}()
	logrus.Infof("the admin address is %s", listener.Addr())
	return func() { _ = server.Close() }, nil // What is cut off is a scrape.
}
