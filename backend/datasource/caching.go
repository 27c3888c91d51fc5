package datasource

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resultcache"
)

// headerCache says of an answer how much of it came from the cache.
const headerCache = "X-Tier-Cache"

// clearPath forgets everything that is cached; on the admin address only.
const clearPath = "/api/v1/cache/clear"

// newCache makes the cache of the configuration. Datasources may use it although
// it is off for the others. It returns an error when a file cannot be read.
func (m *Manager) newCache() error {
	m.fingerprint = m.config.fingerprint()
	if m.config.Cache.Redis.Address == "" {
		m.cache = resultcache.NewMemory(int64(m.config.Cache.MaxBytes))
		return nil
	}
	options, err := m.config.Cache.redis()
	if err == nil {
		m.cache = resultcache.NewRedis(options)
	}
	return err
}

// scopeOf returns everything that can change what cold answers to a datasource, and
// is not part of a request: the operator's configuration, the datasource and its
// generation, where its tiers are and which tenant they are asked for. Which
// credential goes out, and where it may go, follows from these.
func (m *Manager) scopeOf(label, generation string, places ...place) string {
	parts := []string{m.fingerprint, label, generation}
	for _, each := range places {
		at := each.destination
		parts = append(parts, fmt.Sprintf("%q %q %s %s %s %+v %q %q %q %q",
			at.name, at.url, at.retention, at.lag, at.scrapeInterval, at.tenancy, at.headers, at.service, at.address, at.replica))
	}
	return strings.Join(parts, "\n")
}

// applyCacheControl lets a caller pass the cache by, once: no-cache reads nothing
// from it, no-store keeps nothing either.
func applyCacheControl(caching *engine.CacheControl, header http.Header) {
	for _, value := range header.Values("Cache-Control") {
		for directive := range strings.SplitSeq(value, ",") {
			switch strings.ToLower(strings.TrimSpace(directive)) {
			case "no-cache":
				caching.NoRead = true
			case "no-store":
				caching.NoRead, caching.NoStore = true, true
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
func (m *Manager) serveClear(w http.ResponseWriter, request *http.Request) {
	if err := m.ClearCache(request.Context()); err != nil {
		m.logger.WithError(err).Warn("the cache was not cleared")
		promapi.WriteError(w, promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "the cache was not cleared: Redis could not be asked"))
		return
	}
	m.logger.Info("the cache was cleared")
	promapi.WriteData(w, struct{}{})
}

// ClearCache forgets all answers that are kept. It returns an error when the
// place where they are kept could not be asked; then some may be left.
func (m *Manager) ClearCache(ctx context.Context) error { return m.cache.Clear(ctx) }
