package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/perses/common/async/taskhelper"
	commonecho "github.com/perses/common/echo"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/common/version"
	"github.com/sirupsen/logrus"
)

const (
	// shutdownGrace is how much longer than the longest query a shutdown may take.
	shutdownGrace = 5 * time.Second
	// flushTimeout is how long sending the last spans may take.
	flushTimeout = 5 * time.Second
	// readHeaderTimeout is the timeout for reading the header of a request.
	readHeaderTimeout = 10 * time.Second
	// idleTimeout is how long a connection without a request stays open.
	idleTimeout = 2 * time.Minute
	// maxHeaderBytes limits the header of a request, including its query string.
	maxHeaderBytes = 512 << 10
	// adminTimeout limits a request to the admin address. A profile takes 30 s by default.
	adminTimeout = 2 * time.Minute
	// writeTimeout limits answers for which no handler sets a deadline.
	writeTimeout = 2 * time.Minute
	// stuckTimeout is how long an HTTP/2 connection stays open if its client accepts no
	// byte. The deadlines of its streams do not close such a connection.
	stuckTimeout = 30 * time.Second
)

// serve is the command without a subcommand: it serves until a signal arrives, and for the
// delay of the flags. The HTTP server then finishes the requests in flight, before the
// gateway is closed.
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
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	files, err := options.tlsFiles()
	if err != nil {
		return fmt.Errorf("--web.tls-cert-file, --web.tls-key-file, --web.tls-client-ca-file: %w", err)
	}
	stopAdmin, err := serveAdmin(gateways, options, files)
	if err != nil {
		return fmt.Errorf("--web.admin-address: %w", err)
	}
	served := urlSpace{handler: gateways, endStreams: gateways.endStreams}
	// The server library would only log why it cannot listen.
	if served.listener, err = listen(value("web.listen-address"), files); err != nil {
		return fmt.Errorf("--web.listen-address: %w", err)
	}
	if files != nil {
		// The library would read the files only once.
		if err := errors.Join(flag.Set("web.tls-cert-file", ""), flag.Set("web.tls-key-file", "")); err != nil {
			return err
		}
	}
	server, err := commonecho.NewBuilder().
		OverrideDefaultMiddleware(true). // The default compresses answers again.
		ActivatePprof(false).
		APIRegistration(served).
		Build()
	if err != nil {
		return err
	}
	task, err := taskhelper.New(server)
	if err != nil {
		return err
	}
	defer paceGarbage(gateways.cachedBytes)()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := gateways.start(ctx); err != nil {
		return err
	}
	logrus.Info("tierproxy starts: ", version.Info())
	serving, stop := context.WithCancel(ctx)
	defer stop()
	patience := gateways.current.timeout + shutdownGrace // A reload may change current later.
	taskhelper.Run(serving, stop, task)
	isAsked := stopWhenAsked(serving, signals, options.shutdownDelay, gateways.announceStop)
	stop()
	taskhelper.WaitAll(patience, []taskhelper.Helper{task})
	stopAdmin()
	gateways.stop()
	cancel()
	gateways.running.Wait()
	if gateways.tracers != nil {
		flushTraces(gateways.tracers)
	}
	if !isAsked {
		// The task only logs the reason.
		return errors.New("the HTTP server ended by itself: it logged the reason as \"http server stopped\"")
	}
	return nil
}

// stopWhenAsked returns true after a signal and a delay, which a second signal ends. It calls
// announce when the delay begins. It returns false once serving ends by itself.
func stopWhenAsked(serving context.Context, signals <-chan os.Signal, delay time.Duration, announce func()) bool {
	select {
	case <-serving.Done():
		return false
	case received := <-signals:
		logrus.Infof("tierproxy stops after %s: %s", delay, received)
	}
	announce()
	select {
	case <-serving.Done():
	case <-signals:
	case <-time.After(delay):
	}
	return true
}

// serveAdmin serves the admin address, if there is one, until the caller calls stop.
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
	return func() { _ = server.Close() }, nil // It aborts at most a scrape.
}

// urlSpace registers the gateway for all paths of the server library.
type urlSpace struct {
	handler http.Handler
	// endStreams is called when the server stops: it waits for requests, and streams have no end.
	endStreams func()
	listener   net.Listener
}

// RegisterRoute implements the server library's Register. The handlers of requests set their
// own deadlines; the write timeout is for the rest.
func (g urlSpace) RegisterRoute(framework *echo.Echo) {
	for _, server := range []*http.Server{framework.Server, framework.TLSServer} {
		server.ReadHeaderTimeout, server.IdleTimeout, server.WriteTimeout = readHeaderTimeout, idleTimeout, writeTimeout
		server.MaxHeaderBytes = maxHeaderBytes
		server.HTTP2 = &http.HTTP2Config{WriteByteTimeout: stuckTimeout}
		server.RegisterOnShutdown(g.endStreams)
	}
	framework.Listener = g.listener
	framework.Any("/*", echo.WrapHandler(g.handler))
}
