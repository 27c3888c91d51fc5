package datasource

import (
	"context"
	"time"
)

// The values of Health.Status.
const (
	// StatusHealthy means that every configured tier answers, and that the coverage of hot is
	// known.
	StatusHealthy = "healthy"
	// StatusDegraded means that a tier answers, but something is wrong.
	StatusDegraded = "degraded"
	// StatusUnhealthy means that no tier answers.
	StatusUnhealthy = "unhealthy"
)

// Health is the state of the tiers of the configuration, according to the background probes.
// The endpoint /api/v1/datasources/health of the HTTP API has more details.
type Health struct {
	// Status is healthy, degraded or unhealthy.
	Status string
	// ThanosEndpoint is the URL of the cold tier, and PrometheusEndpoint the URL of the hot
	// tier. Each is empty without that tier.
	ThanosEndpoint, PrometheusEndpoint string
	// ServiceDiscovery is set if the Manager discovers Services in its cluster.
	ServiceDiscovery bool
	// LastCheck is the time of the latest probe, and the zero time before the first probe.
	LastCheck time.Time
	// Tiers holds the state of each configured tier by its name, hot or cold.
	Tiers map[string]TierHealth
}

// TierHealth is the state of one tier.
type TierHealth struct {
	// Available is set if the tier answered its last probe.
	Available bool
	// LastCheck is the time of the last probe, and the zero time before the first probe.
	LastCheck time.Time
	// Error says what is wrong, or is empty.
	Error string
	// CoverageStart is the start of hot's coverage, and CoverageEnd the end of cold's
	// coverage. Each is the zero time for the other tier, and while it is unknown.
	CoverageStart, CoverageEnd time.Time
}

// Health returns the state of the tiers of the configuration. Before Start, it is unhealthy.
func (m *Manager) Health() Health {
	datasource, err := m.core.Resolver.Default()
	if err != nil {
		return Health{Status: StatusUnhealthy, Tiers: map[string]TierHealth{}}
	}
	noWait, cancel := context.WithCancel(context.Background())
	cancel()
	datasource.Refresh(noWait)
	detailed := datasource.Health(time.Now(), true)
	health := Health{
		Status: detailed.Status, ThanosEndpoint: detailed.ThanosEndpoint, PrometheusEndpoint: detailed.PrometheusEndpoint,
		ServiceDiscovery: detailed.ServiceDiscovery, LastCheck: detailed.LastCheck, Tiers: make(map[string]TierHealth, len(detailed.Tiers)),
	}
	for name, state := range detailed.Tiers {
		tier := TierHealth{Available: state.Available, LastCheck: state.LastCheck, Error: state.Error}
		if state.CoverageStart != nil {
			tier.CoverageStart = *state.CoverageStart
		}
		if state.CoverageEnd != nil {
			tier.CoverageEnd = *state.CoverageEnd
		}
		health.Tiers[name] = tier
	}
	return health
}
