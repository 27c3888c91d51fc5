// Package gateway is the HTTP server of tierproxy: which requests are served, who
// may make them, and what their answers look like on the wire. How a query is
// answered is the business of the packages below it.
package gateway

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/core"
)

// Gateway serves the URL space of tierproxy for one Manager.
type Gateway struct {
	core *core.Core
	// metrics serves /metrics; nil where the admin address does.
	metrics http.Handler
	bodies  *admission.ByteBudget // of requests
	// callerMemory is what each caller holds of the same memory.
	callerMemory *admission.Budget[uint64]
}

// Option changes a Gateway while it is made.
type Option func(*Gateway)

// WithSeparateAdmin leaves /metrics to NewAdmin, which is then served on an address
// of its own.
func WithSeparateAdmin() Option {
	return func(g *Gateway) { g.metrics = nil }
}

// New returns the handler of the whole URL space, for a Manager that the caller
// starts and closes.
func New(manager *datasource.Manager, options ...Option) *Gateway {
	c := core.Of(manager)
	memory := int64(c.Config.Limits.RequestMemory)
	g := &Gateway{
		core: c, metrics: promhttp.HandlerFor(c.Registry, promhttp.HandlerOpts{EnableOpenMetrics: true}),
		bodies: admission.NewByteBudget(memory), callerMemory: admission.NewBudget[uint64](memory/2, 1),
	}
	for _, option := range options {
		option(g)
	}
	return g
}
