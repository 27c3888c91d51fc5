package telemetry

import (
	"math"
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
	resolver atomic.Pointer[resolve.Resolver]
	reloads  *upstream.Reloads

	status, completeness, replicas               *prometheus.Desc
	available, probeDuration, lastProbe          *prometheus.Desc
	coverageStart, coverageEnd                   *prometheus.Desc
	serviceState, serviceEndpoints, serviceStale *prometheus.Desc
	credentialReloads                            *prometheus.Desc
}

// Started sets the Resolver and the cache that the metrics describe from now on.
func (m *Metrics) Started(resolver *resolve.Resolver, cache *cache.Cache) {
	m.cache.Store(cache)
	m.state.resolver.Store(resolver)
}

func newStateCollector(reloads *upstream.Reloads) *stateCollector {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("tierproxy_"+name, help, labels, nil)
	}
	return &stateCollector{
		reloads: reloads,
		status:  describe("health_status", "Health of the default datasource: 1 for the current status, 0 for the others.", "status"),
		completeness: describe("hot_completeness",
			"How tierproxy knows that its own hot tier has every series that a query can match: 1 for the current state; all 0 without two tiers.", "state"),
		replicas:      describe("hot_replicas", "Replicas of the gateway's own hot tier by state: available replicas get queries, unavailable ones do not.", "state"),
		available:     describe("tier_available", "Whether the last probe of the gateway's own tier succeeded: 1 or 0.", "tier"),
		probeDuration: describe("tier_probe_duration_seconds", "Duration of the last probe of the gateway's own tier.", "tier"),
		lastProbe:     describe("tier_last_probe_timestamp_seconds", "End time of the last probe of the gateway's own tier; 0 before the first probe.", "tier"),
		coverageStart: describe("hot_coverage_start_timestamp_seconds",
			"Timestamp of the oldest sample of the gateway's own hot tier; NaN if it is unknown or there is no hot tier."),
		coverageEnd: describe("cold_coverage_end_timestamp_seconds",
			"Timestamp up to which the gateway's own cold tier has all samples; NaN without a cold tier."),
		serviceState: describe("discovered_service_state",
			"State of the discovered Service of the gateway's own tier: 1 for the current state; all 0 if the tier has a URL.", "tier", "state"),
		serviceEndpoints: describe("discovered_service_endpoints", "Endpoints of the discovered Service of the gateway's own tier.", "tier"),
		serviceStale: describe("discovered_service_stale",
			"Whether the Kubernetes API is unavailable, so that the state of the Service may be outdated: 1 or 0.", "tier"),
		credentialReloads: describe("credential_reloads_total",
			"Reloads of changed credential and TLS files by outcome: success, or failure if the new file cannot be used.", "outcome"),
	}
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(descriptions chan<- *prometheus.Desc) {
	for _, description := range []*prometheus.Desc{
		c.status, c.completeness, c.replicas, c.available, c.probeDuration, c.lastProbe, c.coverageStart, c.coverageEnd,
		c.serviceState, c.serviceEndpoints, c.serviceStale, c.credentialReloads,
	} {
		descriptions <- description
	}
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(description *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(description, prometheus.GaugeValue, value, labels...)
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
		gauge(c.status, truth(health.Status == status), status)
	}
	for _, state := range []string{"learned", "declared", "assumed"} {
		gauge(c.completeness, truth(strings.HasPrefix(health.Completeness, state)), state)
	}
	available, unavailable := 0, 0
	for _, replica := range health.Tiers[string(tier.Hot)].Replicas {
		if replica.Available {
			available++
		} else {
			unavailable++
		}
	}
	gauge(c.replicas, float64(available), "available")
	gauge(c.replicas, float64(unavailable), "unavailable")
	start, end := math.NaN(), math.NaN()
	for name, state := range health.Tiers {
		gauge(c.available, truth(state.Available), name)
		gauge(c.probeDuration, state.LatencySeconds, name)
		gauge(c.lastProbe, seconds(state.LastCheck), name)
		if state.CoverageEnd != nil {
			end = seconds(*state.CoverageEnd)
		}
	}
	if oldest != tier.NothingCovered {
		start = float64(oldest) / 1000
	}
	gauge(c.coverageStart, start)
	gauge(c.coverageEnd, end)
	for _, name := range tier.Names() {
		service, hasService := health.Services[string(name)]
		for _, state := range discovery.States() {
			gauge(c.serviceState, truth(hasService && service.State == string(state)), string(name), string(state))
		}
		gauge(c.serviceEndpoints, float64(service.Endpoints), string(name))
		gauge(c.serviceStale, truth(service.Stale), string(name))
	}
	succeeded, failed := c.reloads.Counts()
	for outcome, count := range map[string]uint64{OutcomeSuccess: succeeded, "failure": failed} {
		metrics <- prometheus.MustNewConstMetric(c.credentialReloads, prometheus.CounterValue, float64(count), outcome)
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
