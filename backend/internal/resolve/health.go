package resolve

import (
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// The values of Health.Status.
const (
	// StatusHealthy: every configured tier answers, and the coverage of hot
	// is known.
	StatusHealthy = "healthy"
	// StatusDegraded: queries are answered, but not as they should be.
	StatusDegraded = "degraded"
	// StatusUnhealthy: no tier answers.
	StatusUnhealthy = "unhealthy"
)

// Health is the state of a datasource as the background probes found it. Its
// JSON is the answer of /api/v1/datasources/health.
type Health struct {
	// Status is healthy, degraded or unhealthy.
	Status string `json:"status"`
	// ThanosEndpoint and PrometheusEndpoint are the URLs of the cold and the
	// hot tier; empty where there is none.
	ThanosEndpoint     string `json:"thanos_endpoint"`
	PrometheusEndpoint string `json:"prometheus_endpoint"`
	// ServiceDiscovery tells whether the gateway looks up Services in the
	// cluster that it runs in.
	ServiceDiscovery bool `json:"service_discovery"`
	// LastCheck is the time of the latest probe, RFC 3339; the zero time
	// before the first.
	LastCheck time.Time `json:"last_check"`
	// Tiers holds the state of each configured tier by its name, hot or cold.
	Tiers map[string]TierHealth `json:"tiers"`
	// Completeness says how it is known whether hot has every series that a
	// query may match: "learned", "declared", or "assumed: " with the reason.
	// Absent without two tiers.
	Completeness string `json:"completeness,omitempty"`
	// LearningError says why that could not be brought up to date; empty when
	// it could.
	LearningError string `json:"learning_error,omitempty"`
	// HotUnused says why the datasource is asked without a hot tier although
	// there is one. Absent where it is not.
	HotUnused string `json:"hot_unused,omitempty"`
	// Services holds what is known of the Services of the tiers, by tier name.
	// A tier that is named by its URL has none.
	Services map[string]ServiceHealth `json:"services,omitempty"`
}

// ServiceHealth is what is known of the Service that a tier was found by.
type ServiceHealth struct {
	// Name is that of the Service with its namespace.
	Name string `json:"name"`
	// State is found, absent, no-ready-endpoints, forbidden, unusable or
	// unknown.
	State string `json:"state"`
	// Message says what is not as it should be, and what to change.
	Message string `json:"message,omitempty"`
	// Stale is set while the Kubernetes API cannot be asked, and the rest is
	// what was known last.
	Stale bool `json:"stale,omitempty"`
	// Endpoints is the number of servers behind the Service, as far as it is
	// known.
	Endpoints int `json:"endpoints"`
	// Addresses are those of the servers, IP address and port, as far as they
	// are known.
	Addresses []string `json:"addresses,omitempty"`
}

// ReplicaHealth is the state of one of the servers that hold the hot tier.
type ReplicaHealth struct {
	// Name is that of its pod.
	Name string `json:"name"`
	// Ready is what the cluster says of it.
	Ready bool `json:"ready"`
	// Available is set when it is asked.
	Available bool `json:"available"`
	// Error says why not; empty when nothing is wrong.
	Error string `json:"error,omitempty"`
	// CoverageStart is the time from which on it is asked.
	CoverageStart *time.Time `json:"coverage_start,omitempty"`
}

// TierHealth is the state of one tier.
type TierHealth struct {
	// Endpoint is the tier's URL.
	Endpoint string `json:"endpoint"`
	// Available is set when the tier answered its last probe.
	Available bool `json:"available"`
	// Since is since when that has been so.
	Since time.Time `json:"since"`
	// LastCheck is the time of the last probe.
	LastCheck time.Time `json:"last_check"`
	// Error says what is wrong; empty when nothing is.
	Error string `json:"error,omitempty"`
	// LatencySeconds is how long the last probe took.
	LatencySeconds float64 `json:"latency_seconds"`
	// CoverageStart is the time from which on hot is asked; absent for cold
	// and where it is not known. CoverageEnd is the time up to which cold has
	// its samples; absent for hot.
	CoverageStart *time.Time `json:"coverage_start,omitempty"`
	CoverageEnd   *time.Time `json:"coverage_end,omitempty"`
	// ExternalLabels are those that hot adds to its series on the way out, as
	// learned; absent where they are not known.
	ExternalLabels map[string]string `json:"external_labels,omitempty"`
	// Sources are the external labels of what cold holds, replica labels
	// removed, as learned; absent where cold does not tell.
	Sources []map[string]string `json:"sources,omitempty"`
	// Replicas are the servers that hold the tier, where each of them is asked
	// by itself. What is said of the tier is then true of one of them at least.
	Replicas []ReplicaHealth `json:"replicas,omitempty"`
}

// Health returns the state of the datasource. Unless detailed is set, it holds
// nothing of the configuration of the tiers: no external labels, no sources, no
// paths, which may name tenants, and no addresses of servers.
func (r *Resolved) Health(now time.Time, detailed bool) Health {
	health := Health{Status: StatusHealthy, ServiceDiscovery: r.discovers, HotUnused: r.HotUnused, Tiers: make(map[string]TierHealth)}
	answering := 0
	for _, each := range []*catalog.Tier{r.Hot, r.Cold} {
		if each == nil {
			continue
		}
		status := each.Status()
		problem := status.ErrorFor(detailed)
		if each == r.Hot {
			status, problem = r.hotStatus(detailed)
		}
		endpoint := each.EndpointFor(detailed)
		if status.CheckedAt.After(health.LastCheck) {
			health.LastCheck = status.CheckedAt.UTC()
		}
		if each.Name() == tier.Hot {
			health.PrometheusEndpoint = endpoint
		} else {
			health.ThanosEndpoint = endpoint
		}
		if status.Available {
			answering++
		}
		if problem != "" || len(status.Notes) > 0 {
			health.Status = StatusDegraded
		}
		found := tierHealth(each, status, now, problem, detailed)
		if each == r.Cold {
			state := each.State(now)
			if r.Pair != nil {
				state = r.Pair.ColdState(now)
			}
			end := time.UnixMilli(state.Newest).UTC()
			found.CoverageEnd = &end
		}
		if each == r.Hot {
			r.addReplicas(&found, now, detailed)
		}
		health.Tiers[string(each.Name())] = found
	}
	r.addServices(&health, detailed)
	if answering == 0 {
		health.Status = StatusUnhealthy
	}
	if r.Pair != nil {
		health.addLearned(r.Pair.Snapshot(), detailed)
	}
	return health
}

// ShownHealth returns the health as callers of the datasource may see it.
func (r *Resolved) ShownHealth(now time.Time) Health { return r.Health(now, r.ShowsConfiguration()) }

// addLearned tells what is known of both tiers together.
func (h *Health) addLearned(learned *catalog.Snapshot, detailed bool) {
	h.LearningError = learned.Error
	known := learned.Knowledge
	switch {
	case known == nil:
		return
	case known.Declared:
		h.Completeness = "declared"
	case learned.AssumedReason != "":
		h.Completeness = "assumed: " + learned.AssumedReason
	default:
		h.Completeness = "learned"
	}
	if !detailed {
		return
	}
	if hot, found := h.Tiers[string(tier.Hot)]; found && known.HotLabelsKnown {
		hot.ExternalLabels = known.HotLabels
		h.Tiers[string(tier.Hot)] = hot
	}
	if cold, found := h.Tiers[string(tier.Cold)]; found && known.SourcesKnown {
		cold.Sources = known.Sources
		h.Tiers[string(tier.Cold)] = cold
	}
}

// tierHealth is the state of a tier with what is wrong with it, or the notes of
// its status.
func tierHealth(each *catalog.Tier, status catalog.Status, now time.Time, problem string, detailed bool) TierHealth {
	health := TierHealth{
		Endpoint: each.EndpointFor(detailed), Available: status.Available, Since: status.Since.UTC(),
		LastCheck: status.CheckedAt.UTC(), Error: problem, LatencySeconds: status.Latency.Seconds(),
	}
	if health.Error == "" {
		health.Error = strings.Join(tier.Texts(status.Notes, detailed), "; ")
	}
	if state := each.State(now); each.Name() == tier.Hot && state.Oldest != tier.NothingCovered {
		start := time.UnixMilli(state.Oldest).UTC()
		health.CoverageStart = &start
	}
	return health
}

// hotStatus is the status of hot; where it has replicas, that of the one which
// is best to ask. problem is what is wrong with any of them.
func (r *Resolved) hotStatus(detailed bool) (best catalog.Status, problem string) {
	best = r.Hot.Status()
	if len(r.replicas) == 0 {
		return best, best.ErrorFor(detailed)
	}
	var problems []string
	for i, each := range r.replicas {
		status := each.Hot.Status()
		if status.Error != "" {
			problems = append(problems, each.Hot.Replica()+": "+status.ErrorFor(detailed))
		}
		better := status.Available && (!best.Available || status.Oldest < best.Oldest)
		if i > 0 && (better || (best.CheckedAt.IsZero() && !status.CheckedAt.IsZero())) {
			best = status
		}
	}
	return best, strings.Join(problems, "; ")
}

// addReplicas tells the state of each server that holds hot.
func (r *Resolved) addReplicas(health *TierHealth, now time.Time, detailed bool) {
	for _, each := range r.replicas {
		status := each.Hot.Status()
		one := tierHealth(each.Hot, status, now, status.ErrorFor(detailed), detailed)
		health.Replicas = append(health.Replicas, ReplicaHealth{
			Name: each.Hot.Replica(), Ready: each.Ready, Available: one.Available, Error: one.Error, CoverageStart: one.CoverageStart,
		})
		if one.Available && one.CoverageStart != nil && (health.CoverageStart == nil || one.CoverageStart.Before(*health.CoverageStart)) {
			health.CoverageStart = one.CoverageStart
		}
	}
}

// addServices tells the state of the Services that the tiers were found by.
func (r *Resolved) addServices(health *Health, detailed bool) {
	for name, service := range r.Services {
		if service == nil {
			continue
		}
		if health.Services == nil {
			health.Services = map[string]ServiceHealth{}
		}
		found := ServiceHealth{
			Name: service.Namespace + "/" + service.Name, State: string(service.State), Message: service.Message,
			Stale: service.Stale, Endpoints: len(service.Endpoints),
		}
		for _, endpoint := range service.Endpoints {
			if !detailed {
				break
			}
			found.Addresses = append(found.Addresses, endpoint.Address)
		}
		health.Services[string(name)] = found
		// That the Service is not there which nobody has named is nothing wrong.
		isThere := service.URL() != ""
		if service.Message != "" && isThere && health.Status == StatusHealthy {
			health.Status = StatusDegraded
		}
	}
}

// IsPending reports whether Services of the tiers are still being looked up.
func (h Health) IsPending() bool {
	for _, service := range h.Services {
		if service.State == string(discovery.StateUnknown) && !service.Stale {
			return true
		}
	}
	return false
}

// IsProbed reports whether every tier has been probed at least once.
func (h Health) IsProbed() bool {
	for _, each := range h.Tiers {
		if each.LastCheck.IsZero() {
			return false
		}
	}
	return true
}

// HotOldest returns the timestamp of the oldest sample of hot in milliseconds
// since the Unix epoch, of the replica that is best to ask; tier.NothingCovered
// without a hot tier and while it is not known.
func (r *Resolved) HotOldest() int64 {
	if r.Hot == nil {
		return tier.NothingCovered
	}
	best, _ := r.hotStatus(true)
	return best.Oldest
}
