package gateway

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
)

const healthPath = "/api/v1/datasources/health"

// defaultHealth returns the health of the default datasource. Every caller may read it. Only
// callers that may query the datasource see the configuration of its tiers.
func (g *Gateway) defaultHealth(incoming *http.Request) resolve.Health {
	resolved, err := g.core.Resolver.Default()
	if err != nil {
		return resolve.Health{Status: resolve.StatusUnhealthy, Tiers: map[string]resolve.TierHealth{}}
	}
	return resolved.Health(time.Now(), resolved.ShowsConfiguration() && g.checkDefaultCaller(incoming) == nil)
}

// writeHealth responds with the health as JSON, and with status 503 if it is unhealthy.
func writeHealth(w http.ResponseWriter, health resolve.Health) {
	w.Header().Set("Content-Type", "application/json")
	if health.Status == resolve.StatusUnhealthy {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(health) // The client may have disconnected.
}
