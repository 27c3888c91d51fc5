// Package gateway is the HTTP server of tierproxy. It defines the endpoints, checks the
// callers, and writes the responses. Other packages answer the queries. It may import every
// other package of the backend; only commands and tests import it.
package gateway

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/core"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
)

// Gateway serves the URL space of tierproxy for one Manager.
type Gateway struct {
	core   *core.Core
	logger *logrus.Entry // without fields
	// metrics serves /metrics, or is nil if the admin address serves it.
	metrics http.Handler
	bodies  *admission.ByteBudget // memory for request bodies
	// callerMemory is the part of the same memory that each caller uses.
	callerMemory *admission.Budget[uint64]
	encoders     *encoders
	specs        *specWatches
	// permissionInterval is how often the permission of a live stream is looked up again.
	permissionInterval time.Duration
}

// WithoutMetrics disables /metrics, because NewAdmin serves it on a separate address. It
// returns the same Gateway.
func (g *Gateway) WithoutMetrics() *Gateway {
	g.metrics = nil
	return g
}

// New returns the handler for all endpoints. The caller starts and closes the Manager.
func New(manager *datasource.Manager) *Gateway {
	c := core.Of(manager)
	memory := int64(c.Config.Limits.RequestMemory)
	return &Gateway{
		core: c, logger: c.Logger.WithFields(nil), metrics: promhttp.HandlerFor(c.Registry, promhttp.HandlerOpts{EnableOpenMetrics: true}),
		bodies: admission.NewByteBudget(memory), callerMemory: admission.NewBudget[uint64](memory/2, 1), encoders: newEncoders(mostEncoders),
		specs: &specWatches{watched: map[perses.Reference]*specWatch{}}, permissionInterval: permissionInterval,
	}
}

// EndStreams ends all live streams, and refuses new ones: their clients connect elsewhere.
func (g *Gateway) EndStreams() { g.core.Live.Drain() }

// CachedBytes returns how many bytes of memory kept answers take, with those that wait to be kept.
func (g *Gateway) CachedBytes() uint64 {
	if g.core.Cache == nil {
		return 0
	}
	return g.core.Cache.Stats().Bytes + uint64(max(g.core.Cache.Waiting(), 0))
}
