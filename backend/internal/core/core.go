// Package core is what the Go library and the HTTP server share: the parts of
// one gateway, and the way of a query that both of them take.
//
// It exists so that the library has no type of an internal package in its API:
// the HTTP server reaches the parts of a Manager through Of.
package core

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel/trace"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/telemetry"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// Of returns the parts of a *datasource.Manager. Package datasource sets it.
var Of func(manager any) *Core

// WithNetwork returns a datasource.Option by which connections to the tiers go
// over the network of a test. Package datasource sets it.
var WithNetwork func(network *upstream.Network) any

// planningQueue is how many costly queries wait to be planned.
const planningQueue = 100

// Core is the parts of one gateway. They are set before it is used.
type Core struct {
	Config   config.Config
	Logger   logrus.FieldLogger
	Registry *prometheus.Registry
	Metrics  *telemetry.Metrics
	Resolver *resolve.Resolver
	// Perses is nil where no Perses is configured.
	Perses *perses.Client
	Cache  *cache.Cache
	// Tracers is nil where nothing is traced.
	Tracers trace.TracerProvider
	// Network replaces the network in tests; nil for the real one.
	Network *upstream.Network

	planning *admission.Queue
	splicing *engine.Splicing
	decoded  *admission.ByteBudget

	mutex    sync.Mutex
	lifetime context.Context //nolint:containedctx // From Start to Stop.
	stopped  bool
	queries  sync.WaitGroup // those that are being answered
}

// Prepare makes what queries share. It is called once, after the parts are set.
func (c *Core) Prepare() {
	// Half of the processors plan costly queries, so that they delay no other.
	c.planning = admission.NewQueue(admission.Limits{
		Concurrent: max(runtime.GOMAXPROCS(0)/2, 1), Queue: planningQueue, Wait: time.Duration(c.Config.Limits.QueueWait),
	}, nil)
	c.splicing = engine.NewSplicing(int64(c.Config.Query.SpliceBytes))
	c.decoded = admission.NewByteBudget(int64(c.Config.Limits.DecodedMemory))
}

// Start lets queries begin until Stop is called; lifetime ends after that.
func (c *Core) Start(lifetime context.Context) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.lifetime = lifetime
}

// Stop lets no further query begin, and waits for those that are under way, at
// most the query timeout.
func (c *Core) Stop() {
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
		c.Logger.Warn("queries are still under way after the query timeout: they are cut off")
	}
}

// Begin counts a query until the function that it returns is called: Stop waits
// for it. It returns resolve.ErrNotRunning before Start and after Stop.
func (c *Core) Begin(endpoint promapi.Endpoint) (end func(), err error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.lifetime == nil || c.stopped {
		return nil, resolve.ErrNotRunning
	}
	c.queries.Add(1)
	ended := c.Metrics.Began(endpoint)
	return func() {
		ended()
		c.queries.Done()
	}, nil
}

// Admit checks what a request costs, queues it where that is much, and confines
// it. Nothing parses a request before. The caller calls planned when the request
// is planned, and may call it again.
//
// It returns an Error with status 400 for PromQL that costs too much to be read
// at all, with status 503 where too many such requests wait, and the errors of
// resolve.Resolver.Confine.
func (c *Core) Admit(ctx context.Context, asked *resolve.Resolved, request *promapi.Request, namespace string) (_ *promapi.Request, planned func(), err error) {
	isCostly := false
	for _, name := range []string{"query", "match[]"} {
		isCostlyOne, err := promql.Check(c.Config.Query.MaxLength, request.Parameters[name]...)
		if err != nil {
			return nil, nil, promapi.InvalidParameter(name, err)
		}
		isCostly = isCostly || isCostlyOne
	}
	planned = func() {}
	if isCostly {
		release, err := c.planning.Acquire(ctx, request.Caller)
		if overload, is := errors.AsType[*admission.OverloadError](err); is {
			return nil, nil, &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, Cause: err, RetryAfter: overload.RetryAfter,
				Message: "too many queries wait that take long to read: try again later, or shorten the query"}
		}
		planned = sync.OnceFunc(release)
	}
	confined, err := c.Resolver.Confine(asked, request, namespace)
	if err != nil {
		planned()
		return nil, nil, err
	}
	return confined, planned, nil
}

// Query joins a request and the datasource that it is for.
func (c *Core) Query(asked *resolve.Resolved, request *promapi.Request) engine.Query {
	query := asked.Query(request)
	query.OnRetry, query.Timeout, query.Freshness = c.Metrics.Retried, time.Duration(c.Config.Query.Timeout), time.Duration(c.Config.Routing.Freshness)
	query.Decoded, query.Splicing = c.decoded, c.splicing
	if asked.UsesCache() && c.lifetime != nil {
		query.Caching = &engine.Caching{Cache: c.Cache, Scope: asked.CacheScope(), Lifetime: c.lifetime, OnUse: c.Metrics.CacheUsed}
	}
	return query
}
