package gateway

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// headerCache is the header that says how much of an answer came from the cache.
const headerCache = "X-Tier-Cache"

// clearPath clears the cache. It is served on the admin address only.
const clearPath = "/api/v1/cache/clear"

// applyCacheControl applies the Cache-Control header of a request. no-cache reads nothing from
// the cache; no-store neither reads nor writes.
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

// cacheText returns the value of the X-Tier-Cache header.
func cacheText(use *engine.CacheUse) string {
	return fmt.Sprintf("%s; steps=%d/%d", use.Result, use.Cached, use.Steps)
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
