package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	commonlogrus "github.com/perses/common/logrus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
)

// settleTimeout limits how long a new configuration probes its tiers before it serves,
// because a tier may be down.
const settleTimeout = 30 * time.Second

// reloader serves requests with the gateway of the current configuration. A new
// configuration gets its own gateway, which replaces the previous one after it has probed
// its tiers. The previous one finishes its requests.
type reloader struct {
	options  *options
	settings []datasource.Option
	// tracers is nil without tracing.
	tracers *sdktrace.TracerProvider

	hangups   chan os.Signal
	known     [sha256.Size]byte // hash of the loaded file
	succeeded prometheus.Gauge
	at        prometheus.Gauge

	mutex   sync.Mutex
	current *generation

	running    sync.WaitGroup // goroutines of start and reload
	isStopping atomic.Bool
}

// generation is the gateway of one configuration.
type generation struct {
	manager        *datasource.Manager
	handler, admin http.Handler
	cachedBytes    func() uint64
	endStreams     func()
	timeout        time.Duration  // query.timeout
	requests       sync.WaitGroup // in flight; only the current generation gets new ones
}

// newReloader returns a reloader with the gateway of the configuration, which start starts.
// It returns all mistakes in the flags and the configuration.
func newReloader(options *options, registry *prometheus.Registry) (*reloader, error) {
	r := &reloader{
		options: options, hangups: make(chan os.Signal, 1),
		succeeded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tierproxy_config_last_reload_successful", Help: "Whether the last attempt to load the configuration succeeded.",
		}),
		at: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tierproxy_config_last_reload_success_timestamp_seconds", Help: "Timestamp of the last time that the configuration was loaded.",
		}),
	}
	signal.Notify(r.hangups, syscall.SIGHUP)
	registry.MustRegister(r.succeeded, r.at)
	r.known = r.fingerprint()
	config, err := options.read()
	if err != nil {
		return nil, err
	}
	commonlogrus.NewBuilder().SetUp()
	if config.Tracing.Endpoint != "" {
		if r.tracers, err = newTracerProvider(config.Tracing); err != nil {
			return nil, err
		}
		r.settings = append(r.settings, datasource.WithTracerProvider(r.tracers))
	}
	if r.current, err = r.generate(config, datasource.WithRegistry(registry)); err != nil {
		return nil, err
	}
	r.loaded()
	return r, nil
}

func (r *reloader) loaded() {
	r.succeeded.Set(1)
	r.at.SetToCurrentTime()
}

// generate returns the gateway of a configuration.
func (r *reloader) generate(config datasource.Config, option datasource.Option) (*generation, error) {
	manager, err := datasource.NewManager(config, logrus.StandardLogger(), append([]datasource.Option{option}, r.settings...)...)
	if err != nil {
		return nil, fmt.Errorf("the configuration has mistakes:\n%w", err)
	}
	handler := gateway.New(manager)
	if r.options.adminAddress != "" {
		handler = handler.WithoutMetrics()
	}
	return &generation{
		manager: manager, handler: handler, cachedBytes: handler.CachedBytes, endStreams: handler.EndStreams, admin: gateway.NewAdmin(manager, r.options.pprof),
		timeout: time.Duration(config.Query.Timeout),
	}, nil
}

// start starts the gateway, and reloads the configuration until ctx ends: on SIGHUP, and if
// the content of the file has changed.
func (r *reloader) start(ctx context.Context) error {
	if err := r.current.manager.Start(ctx); err != nil {
		return err
	}
	r.running.Go(func() {
		defer signal.Stop(r.hangups)
		var ticks <-chan time.Time
		if r.options.config != "" && r.options.reloadInterval > 0 {
			ticker := time.NewTicker(r.options.reloadInterval)
			defer ticker.Stop()
			ticks = ticker.C
		}
		for {
			isForced := false
			select {
			case <-ctx.Done():
				return
			case <-r.hangups:
				isForced = true
			case <-ticks:
			}
			if hash := r.fingerprint(); isForced || hash != r.known {
				r.known = hash
				r.reload(ctx)
			}
		}
	})
	return nil
}

// fingerprint returns a hash of the configuration file, and zero if it cannot be read.
func (r *reloader) fingerprint() [sha256.Size]byte {
	content, err := os.ReadFile(r.options.config)
	if err != nil {
		return [sha256.Size]byte{}
	}
	return sha256.Sum256(content)
}

// reload replaces the gateway by that of the current configuration. If the configuration has
// mistakes, reload logs them, and the previous gateway continues.
func (r *reloader) reload(ctx context.Context) {
	var next *generation
	config, err := r.options.read()
	if err == nil {
		next, err = r.generate(config, datasource.Replacing(r.current.manager)) // Only reload changes current.
	}
	if err == nil {
		err = next.manager.Start(ctx)
	}
	if err != nil {
		r.succeeded.Set(0)
		logrus.WithError(err).Error("the configuration was not reloaded: the previous one serves on")
		return
	}
	settling, cancel := context.WithTimeout(ctx, settleTimeout)
	next.manager.Settle(settling)
	cancel()
	r.mutex.Lock()
	previous := r.current
	r.current = next
	r.mutex.Unlock()
	r.loaded()
	logrus.Info("the configuration was reloaded")
	r.running.Go(func() {
		previous.endStreams()
		previous.requests.Wait()
		_ = previous.manager.Close() // It never fails.
	})
}

// stop waits for the queries in flight, and closes the gateway. Cancel the context of start
// afterwards, and wait for running.
func (r *reloader) stop() {
	r.mutex.Lock()
	current := r.current
	r.mutex.Unlock()
	_ = current.manager.Close() // It never fails.
}

// endStreams ends all live streams, so that their clients connect elsewhere.
func (r *reloader) endStreams() {
	r.mutex.Lock()
	current := r.current
	r.mutex.Unlock()
	current.endStreams()
}

// cachedBytes returns how many bytes of memory kept answers take.
func (r *reloader) cachedBytes() uint64 {
	r.mutex.Lock()
	current := r.current
	r.mutex.Unlock()
	return current.cachedBytes()
}

// serve serves a request with a handler of the current gateway.
func (r *reloader) serve(w http.ResponseWriter, incoming *http.Request, handlerOf func(*generation) http.Handler) {
	r.mutex.Lock()
	serving := r.current
	serving.requests.Add(1)
	r.mutex.Unlock()
	defer serving.requests.Done()
	handlerOf(serving).ServeHTTP(w, incoming)
}

// announceStop makes load balancers and clients go elsewhere, before the listener is closed.
func (r *reloader) announceStop() { r.isStopping.Store(true) }

// ServeHTTP implements http.Handler.
func (r *reloader) ServeHTTP(w http.ResponseWriter, incoming *http.Request) {
	if r.isStopping.Load() {
		w.Header().Set("Connection", "close")
		if incoming.URL.Path == "/-/ready" {
			http.Error(w, "tierproxy stops", http.StatusServiceUnavailable)
			return
		}
	}
	r.serve(w, incoming, func(g *generation) http.Handler { return g.handler })
}

// serveAdmin serves the admin address.
func (r *reloader) serveAdmin(w http.ResponseWriter, incoming *http.Request) {
	r.serve(w, incoming, func(g *generation) http.Handler { return g.admin })
}
