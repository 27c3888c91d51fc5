package telemetry

import (
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resultcache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// stateCollector tells the state of the gateway's own tiers when it is asked,
// from what the health of the default datasource tells.
type stateCollector struct {
	// resolver is the one that was started last; nil before.
	resolver atomic.Pointer[resolve.Resolver]
	reloads  *upstream.Reloads

	status, completeness, replicas               *prometheus.Desc
	available, probeDuration, lastProbe          *prometheus.Desc
	coverageStart, coverageEnd                   *prometheus.Desc
	serviceState, serviceEndpoints, serviceStale *prometheus.Desc
	credentialReloads                            *prometheus.Desc
}

// Started makes a Resolver the one whose default datasource the metrics describe,
// and a cache the one that they describe.
func (m *Metrics) Started(resolver *resolve.Resolver, cache *resultcache.Cache) {
	m.cache.Store(cache)
	m.state.resolver.Store(resolver)
}

func newStateCollector(reloads *upstream.Reloads) *stateCollector {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("tierproxy_"+name, help, labels, nil)
	}
	return &stateCollector{
		reloads: reloads,
		status:  describe("health_status", "Status that the health of the default datasource has: 1 for the one that holds.", "status"),
		completeness: describe("hot_completeness",
			"How it is known whether the gateway's own hot tier has every series that a query may match: 1 for what holds; all 0 without two tiers.", "state"),
		replicas:      describe("hot_replicas", "Replicas of the gateway's own hot tier that are asked, and that are not.", "state"),
		available:     describe("tier_available", "Whether the last probe of the gateway's own tier succeeded.", "tier"),
		probeDuration: describe("tier_probe_duration_seconds", "Time that the last probe of the gateway's own tier took.", "tier"),
		lastProbe:     describe("tier_last_probe_timestamp_seconds", "When the last probe of the gateway's own tier ended; 0 before the first.", "tier"),
		coverageStart: describe("hot_coverage_start_timestamp_seconds",
			"Timestamp of the oldest sample of the gateway's own hot tier; NaN while it is not known, and without one."),
		coverageEnd: describe("cold_coverage_end_timestamp_seconds",
			"Timestamp up to which the gateway's own cold tier has its samples; NaN without one."),
		serviceState: describe("discovered_service_state",
			"What is known of the Service that the gateway's own tier is found by: 1 for the state that holds; all 0 where it is named by its URL.", "tier", "state"),
		serviceEndpoints: describe("discovered_service_endpoints", "Servers behind the Service that the gateway's own tier is found by.", "tier"),
		serviceStale: describe("discovered_service_stale",
			"Whether the Kubernetes API cannot be asked and the rest is what was known last.", "tier"),
		credentialReloads: describe("credential_reloads_total",
			"Changed files of credentials and TLS by outcome: success, taken over; failure, one that served before cannot be used.", "outcome"),
	}
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(descriptions chan<- *prometheus.Desc) {
	for _, each := range []*prometheus.Desc{
		c.status, c.completeness, c.replicas, c.available, c.probeDuration, c.lastProbe, c.coverageStart, c.coverageEnd,
		c.serviceState, c.serviceEndpoints, c.serviceStale, c.credentialReloads,
	} {
		descriptions <- each
	}
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(found chan<- prometheus.Metric) {
	gauge := func(description *prometheus.Desc, value float64, labels ...string) {
		found <- prometheus.MustNewConstMetric(description, prometheus.GaugeValue, value, labels...)
	}
	var health resolve.Health
	oldest := tier.NothingCovered
	if resolver := c.resolver.Load(); resolver != nil {
		health.Status = resolve.StatusUnhealthy
		if own, err := resolver.Own(); err == nil {
			health, oldest = own.Health(time.Now(), true), own.HotOldest()
		}
	}
	for _, status := range []string{resolve.StatusHealthy, resolve.StatusDegraded, resolve.StatusUnhealthy} {
		gauge(c.status, truth(health.Status == status), status)
	}
	for _, state := range []string{"learned", "declared", "assumed"} {
		gauge(c.completeness, truth(strings.HasPrefix(health.Completeness, state)), state)
	}
	asked, notAsked := 0, 0
	for _, each := range health.Tiers[string(tier.Hot)].Replicas {
		if each.Available {
			asked++
		} else {
			notAsked++
		}
	}
	gauge(c.replicas, float64(asked), "available")
	gauge(c.replicas, float64(notAsked), "unavailable")
	start, end := math.NaN(), math.NaN()
	for name, each := range health.Tiers {
		gauge(c.available, truth(each.Available), name)
		gauge(c.probeDuration, each.LatencySeconds, name)
		gauge(c.lastProbe, seconds(each.LastCheck), name)
		if each.CoverageEnd != nil {
			end = seconds(*each.CoverageEnd)
		}
	}
	if oldest != tier.NothingCovered {
		start = float64(oldest) / 1000
	}
	gauge(c.coverageStart, start)
	gauge(c.coverageEnd, end)
	for _, name := range tier.Names() {
		service, isFound := health.Services[string(name)]
		for _, state := range discovery.States() {
			gauge(c.serviceState, truth(isFound && service.State == string(state)), string(name), string(state))
		}
		gauge(c.serviceEndpoints, float64(service.Endpoints), string(name))
		gauge(c.serviceStale, truth(service.Stale), string(name))
	}
	succeeded, failed := c.reloads.Counts()
	for outcome, count := range map[string]uint64{OutcomeSuccess: succeeded, "failure": failed} {
		found <- prometheus.MustNewConstMetric(c.credentialReloads, prometheus.CounterValue, float64(count), outcome)
	}
}

func truth(holds bool) float64 {
	if holds {
		return 1
	}
	return 0
}

// seconds is a time in seconds since the Unix epoch; the zero time is 0.
func seconds(at time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return float64(at.UnixMilli()) / 1000
}
