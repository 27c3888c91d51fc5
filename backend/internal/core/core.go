// Package core contains what the Go library and the HTTP server share: the parts of a
// gateway, and the steps that admit a query.
//
// Because of core, the library's API contains no type of an internal package: the HTTP
// server gets the parts of a Manager through Of. Besides tests, only datasource and gateway
// import core.
package core

import (
	"context"
	"errors"
	"hash/maphash"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel/trace"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/evidence"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/live"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/telemetry"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// Of returns the parts of a *datasource.Manager. Package datasource sets it.
var Of func(manager any) *Core

// WithNetwork returns a datasource.Option that replaces the network for connections to
// the tiers. Only tests use it. Package datasource sets it.
var WithNetwork func(network *upstream.Network) any

// planningQueue is the maximum number of costly queries that wait for planning.
const planningQueue = 100

// Core holds the parts of one gateway. Set the exported fields before you call Prepare.
type Core struct {
	Config   config.Config
	Logger   logrus.FieldLogger
	Registry *prometheus.Registry
	Metrics  *telemetry.Metrics
	Resolver *resolve.Resolver
	// Perses is nil without a configured Perses.
	Perses *perses.Client
	Cache  *cache.Cache
	// Evidence keeps evidence of metric names.
	Evidence *evidence.Store
	// Tracers is nil without tracing.
	Tracers trace.TracerProvider
	// Network replaces the network in tests; nil for the real one.
	Network *upstream.Network

	// Engine answers queries.
	Engine *engine.Engine
	// Live holds the live queries.
	Live *live.Hub

	planning *admission.Queue

	mutex            sync.Mutex
	started, stopped bool
	queries          sync.WaitGroup // in flight
}

// Prepare creates the engine and the limits that queries share. Call it once. The engine
// stores answers in the cache until lifetime ends.
func (c *Core) Prepare(lifetime context.Context) {
	// Costly queries use at most half of the processors, so that they do not delay others.
	c.planning = admission.NewQueue(admission.Limits{
		Concurrent: max(runtime.GOMAXPROCS(0)/2, 1), Queue: planningQueue, Wait: time.Duration(c.Config.Limits.QueueWait),
	}, nil)
	c.Engine = engine.New(engine.Options{
		Timeout: time.Duration(c.Config.Query.Timeout), Freshness: time.Duration(c.Config.Routing.Freshness),
		PieceBytes: int64(c.Config.Query.SpliceBytes), Decoded: admission.NewByteBudget(int64(c.Config.Limits.DecodedMemory)),
		Cache: c.Cache, Lifetime: lifetime, OnRetry: c.Metrics.Retried, OnCacheUse: c.Metrics.CacheUsed, OnDivided: c.Metrics.Divided.Inc,
	})
	c.Live = c.newHub()
}

// Start allows queries until Stop.
func (c *Core) Start() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.started = true
}

// Stop ends live queries, rejects new queries, and waits for the queries in flight, for at most the
// query timeout.
func (c *Core) Stop() {
	c.Live.Drain()
	c.mutex.Lock()
	c.stopped = true
	c.mutex.Unlock()
	finished := make(chan struct{})
	go func() {
		c.queries.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-time.After(time.Duration(c.Config.Query.Timeout)):
		c.Logger.Warn("queries are still in flight after the query timeout: tierproxy aborts them")
	}
}

// Begin counts a query as in flight until the caller calls end. Stop waits for it. Begin
// returns resolve.ErrNotRunning before Start and after Stop.
func (c *Core) Begin(endpoint promapi.Endpoint) (end func(), err error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if !c.started || c.stopped {
		return nil, resolve.ErrNotRunning
	}
	c.queries.Add(1)
	ended := c.Metrics.Began(endpoint)
	return func() {
		ended()
		c.queries.Done()
	}, nil
}

// Admit completes a query to a datasource. It estimates the cost of its request before
// anything parses it, queues a costly request, and confines the request to its namespaces.
// namespace is the namespace that the query itself names, or empty. The caller calls
// OnPlanned of the query at its end. Calling it twice is safe.
//
// Admit returns an Error with status 400 for PromQL that is too expensive to parse, and with
// status 503 if the queue is full. It also returns the errors of resolve.Resolver.Confine.
func (c *Core) Admit(ctx context.Context, query engine.Query, resolved *resolve.Resolved, namespace string) (engine.Query, error) {
	query.Datasource, query.OnPlanned = resolved.Datasource, func() {}
	isCostly := false
	for _, name := range []string{"query", "match[]"} {
		textIsCostly, err := promql.Check(c.Config.Query.MaxLength, query.Request.Parameters[name]...)
		if err != nil {
			return query, promapi.InvalidParameter(name, err)
		}
		isCostly = isCostly || textIsCostly
	}
	if isCostly {
		release, err := c.planning.Acquire(ctx, query.Caller)
		if overload, is := errors.AsType[*admission.OverloadError](err); is {
			return query, &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, Cause: err, RetryAfter: overload.RetryAfter,
				Message: "too many complex queries are waiting: try again later, or shorten the query"}
		}
		query.OnPlanned = sync.OnceFunc(release)
	}
	confined, confinement, err := c.Resolver.Confine(resolved, query.Request, namespace)
	if err != nil {
		query.OnPlanned()
		return query, err
	}
	query.Request, query.ConfinedTo, query.ReadsNothing = confined, confinement.Values, confinement.ReadsNothing
	return query, nil
}

// NewRequest returns the request for a validated PromQL query. With a step, it is a range
// query from start to end. Without a step, it is an instant query at end, or at now if end
// is the zero time.
func NewRequest(query string, start, end time.Time, step time.Duration, now time.Time) (*promapi.Request, error) {
	parameters := url.Values{"query": {query}}
	if step == 0 {
		if !end.IsZero() {
			parameters.Set("time", promapi.FormatTime(end))
		}
		return promapi.NewRequest(promapi.Query, "/api/v1/query", parameters, now)
	}
	parameters.Set("start", promapi.FormatTime(start))
	parameters.Set("end", promapi.FormatTime(end))
	parameters.Set("step", strconv.FormatFloat(step.Seconds(), 'f', -1, 64))
	return promapi.NewRequest(promapi.QueryRange, "/api/v1/query_range", parameters, now)
}

// seed makes caller keys unpredictable for callers.
var seed = maphash.MakeSeed()

// CallerKey returns the key of a caller in queues: see admission.Caller. It differs between
// processes.
func CallerKey(name string) uint64 { return maphash.String(seed, name) }

// LibraryCaller returns the caller of queries that come through the Go library.
func LibraryCaller() admission.Caller {
	return admission.Caller{Datasource: CallerKey(resolve.DefaultName), ID: CallerKey("library")}
}
