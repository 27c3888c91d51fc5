package telemetry

import (
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// stateCollector exposes the health of the default datasource as metrics. It reads the
// health at each scrape.
type stateCollector struct {
	// resolver is the Resolver that was started last; nil before the first Start.
	resolver     atomic.Pointer[resolve.Resolver]
	reloads      *upstream.Reloads
	descriptions map[string]*prometheus.Desc
}

// Started sets the Resolver and the cache that the metrics describe from now on.
func (m *Metrics) Started(resolver *resolve.Resolver, cache *cache.Cache) {
	m.cache.Store(cache)
	m.state.resolver.Store(resolver)
}

func newStateCollector(reloads *upstream.Reloads) *stateCollector {
	c := &stateCollector{reloads: reloads, descriptions: map[string]*prometheus.Desc{}}
	for _, metric := range []struct {
		name, help string
		labels     []string
	}{
		{"health_status", "Health of the default datasource: 1 for the current status, 0 for the others.", []string{"status"}},
		{"hot_completeness", "How tierproxy knows that its own hot tier (the first of several) has every series that a query can match: 1 for the current state; all 0 without two tiers.", []string{"state"}},
		{"hot_unused", "Whether none of the gateway's own hot tiers has answered a query for ten minutes although there were some: 1 or 0.", nil},
		{"hot_replicas", "Servers of the gateway's own hot tiers by state: available servers get queries, unavailable ones do not. 0 for a single hot tier with a URL.", []string{"state"}},
		{"tier_available", "Whether the last probe of the gateway's own tier succeeded: 1 or 0.", []string{"tier"}},
		{"tier_probe_duration_seconds", "Duration of the last probe of the gateway's own tier.", []string{"tier"}},
		{"tier_last_probe_timestamp_seconds", "End time of the last probe of the gateway's own tier; 0 before the first probe.", []string{"tier"}},
		{"hot_coverage_start_timestamp_seconds", "Timestamp of the oldest sample of the gateway's own hot tiers; NaN if it is unknown or there is no hot tier.", nil},
		{"cold_coverage_end_timestamp_seconds", "Timestamp up to which the gateway's own cold tier has all samples; NaN without a cold tier.", nil},
		{"discovered_service_state", "State of the discovered Service of the gateway's own tier: 1 for the current state; all 0 if the tier has a URL.", []string{"tier", "state"}},
		{"discovered_service_endpoints", "Endpoints of the discovered Service of the gateway's own tier.", []string{"tier"}},
		{"discovered_service_stale", "Whether the Kubernetes API is unavailable, so that the state of the Service may be outdated: 1 or 0.", []string{"tier"}},
		{"credential_reloads_total", "Reloads of changed credential and TLS files by outcome: success, or failure if the new file cannot be used.", []string{"outcome"}},
	} {
		c.descriptions[metric.name] = prometheus.NewDesc("tierproxy_"+metric.name, metric.help, metric.labels, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(descriptions chan<- *prometheus.Desc) {
	for _, description := range c.descriptions {
		descriptions <- description
	}
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(name string, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(c.descriptions[name], prometheus.GaugeValue, value, labels...)
	}
	var health resolve.Health
	oldest := tier.NothingCovered
	if resolver := c.resolver.Load(); resolver != nil {
		health.Status = resolve.StatusUnhealthy
		if datasource, err := resolver.Default(); err == nil {
			health, oldest = datasource.Health(time.Now(), true), datasource.HotOldest()
		}
	}
	for _, status := range []string{resolve.StatusHealthy, resolve.StatusDegraded, resolve.StatusUnhealthy} {
		gauge("health_status", truth(health.Status == status), status)
	}
	for _, state := range []string{"learned", "declared", "assumed"} {
		gauge("hot_completeness", truth(strings.HasPrefix(health.Completeness, state)), state)
	}
	_, hasHot := health.Tiers[string(tier.Hot)]
	gauge("hot_unused", truth(hasHot && health.HotUnused != ""))
	replicas, available := health.Tiers[string(tier.Hot)].Replicas, 0
	for _, replica := range replicas {
		if replica.Available {
			available++
		}
	}
	gauge("hot_replicas", float64(available), "available")
	gauge("hot_replicas", float64(len(replicas)-available), "unavailable")
	start, end := math.NaN(), math.NaN()
	for name, state := range health.Tiers {
		gauge("tier_available", truth(state.Available), name)
		gauge("tier_probe_duration_seconds", state.LatencySeconds, name)
		gauge("tier_last_probe_timestamp_seconds", seconds(state.LastCheck), name)
		if state.CoverageEnd != nil {
			end = seconds(*state.CoverageEnd)
		}
	}
	if oldest != tier.NothingCovered {
		start = float64(oldest) / 1000
	}
	gauge("hot_coverage_start_timestamp_seconds", start)
	gauge("cold_coverage_end_timestamp_seconds", end)
	for _, name := range tier.Names() {
		var states []string
		endpoints, isStale := 0, false
		for key, service := range health.Services {
			if of, _, _ := strings.Cut(key, " "); of == string(name) {
				states, endpoints, isStale = append(states, service.State), endpoints+service.Endpoints, isStale || service.Stale
			}
		}
		for _, state := range discovery.States() {
			gauge("discovered_service_state", truth(slices.Contains(states, string(state))), string(name), string(state))
		}
		gauge("discovered_service_endpoints", float64(endpoints), string(name))
		gauge("discovered_service_stale", truth(isStale), string(name))
	}
	succeeded, failed := c.reloads.Counts()
	for outcome, count := range map[string]uint64{OutcomeSuccess: succeeded, "failure": failed} {
		metrics <- prometheus.MustNewConstMetric(c.descriptions["credential_reloads_total"], prometheus.CounterValue, float64(count), outcome)
	}
}

func truth(holds bool) float64 {
	if holds {
		return 1
	}
	return 0
}

// seconds returns a time in seconds since the Unix epoch, and 0 for the zero time.
func seconds(at time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return float64(at.UnixMilli()) / 1000
}
