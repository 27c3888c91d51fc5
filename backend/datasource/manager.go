// Package datasource is the gateway as a library: one datasource that reads a
// hot Prometheus and a cold long-term store as if they were one.
//
// A Manager owns everything that lives longer than a query: connections, the
// background probes of both tiers, and kept answers. Its Router answers queries.
//
//	config, err := datasource.ConfigFromEnvironment()
//	…
//	manager, err := datasource.NewManager(config, logger)
//	…
//	if err := manager.Start(ctx); err != nil { … }
//	defer manager.Close()
//	result, err := manager.Router().ExecuteQuery(ctx, &datasource.MetricQuery{Query: "up"})
package datasource

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel/trace"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/core"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/telemetry"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// Config is every setting of the gateway: see package config.
type Config = config.Config

// DefaultConfig returns the configuration that holds where nothing is set.
func DefaultConfig() Config { return config.Default() }

// ConfigFromEnvironment returns DefaultConfig changed by the environment
// variables. It returns all mistakes at once, joined.
func ConfigFromEnvironment() (Config, error) { return config.FromEnvironment() }

// Manager owns the lifecycle of the gateway. It is safe for concurrent use.
type Manager struct {
	core *core.Core

	// end ends what outlives queries.
	end context.CancelFunc

	mutex   sync.Mutex
	cancel  context.CancelFunc // nil before Start
	closed  bool
	stopped sync.Once
}

func init() {
	core.Of = func(manager any) *core.Core {
		return manager.(*Manager).core //nolint:forcetypeassert // Nothing else is passed.
	}
	core.WithNetwork = func(network *upstream.Network) any {
		return Option(func(m *Manager) { m.core.Network = network })
	}
}

// Option changes a Manager while it is made.
type Option func(*Manager)

// WithRegistry registers the metrics of the Manager in the given registry instead
// of one of its own. Two Managers cannot share one.
func WithRegistry(registry *prometheus.Registry) Option {
	return func(m *Manager) { m.core.Registry = registry }
}

// WithTracerProvider records each step of a request as a span. Without it nothing
// is traced, and the trace context of callers is passed on to the tiers unchanged.
func WithTracerProvider(provider trace.TracerProvider) Option {
	return func(m *Manager) { m.core.Tracers = provider }
}

// Replacing continues the registry and the metrics of the Manager that the new one
// replaces, as after a change of the configuration: counters do not start again at
// zero.
func Replacing(previous *Manager) Option {
	return func(m *Manager) { m.core.Registry, m.core.Metrics = previous.core.Registry, previous.core.Metrics }
}

// NewManager returns a Manager that is not running yet. It returns all mistakes of
// the configuration at once, and an error when a file that the configuration names
// cannot be read. logger must not be nil.
func NewManager(config Config, logger logrus.FieldLogger, options ...Option) (*Manager, error) {
	if logger == nil {
		return nil, errors.New("a Manager needs a logger")
	}
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("invalid configuration: %w", err)
	}
	c := &core.Core{Config: config, Logger: logger, Registry: prometheus.NewRegistry()}
	m := &Manager{core: c}
	for _, option := range options {
		option(m)
	}
	if c.Metrics == nil {
		c.Metrics = telemetry.New(c.Registry)
	}
	var err error
	if c.Resolver, err = resolve.New(resolve.Options{
		Config: config, Logger: logger, Meters: c.Metrics.Tiers, Reloads: c.Metrics.Reloads, Network: c.Network,
	}); err != nil {
		return nil, err
	}
	if c.Perses, err = newPersesClient(config, c); err != nil {
		return nil, err
	}
	if c.Cache, err = newCache(config.Cache); err != nil {
		return nil, err
	}
	lifetime, end := context.WithCancel(context.Background())
	m.end = end
	c.Prepare(lifetime)
	return m, nil
}

func newPersesClient(config Config, c *core.Core) (*perses.Client, error) {
	if config.Perses.URL == "" {
		return nil, nil //nolint:nilnil // No Perses is nil throughout.
	}
	base, err := url.Parse(config.Perses.URL)
	if err != nil {
		return nil, fmt.Errorf("perses.url: %w", err)
	}
	callers, service := c.Resolver.PersesTransports()
	return perses.NewClient(perses.Options{
		URL: base, Timeout: time.Duration(config.Perses.Timeout), Transport: callers, Service: service, Now: time.Now, OnLookup: c.Metrics.LookedUp,
	})
}

// newCache returns the cache of the configuration. Datasources may use it although
// it is off for others. It returns an error when a file cannot be read.
func newCache(settings config.CacheConfig) (*cache.Cache, error) {
	if settings.Redis.Address == "" {
		return cache.NewMemory(int64(settings.MaxBytes)), nil
	}
	options, err := cache.OptionsOf(settings)
	if err != nil {
		return nil, err
	}
	return cache.NewRedis(options), nil
}

// Start begins to probe the tiers in the background, until ctx ends or Close is
// called. It does not wait for the first probe: see Health. It returns an error
// when the Manager was started or closed before.
func (m *Manager) Start(ctx context.Context) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.closed || m.cancel != nil {
		return errors.New("a Manager can be started once")
	}
	ctx, m.cancel = context.WithCancel(ctx)
	context.AfterFunc(ctx, m.end)
	m.core.Start()
	err := m.core.Resolver.Start(ctx)
	m.core.Metrics.Started(m.core.Resolver, m.core.Cache)
	return err
}

// Settle waits until the tiers of the configuration have been found and probed and
// it is known what they hold, or until ctx ends. Queries wait for the same by
// themselves. Call it, after Start, before a Manager replaces another one, so that
// no query has to wait.
func (m *Manager) Settle(ctx context.Context) { m.core.Resolver.Settle(ctx) }

// Close waits for the queries that are under way, at most the query timeout, then
// stops the background probes and closes idle connections. It may be called more
// than once, and always returns nil.
func (m *Manager) Close() error {
	m.mutex.Lock()
	m.closed = true
	cancel := m.cancel
	m.mutex.Unlock()
	m.stopped.Do(func() {
		defer m.core.Cache.Close()
		defer m.end()
		if cancel == nil {
			return
		}
		m.core.Stop()
		cancel()
		m.core.Resolver.Stop()
	})
	return nil
}

// Router returns the router for queries.
func (m *Manager) Router() *Router { return &Router{core: m.core} }

// ClearCache forgets all answers that are kept. It returns an error when the
// place where they are kept could not be asked; then some may be left.
func (m *Manager) ClearCache(ctx context.Context) error { return m.core.Cache.Clear(ctx) }
