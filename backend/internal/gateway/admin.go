package gateway

import (
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// clearPath clears the cache. It is served on the admin address only.
const clearPath = "/api/v1/cache/clear"

// NewAdmin returns the handler for the admin address. It serves /metrics, the endpoints that
// change the state of the gateway and, with profiles, /debug/pprof/. Only the operator should
// reach this address. If others can, set a token in Config.Admin.
func NewAdmin(manager *datasource.Manager, profiles bool) http.Handler {
	g := New(manager)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(g.core.Registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, http.StatusOK, "tierproxy is healthy.\n")
	})
	mux.HandleFunc("POST "+clearPath, g.serveClear)
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, incoming *http.Request) {
		if incoming.URL.Path != "/-/healthy" {
			if err := g.checkAdminCaller(incoming); err != nil {
				g.core.Logger.WithError(err).WithField("path", incoming.URL.Path).Debug("rejected a request to the admin address")
				promapi.WriteError(w, err)
				return
			}
		}
		mux.ServeHTTP(w, incoming)
	})
}

// serveClear clears the cache.
func (g *Gateway) serveClear(w http.ResponseWriter, request *http.Request) {
	if err := g.core.Cache.Clear(request.Context()); err != nil {
		g.core.Logger.WithError(err).Warn("the cache was not cleared")
		promapi.WriteError(w, promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "the cache was not cleared: Redis is unavailable"))
		return
	}
	g.core.Logger.Info("the cache was cleared")
	promapi.WriteData(w, struct{}{})
}
