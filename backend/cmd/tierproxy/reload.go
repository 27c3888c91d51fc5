package main

import (
	"context"
	"crypto/sha256"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	commonlogrus "github.com/perses/common/logrus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
)

// settleTimeout bounds how long a new configuration is looked at before it
// serves: a tier that is down must not hold it up for good.
const settleTimeout = 30 * time.Second

// reloader serves with the gateway of the configuration as it is now. A new
// configuration gets a gateway of its own, which takes the place of the old one
// once it knows its tiers; the old one finishes the queries that it has.
type reloader struct {
	options  *options
	settings []datasource.Option
	// tracers take the spans of requests; nil where nothing is traced.
	tracers *sdktrace.TracerProvider

	hangups   chan os.Signal
	known     [sha256.Size]byte // the content of the file that was read last; start's alone
	succeeded prometheus.Gauge
	at        prometheus.Gauge

	mutex   sync.Mutex
	current *generation

	running sync.WaitGroup // gateways that finish
}

// generation is the gateway of one configuration.
type generation struct {
	manager        *datasource.Manager
	handler, admin http.Handler
	timeout        time.Duration // the longest that a query takes

	active  int           // requests, guarded by the reloader's mutex
	retired bool          // guarded too
	idle    chan struct{} // closed when it is retired and has no requests
}

// newReloader returns a reloader for the first configuration, which start
// starts. It returns the mistakes that the flags and the configuration have.
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
	if r.current, err = r.make(config, datasource.WithRegistry(registry)); err != nil {
		return nil, err
	}
	r.loaded()
	return r, nil
}

func (r *reloader) loaded() {
	r.succeeded.Set(1)
	r.at.SetToCurrentTime()
}

// make makes the gateway of a configuration.
func (r *reloader) make(config datasource.Config, option datasource.Option) (*generation, error) {
	manager, err := datasource.NewManager(config, logrus.StandardLogger(), append([]datasource.Option{option}, r.settings...)...)
	if err != nil {
		return nil, err
	}
	var handled []gateway.Option
	if r.options.adminAddress != "" {
		handled = append(handled, gateway.WithSeparateAdmin())
	}
	return &generation{
		manager: manager, handler: gateway.New(manager, handled...), admin: gateway.NewAdmin(manager, r.options.pprof),
		timeout: time.Duration(config.Query.Timeout), idle: make(chan struct{}),
	}, nil
}

// start starts the first gateway and follows the configuration until ctx ends.
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
			select {
			case <-ctx.Done():
				return
			case <-r.hangups:
				r.known = r.fingerprint()
				r.reload(ctx)
			case <-ticks:
				if changed := r.fingerprint(); changed != r.known {
					r.known = changed
					r.reload(ctx)
				}
			}
		}
	})
	return nil
}

// fingerprint tells one content of the configuration file from another. A file
// that cannot be read, as while it is replaced, has one of its own.
func (r *reloader) fingerprint() [sha256.Size]byte {
	content, err := os.ReadFile(r.options.config)
	if err != nil {
		return [sha256.Size]byte{}
	}
	return sha256.Sum256(content)
}

// reload takes over the configuration as it is now. Where that has mistakes,
// they are logged and the old one serves on.
func (r *reloader) reload(ctx context.Context) {
	var next *generation
	config, err := r.options.read()
	if err == nil {
		next, err = r.make(config, datasource.Replacing(r.current.manager)) // Nobody else changes current.
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
	previous.retired = true
	if previous.active == 0 {
		close(previous.idle)
	}
	r.mutex.Unlock()
	r.loaded()
	logrus.Info("the configuration was reloaded")
	r.running.Go(func() {
		<-previous.idle
		closeManager(previous.manager)
	})
}

func closeManager(manager *datasource.Manager) {
	if err := manager.Close(); err != nil {
		logrus.WithError(err).Error("the manager did not close cleanly")
	}
}

// stop closes the gateway after the last request. The context of start has to
// be canceled afterwards; wait then returns.
func (r *reloader) stop() {
	r.mutex.Lock()
	current := r.current
	r.mutex.Unlock()
	closeManager(current.manager)
}

// wait returns once nothing runs any more.
func (r *reloader) wait() { r.running.Wait() }

// enter returns the gateway that serves now, which does not close before leave
// is called.
func (r *reloader) enter() *generation {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.current.active++
	return r.current
}

func (r *reloader) leave(entered *generation) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	entered.active--
	if entered.retired && entered.active == 0 {
		close(entered.idle)
	}
}

// ServeHTTP implements http.Handler.
func (r *reloader) ServeHTTP(w http.ResponseWriter, incoming *http.Request) {
	now := r.enter()
	defer r.leave(now)
	now.handler.ServeHTTP(w, incoming)
}

// serveAdmin answers at the admin address.
func (r *reloader) serveAdmin(w http.ResponseWriter, incoming *http.Request) {
	now := r.enter()
	defer r.leave(now)
	now.admin.ServeHTTP(w, incoming)
}
