// Package datasource is the gateway as a Go library: one datasource that reads a hot Prometheus
// and a cold long-term store, such as Thanos, as if they were one.
//
// A Manager owns the connections, the background probes of both tiers and the cache. Create it
// with NewManager, start it with Start, and release it with Close. Its Router answers PromQL
// queries: see the package example.
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
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/evidence"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/core"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/telemetry"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// Config is every setting of the gateway: see package config.
type Config = config.Config

// DefaultConfig returns the default configuration.
func DefaultConfig() Config { return config.Default() }

// ConfigFromEnvironment returns DefaultConfig overridden by the environment variables. It
// returns all errors, joined.
func ConfigFromEnvironment() (Config, error) { return config.FromEnvironment() }

// Manager owns the connections, the background probes and the cache. It is safe for concurrent
// use.
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

// Option configures a Manager.
type Option func(*Manager)

// WithRegistry registers the metrics of the Manager in registry, instead of in a registry of
// its own. Two Managers cannot share a registry, except through Replacing.
func WithRegistry(registry *prometheus.Registry) Option {
	return func(m *Manager) { m.core.Registry = registry }
}

// WithTracerProvider records each step of a request as a span. Without it, the Manager records
// no spans, and forwards the trace context of callers to the tiers unchanged.
func WithTracerProvider(provider trace.TracerProvider) Option {
	return func(m *Manager) { m.core.Tracers = provider }
}

// Replacing takes over the registry, the metrics, and the evidence of metric names of the
// previous Manager. Use it after a change of the configuration, so that counters are not reset
// and nothing has to be learned again.
func Replacing(previous *Manager) Option {
	return func(m *Manager) {
		m.core.Registry, m.core.Metrics, m.core.Evidence = previous.core.Registry, previous.core.Metrics, previous.core.Evidence
	}
}

// NewManager returns a Manager that does not run before Start. It returns all errors in the
// configuration, joined, or those of reading the configured files, joined. logger must not be
// nil.
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
	if c.Evidence == nil {
		c.Evidence = evidence.NewStore()
	}
	var err, cacheError error
	c.Cache, cacheError = newCache(config.Cache)
	c.Resolver, err = resolve.New(resolve.Options{
		Config: config, Logger: logger, Meters: c.Metrics.Tiers, OnRequest: c.Metrics.Probed, Reloads: c.Metrics.Reloads, Network: c.Network,
		Evidence: sharedEvidence(c),
	})
	if err = errors.Join(cacheError, err); err != nil {
		return nil, err
	}
	if c.Perses, err = newPersesClient(config, c); err != nil {
		return nil, err
	}
	lifetime, end := context.WithCancel(context.Background())
	m.end = end
	c.Prepare(lifetime)
	return m, nil
}

func newPersesClient(config Config, c *core.Core) (*perses.Client, error) {
	if config.Perses.URL == "" {
		return nil, nil //nolint:nilnil // A nil client means that no Perses is configured.
	}
	base, err := url.Parse(config.Perses.URL)
	if err != nil {
		return nil, fmt.Errorf("perses.url: %w", err)
	}
	callers, service := c.Resolver.PersesTransports()
	return perses.NewClient(perses.Options{
		URL: base, Timeout: time.Duration(config.Perses.Timeout), Transport: callers, Service: service, Now: time.Now, OnLookup: c.Metrics.LookedUp,
		TenantHeaders: config.TenantHeaders,
	})
}

// newCache returns the cache, even if the gateway has it off, because a datasource can enable it.
// It returns an error if it cannot read a file.
func newCache(settings config.CacheConfig) (*cache.Cache, error) {
	if settings.Redis.Address == "" {
		return cache.NewMemory(int64(settings.MaxBytes)), nil
	}
	return cache.NewRedis(settings)
}

// mostEvidenceBytes is the maximum size of the shared evidence of one tier.
const mostEvidenceBytes = 1 << 20

// sharedEvidence returns the evidence of a gateway, shared with others by their Redis, if any.
func sharedEvidence(c *core.Core) *evidence.Store {
	if c.Config.Cache.Redis.Address == "" {
		return c.Evidence
	}
	load := func(ctx context.Context, key promql.Key) []byte {
		entry := c.Cache.Get(ctx, key, func(bytes int64) bool { return bytes <= mostEvidenceBytes })
		if entry == nil {
			return nil
		}
		return entry.Answer
	}
	save := func(key promql.Key, text []byte) {
		c.Cache.Put(key, &cache.Entry{Born: time.Now(), Answer: text}, c.Cache.Generation(), nil, func() bool { return true })
	}
	return c.Evidence.SharedBy(load, save)
}

// Start probes the tiers in the background, until ctx ends or you call Close. It does not wait
// for the first probe: see Settle. It returns an error if the Manager was started or closed
// before.
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

// Settle waits for the discovery, the first probe and the first comparison of the tiers, or
// until ctx ends. Queries wait for these by themselves. Call Settle after Start if the Manager
// replaces another one, so that no query has to wait.
func (m *Manager) Settle(ctx context.Context) { m.core.Resolver.Settle(ctx) }

// Close waits for the queries in flight, for at most the query timeout. It then stops the
// background probes and closes idle connections. Close always returns nil. You may call it more
// than once.
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

// Router returns the Router, which answers queries.
func (m *Manager) Router() *Router { return &Router{core: m.core} }

// ClearCache deletes all cached answers. It returns an error if Redis fails; some answers may
// then remain.
func (m *Manager) ClearCache(ctx context.Context) error { return m.core.Cache.Clear(ctx) }
