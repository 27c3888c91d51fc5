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

	// Engine answers queries.
	Engine *engine.Engine

	planning *admission.Queue

	mutex            sync.Mutex
	started, stopped bool
	queries          sync.WaitGroup // those that are being answered
}

// Prepare makes what queries share. It is called once, after the parts are set.
// Answers are kept until lifetime ends.
func (c *Core) Prepare(lifetime context.Context) {
	// Half of the processors plan costly queries, so that they delay no other.
	c.planning = admission.NewQueue(admission.Limits{
		Concurrent: max(runtime.GOMAXPROCS(0)/2, 1), Queue: planningQueue, Wait: time.Duration(c.Config.Limits.QueueWait),
	}, nil)
	c.Engine = engine.New(engine.Options{
		Timeout: time.Duration(c.Config.Query.Timeout), Freshness: time.Duration(c.Config.Routing.Freshness),
		PieceBytes: int64(c.Config.Query.SpliceBytes), Decoded: admission.NewByteBudget(int64(c.Config.Limits.DecodedMemory)),
		Cache: c.Cache, Lifetime: lifetime, OnRetry: c.Metrics.Retried, OnCacheUse: c.Metrics.CacheUsed,
	})
}

// Start lets queries begin until Stop is called.
func (c *Core) Start() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.started = true
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

// Asked is a request for a datasource, and who makes it.
type Asked struct {
	Request  *promapi.Request
	Resolved *resolve.Resolved
	Caller   promapi.Caller
	// Namespace is one that the query itself is confined to; empty for none.
	Namespace string
	// DetachOnCancel is set for a client that has gone once its context ends.
	DetachOnCancel bool
}

// Admit makes a query of what is asked. It checks what it costs, queues it where
// that is much, and confines it. Nothing parses a request before. The caller calls
// OnPlanned of the query at its end; more than one call does no harm.
//
// It returns an Error with status 400 for PromQL that costs too much to be read
// at all, with status 503 where too many such requests wait, and the errors of
// resolve.Resolver.Confine.
func (c *Core) Admit(ctx context.Context, asked Asked) (engine.Query, error) {
	query := engine.Query{
		Request: asked.Request, Datasource: asked.Resolved.Datasource, Caller: asked.Caller, DetachOnCancel: asked.DetachOnCancel, OnPlanned: func() {},
	}
	isCostly := false
	for _, name := range []string{"query", "match[]"} {
		isCostlyOne, err := promql.Check(c.Config.Query.MaxLength, asked.Request.Parameters[name]...)
		if err != nil {
			return query, promapi.InvalidParameter(name, err)
		}
		isCostly = isCostly || isCostlyOne
	}
	if isCostly {
		release, err := c.planning.Acquire(ctx, asked.Caller)
		if overload, is := errors.AsType[*admission.OverloadError](err); is {
			return query, &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, Cause: err, RetryAfter: overload.RetryAfter,
				Message: "too many queries wait that take long to read: try again later, or shorten the query"}
		}
		query.OnPlanned = sync.OnceFunc(release)
	}
	confined, confinement, err := c.Resolver.Confine(asked.Resolved, asked.Request, asked.Namespace)
	if err != nil {
		query.OnPlanned()
		return query, err
	}
	query.Request, query.ConfinedTo, query.ReadsNothing = confined, confinement.Values, confinement.ReadsNothing
	return query, nil
}
