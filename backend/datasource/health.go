package datasource

import (
	"time"
)

// The values of Health.Status.
const (
	// StatusHealthy is when every configured tier answers, and the coverage of
	// hot is known.
	StatusHealthy = "healthy"
	// StatusDegraded is when queries are answered, but not as they should be.
	StatusDegraded = "degraded"
	// StatusUnhealthy is when no tier answers.
	StatusUnhealthy = "unhealthy"
)

// Health is the state of the tiers of the configuration as the background probes
// found it. The HTTP API, /api/v1/datasources/health, has more details.
type Health struct {
	// Status is healthy, degraded or unhealthy.
	Status string
	// ThanosEndpoint and PrometheusEndpoint are the URLs of the cold and the hot
	// tier; empty where there is none.
	ThanosEndpoint, PrometheusEndpoint string
	// ServiceDiscovery is set when the gateway looks up Services in the cluster
	// that it runs in.
	ServiceDiscovery bool
	// LastCheck is the time of the latest probe; the zero time before the first.
	LastCheck time.Time
	// Tiers holds the state of each configured tier by its name, hot or cold.
	Tiers map[string]TierHealth
}

// TierHealth is the state of one tier.
type TierHealth struct {
	// Available is set when the tier answered its last probe.
	Available bool
	// LastCheck is the time of the last probe; the zero time before the first.
	LastCheck time.Time
	// Error says what is wrong; empty when nothing is.
	Error string
	// CoverageStart is the time from which on hot is asked, and CoverageEnd the
	// time up to which cold has its samples; the zero time for the other tier,
	// and where it is not known.
	CoverageStart, CoverageEnd time.Time
}

// Health returns the state of the tiers of the configuration. Before Start it is
// unhealthy.
func (m *Manager) Health() Health {
	own, err := m.core.Resolver.Own()
	if err != nil {
		return Health{Status: StatusUnhealthy, Tiers: map[string]TierHealth{}}
	}
	found := own.Health(time.Now(), true)
	health := Health{
		Status: found.Status, ThanosEndpoint: found.ThanosEndpoint, PrometheusEndpoint: found.PrometheusEndpoint,
		ServiceDiscovery: found.ServiceDiscovery, LastCheck: found.LastCheck, Tiers: make(map[string]TierHealth, len(found.Tiers)),
	}
	for name, each := range found.Tiers {
		one := TierHealth{Available: each.Available, LastCheck: each.LastCheck, Error: each.Error}
		if each.CoverageStart != nil {
			one.CoverageStart = *each.CoverageStart
		}
		if each.CoverageEnd != nil {
			one.CoverageEnd = *each.CoverageEnd
		}
		health.Tiers[name] = one
	}
	return health
}
