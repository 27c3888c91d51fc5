package gateway

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// headerCache says of an answer how much of it came from the cache.
const headerCache = "X-Tier-Cache"

// clearPath forgets everything that is cached; on the admin address only.
const clearPath = "/api/v1/cache/clear"

// applyCacheControl lets a caller pass the cache by, once: no-cache reads nothing
// from it, no-store keeps nothing either.
func applyCacheControl(control *engine.CacheControl, header http.Header) {
	for _, value := range header.Values("Cache-Control") {
		for directive := range strings.SplitSeq(value, ",") {
			switch strings.ToLower(strings.TrimSpace(directive)) {
			case "no-cache":
				control.NoRead = true
			case "no-store":
				control.NoRead, control.NoStore = true, true
			}
		}
	}
}

// cacheText is the header of an answer that says how much of it came from the
// cache.
func cacheText(use *engine.CacheUse) string {
	return fmt.Sprintf("%s; steps=%d/%d", use.Result, use.Cached, use.Steps)
}

// serveClear forgets everything that is cached.
func (g *Gateway) serveClear(w http.ResponseWriter, request *http.Request) {
	if err := g.core.Cache.Clear(request.Context()); err != nil {
		g.core.Logger.WithError(err).Warn("the cache was not cleared")
		promapi.WriteError(w, promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "the cache was not cleared: Redis could not be asked"))
		return
	}
	g.core.Logger.Info("the cache was cleared")
	promapi.WriteData(w, struct{}{})
}
