package gateway

import (
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// NewAdmin returns the handler for the admin address: /metrics, what changes the
// state of the gateway and, with profiles, /debug/pprof/. Nobody but the operator
// should reach that address; where others can, Config.Admin names a token.
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
				g.core.Logger.WithError(err).WithField("path", incoming.URL.Path).Debug("a caller of the admin address is refused")
				promapi.WriteError(w, err)
				return
			}
		}
		mux.ServeHTTP(w, incoming)
	})
}
