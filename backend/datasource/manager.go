// Package datasource is the gateway as a library: one datasource that reads a
// hot Prometheus and a cold long-term store as if they were one.
//
// A Manager owns everything that lives longer than a query: connections,
// background probes and the cache of saved datasources. Its Router answers
// queries of Go programs, its Handler those that come over HTTP; both take the
// same way.
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
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel/trace"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resultcache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

var nan = math.NaN()

// Manager owns the lifecycle of the gateway. It is safe for concurrent use.
type Manager struct {
	config   Config
	logger   logrus.FieldLogger
	registry *prometheus.Registry
	metrics  *metrics
	pool     *tierPool
	engine   *engine.Engine       // from Start
	bodies   *upstream.ByteBudget // of requests
	// callerMemory is what callers hold of the same memory.
	callerMemory *upstream.Shares[uint64]
	planning     *upstream.AdmissionQueue
	cache        *resultcache.Cache
	// fingerprint is that of the configuration.
	fingerprint string
	access      *accesses
	rules       *rules
	perses      *perses.Client // nil where there is no Perses
	// discovery is nil where there is none; noDiscovery says why.
	discovery   *discovery.Discovery
	noDiscovery string
	network     *upstream.Network // nil but in tests
	// own is the default datasource where its tiers stay what they are.
	own atomic.Pointer[source]

	// checks bounds the looks at tiers that somebody asks for.
	checks *upstream.Probing

	disagreementsMutex sync.Mutex
	disagreements      map[string]disagreement // by Service
	router             *Router
	handler            http.Handler

	queries sync.WaitGroup // those that are being answered

	mutex   sync.Mutex
	cancel  context.CancelFunc // nil before Start
	closed  bool
	stopped sync.Once

	separateAdmin bool
	tracers       trace.TracerProvider // nil where nothing is traced
}

// Option changes a Manager while it is made.
type Option func(*Manager)

// WithRegistry makes the Manager register its metrics in the given registry
// instead of one of its own. Two Managers cannot share one.
func WithRegistry(registry *prometheus.Registry) Option {
	return func(m *Manager) { m.registry = registry }
}

// WithSeparateAdmin leaves /metrics to AdminHandler, which is then served on an
// address of its own.
func WithSeparateAdmin() Option {
	return func(m *Manager) { m.separateAdmin = true }
}

// WithNetwork lets connections to the tiers go over a network of a test, where
// the addresses of a cluster do not exist. For the tests of this module only.
func WithNetwork(network *upstream.Network) Option {
	return func(m *Manager) { m.network = network }
}

// Replacing makes the Manager go on with the registry and the metrics of the one
// that it takes the place of, as after a change of the configuration: counters
// do not begin anew.
func Replacing(previous *Manager) Option {
	return func(m *Manager) { m.registry, m.metrics = previous.registry, previous.metrics }
}

// NewManager returns a Manager that is not running yet. It returns the
// mistakes of the configuration, all at once, and an error when a file of TLS
// cannot be read. logger must not be nil.
func NewManager(config Config, logger logrus.FieldLogger, options ...Option) (*Manager, error) {
	if logger == nil {
		return nil, errors.New("a Manager needs a logger")
	}
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("invalid configuration: %w", err)
	}
	m := &Manager{config: config, logger: logger, registry: prometheus.NewRegistry(), checks: upstream.NewProbing(checksAtOnce, 0), disagreements: map[string]disagreement{}}
	for _, option := range options {
		option(m)
	}
	if m.metrics == nil {
		m.metrics = newMetrics(m.registry)
		m.metrics.addRequests(m.registry)
		m.metrics.addState(m.registry)
	}
	m.pool = newTierPool(config)
	m.planning = newPlanningQueue(config)
	m.bodies = upstream.NewByteBudget(int64(config.Limits.RequestMemory))
	m.callerMemory = upstream.NewShares[uint64](int64(config.Limits.RequestMemory)/2, 1)
	m.pool.meters = m.metrics.tiers
	m.pool.network, m.pool.onProbe = m.network, m.observeProbe
	m.pool.keep = func() { _, _ = m.ownSource() } // It fails only while the Manager stops.
	m.pool.ownHot = func() string { return m.ownPlace(tier.Hot).url }
	var err error
	if m.access, err = newAccesses(config, m.metrics.reloads); err != nil {
		return nil, err
	}
	m.access.warn(logger)
	if m.rules, err = newRules(config); err != nil {
		return nil, err
	}
	if m.perses, err = newPersesClient(config.Perses, m.access, m.metrics); err != nil {
		return nil, err
	}
	if m.discovery, err = m.newDiscovery(); err != nil {
		return nil, err
	}
	if m.discovery == nil && m.perses == nil && config.Hot.URL == "" && config.Cold.URL == "" {
		return nil, fmt.Errorf("hot.url, cold.url: without Perses and discovery at least one tier has to be set, and Services are not discovered: %s", m.noDiscovery)
	}
	if err := m.newCache(); err != nil {
		return nil, err
	}
	m.router = &Router{manager: m}
	m.handler = m.newHandler()
	return m, nil
}

func newPersesClient(config PersesConfig, access *accesses, metrics *metrics) (*perses.Client, error) {
	base, err := parseURL(config.URL)
	if err != nil || base == nil {
		return nil, err
	}
	return perses.NewClient(perses.Options{
		URL: base, Timeout: time.Duration(config.Timeout), Transport: access.perses, Service: access.persesService, Now: time.Now,
		OnLookup: func(outcome string) { metrics.lookups.WithLabelValues(outcome).Inc() },
	})
}

// Start begins to probe the tiers in the background, until ctx ends or Close
// is called. It does not wait for the first probe: see Health. It returns an
// error when the Manager was started or closed before.
func (m *Manager) Start(ctx context.Context) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.closed || m.cancel != nil {
		return errors.New("a Manager can be started once")
	}
	ctx, m.cancel = context.WithCancel(ctx) //nolint:gosec // Close calls it.
	m.engine = m.newEngine(ctx)
	m.metrics.cache.Store(m.cache)
	m.pool.start(ctx)
	m.startDiscovery(ctx)
	m.access.announce(m.logger, m.config, m.isDiscovered)
	m.metrics.state.of(m)
	_, err := m.ownSource()
	return err
}

// Settle waits until the tiers of the configuration have been found and probed
// and it is known what they hold, or until ctx ends. Queries wait for the same
// by themselves: a Manager that takes the place of another one settles first,
// so that they need not. It must have been started.
func (m *Manager) Settle(ctx context.Context) {
	own, err := m.settled(ctx, m.ownSource)
	if err != nil {
		return
	}
	for _, each := range []*upstream.Tier{own.hot, own.cold} {
		if each != nil {
			each.Wait(ctx)
		}
	}
	for _, each := range own.replicas {
		each.Hot.Wait(ctx)
	}
	if own.pair != nil {
		own.pair.Wait(ctx)
	}
}

// Close waits for the queries that are under way, at most the query timeout,
// then stops the background probes and closes idle connections. It may be
// called more than once, and always returns nil.
func (m *Manager) Close() error {
	m.mutex.Lock()
	m.closed = true
	cancel := m.cancel
	m.mutex.Unlock()
	m.stopped.Do(func() {
		defer m.cache.Close()
		if cancel == nil {
			return
		}
		m.waitForQueries()
		cancel()
		if m.discovery != nil {
			m.discovery.Stop()
		}
		m.pool.stop()
	})
	return nil
}

// begin counts a query until the function that it returns is called: Close
// waits for it. It returns an error before Start and after Close.
func (m *Manager) begin(endpoint promapi.Endpoint) (end func(), err error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.closed || m.cancel == nil {
		return nil, errNotRunning
	}
	started := time.Now()
	m.queries.Add(1)
	m.metrics.inFlight.Inc()
	return func() {
		m.metrics.inFlight.Dec()
		m.metrics.durations[endpoint].Observe(time.Since(started).Seconds())
		m.queries.Done()
	}, nil
}

func (m *Manager) waitForQueries() {
	finished := make(chan struct{})
	go func() {
		m.queries.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-time.After(time.Duration(m.config.Query.Timeout)):
		m.logger.Warn("queries are still under way after the query timeout: they are cut off")
	}
}

// Router returns the router for queries of Go programs.
func (m *Manager) Router() *Router { return m.router }

// Handler returns the HTTP handler with the whole URL space of tierproxy.
func (m *Manager) Handler() http.Handler { return m.handler }

// observeProbe logs what a probe of the gateway's own tier changed.
func (m *Manager) observeProbe(probed *upstream.Tier, status upstream.Status) {
	if !status.Since.Equal(status.CheckedAt) {
		return
	}
	entry := m.logger.WithField("tier", string(probed.Name()))
	if probed.Replica() != "" {
		entry = entry.WithField("replica", probed.Replica())
	}
	if status.Available {
		entry.Info("the tier is available")
		return
	}
	entry.WithField("cause", status.Error).Warn("the tier is unavailable")
}
