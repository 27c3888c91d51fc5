package resolve

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// The values of Health.Status.
const (
	// StatusHealthy means that every configured tier answers, and that the coverage of hot
	// is known.
	StatusHealthy = "healthy"
	// StatusDegraded means that a tier answers, but something is wrong.
	StatusDegraded = "degraded"
	// StatusUnhealthy means that no tier answers.
	StatusUnhealthy = "unhealthy"
)

// Health is the state of a datasource according to the background probes. As JSON, it is
// the response of /api/v1/datasources/health.
type Health struct {
	// Status is healthy, degraded or unhealthy.
	Status string `json:"status"`
	// ThanosEndpoint is the URL of the cold tier, and PrometheusEndpoint the URL of the hot
	// tier. Each is empty without that tier.
	ThanosEndpoint     string `json:"thanos_endpoint"`
	PrometheusEndpoint string `json:"prometheus_endpoint"`
	// ServiceDiscovery is set if the gateway discovers Services in its cluster.
	ServiceDiscovery bool `json:"service_discovery"`
	// LastCheck is the time of the latest probe (RFC 3339), and the zero time before the
	// first probe.
	LastCheck time.Time `json:"last_check"`
	// Tiers holds the state of each configured tier by its name, hot or cold.
	Tiers map[string]TierHealth `json:"tiers"`
	// Completeness says how the gateway knows that hot has every series that a query can
	// match: "learned", "declared", or "assumed: " and the reason. It is absent without two
	// tiers.
	Completeness string `json:"completeness,omitempty"`
	// LearningError is the error of the latest attempt to compare the tiers, or empty.
	LearningError string `json:"learning_error,omitempty"`
	// EvidenceMissing says for how many metric names that queries read it is unknown whether
	// another source has them, since when (RFC 3339) and why. Queries that read them go to cold.
	EvidenceMissing string `json:"evidence_missing,omitempty"`
	// HotUnused says why the datasource does not use an existing hot tier, or that hot has
	// answered no query for ten minutes although there were some. Otherwise it is absent.
	HotUnused string `json:"hot_unused,omitempty"`
	// Services holds the state of the tiers' Services by tier name. A tier with a URL has
	// no entry.
	Services map[string]ServiceHealth `json:"services,omitempty"`
}

// ServiceHealth is the state of the Service of a tier.
type ServiceHealth struct {
	// Name is the namespace and the name of the Service.
	Name string `json:"name"`
	// State is found, absent, no-ready-endpoints, forbidden, unusable or unknown.
	State string `json:"state"`
	// Message says what is wrong and what to change.
	Message string `json:"message,omitempty"`
	// Stale is set while the Kubernetes API is unavailable. The other fields then have
	// their last known values.
	Stale bool `json:"stale,omitempty"`
	// Endpoints is the number of known endpoints of the Service.
	Endpoints int `json:"endpoints"`
	// Addresses are the known endpoints, as IP address and port.
	Addresses []string `json:"addresses,omitempty"`
}

// ReplicaHealth is the state of one of several servers of the hot tier.
type ReplicaHealth struct {
	// Name is the name of the pod, or of the hot tier in a list, or both.
	Name string `json:"name"`
	// Endpoint is the server's URL. It is absent if hot is one Service.
	Endpoint string `json:"endpoint,omitempty"`
	// Source are the external labels of the server's series without replica labels, such as
	// {cluster="eu-1"}. It is absent while they are unknown, and if hot is one Service.
	Source string `json:"source,omitempty"`
	// Ready is the readiness of the pod according to Kubernetes. It is set for a server with a URL.
	Ready bool `json:"ready"`
	// Kind is the kind of server that was recognised, or empty.
	Kind string `json:"kind,omitempty"`
	// Available is set if the replica gets queries.
	Available bool `json:"available"`
	// Error says why it gets none, or is empty.
	Error string `json:"error,omitempty"`
	// CoverageStart is the start of the replica's coverage.
	CoverageStart *time.Time `json:"coverage_start,omitempty"`
}

// TierHealth is the state of one tier.
type TierHealth struct {
	// Endpoint is the tier's URL.
	Endpoint string `json:"endpoint"`
	// Kind is the kind of server that was recognised, such as Prometheus, Thanos Query or
	// VictoriaMetrics. It is absent while it is unknown.
	Kind string `json:"kind,omitempty"`
	// Version is the version that the server reports, or empty.
	Version string `json:"version,omitempty"`
	// Language says what may differ in answers of a tier with another query language than PromQL. It
	// is absent for all others.
	Language string `json:"language,omitempty"`
	// Available is set if the tier answered its last probe.
	Available bool `json:"available"`
	// Since is the time of the last change of Available.
	Since time.Time `json:"since"`
	// LastCheck is the time of the last probe.
	LastCheck time.Time `json:"last_check"`
	// Error says what is wrong, or is empty.
	Error string `json:"error,omitempty"`
	// LatencySeconds is the duration of the last probe.
	LatencySeconds float64 `json:"latency_seconds"`
	// CoverageStart is the start of hot's coverage. It is absent for cold, and while it is
	// unknown. CoverageEnd is the end of cold's coverage. It is absent for hot.
	CoverageStart *time.Time `json:"coverage_start,omitempty"`
	CoverageEnd   *time.Time `json:"coverage_end,omitempty"`
	// CoverageDeclared is set if hot's coverage cannot be measured, so that the configured
	// retention counts.
	CoverageDeclared bool `json:"coverage_declared,omitempty"`
	// Behind is how far cold's coverage ends before now, as a Prometheus duration. It is
	// absent for hot, and if cold has the newest samples.
	Behind string `json:"behind,omitempty"`
	// CacheFreshness says how it is known up to when answers of cold can be kept in the cache:
	// "measured" by the samples of cold, or "declared" by routing.freshness and the lag of cold.
	// It is absent for hot, and if the cache is off.
	CacheFreshness string `json:"cache_freshness,omitempty"`
	// CachedUntil is the time until which answers are kept, for the sources of cold that queries
	// read. It is absent while nothing is kept.
	CachedUntil *time.Time `json:"cached_until,omitempty"`
	// NotCached says why nothing is kept, or why nothing newer is.
	NotCached string `json:"not_cached,omitempty"`
	// Missing says which samples of the metrics that queries read the tier does not have
	// although the other tier has them.
	Missing []string `json:"missing,omitempty"`
	// TargetHoles says which targets hot could not scrape for a while, the latest first. Whether
	// another server has scraped them is known only for those that queries read.
	TargetHoles []string `json:"target_holes,omitempty"`
	// ExternalLabels are hot's external labels. They are absent while they are unknown.
	ExternalLabels map[string]string `json:"external_labels,omitempty"`
	// Sources are the external labels of the sources of cold, or of a hot tier that lists its
	// stores, without replica labels. They are absent if the tier does not report them.
	Sources []map[string]string `json:"sources,omitempty"`
	// Replicas are the servers of hot, if it has several that the gateway queries directly:
	// replicas behind a Service, and the tiers of a list. The state of the tier is then the
	// state of its best server.
	Replicas []ReplicaHealth `json:"replicas,omitempty"`
}

// Refresh has the state of the tiers renewed that is older than the probe interval. It waits for
// that for a short time, or until ctx ends.
func (r *Resolved) Refresh(ctx context.Context) {
	if r.Datasource == nil || len(r.Datasource.Hot) == 0 {
		catalog.Refresh(ctx, r.Catalog, r.Hot, r.Cold)
		return
	}
	for _, replica := range r.Datasource.Hot {
		catalog.Refresh(ctx, replica.Catalog, replica.Hot, r.Cold)
	}
}

// Health returns the state of the datasource. Without detailed, it omits the configuration of
// the tiers: external labels, sources, addresses of servers, and paths. A path may name a
// tenant.
func (r *Resolved) Health(now time.Time, detailed bool) Health {
	health := Health{Status: StatusUnhealthy, ServiceDiscovery: r.discovers, HotUnused: r.HotUnused, Tiers: make(map[string]TierHealth)}
	if r.Hot != nil {
		status, problem := r.hotStatus(detailed)
		hot := tierHealth(r.Hot, status, now, problem, detailed)
		r.addReplicas(&hot, now, detailed)
		if detailed {
			hot.TargetHoles = r.targetHoles()
		}
		health.PrometheusEndpoint, health.Tiers[string(tier.Hot)] = hot.Endpoint, hot
	}
	if r.Cold != nil {
		status, state := r.Cold.Status(), r.Cold.State(now)
		if r.Catalog != nil {
			state = r.Catalog.ColdState(now)
		}
		cold := tierHealth(r.Cold, status, now, status.ErrorFor(detailed), detailed)
		cold.CoverageEnd = Instant(state.Newest)
		if behind := now.Sub(time.UnixMilli(state.Newest)); behind >= time.Second {
			cold.Behind = model.Duration(behind.Truncate(time.Second)).String()
		}
		r.addKept(&cold, now, detailed)
		health.ThanosEndpoint, health.Tiers[string(tier.Cold)] = cold.Endpoint, cold
	}
	answers, hasProblem := false, r.addServices(&health, detailed)
	for _, state := range health.Tiers {
		answers, hasProblem = answers || state.Available, hasProblem || state.Error != ""
		if state.LastCheck.After(health.LastCheck) {
			health.LastCheck = state.LastCheck
		}
	}
	if unused := r.hotUnused(now).For(detailed); unused != "" {
		health.HotUnused, hasProblem = unused, true
	}
	switch {
	case answers && hasProblem:
		health.Status = StatusDegraded
	case answers:
		health.Status = StatusHealthy
	}
	r.addCatalogs(&health, now, detailed)
	return health
}

// addKept adds up to when answers of cold are kept, if it is the only tier.
func (r *Resolved) addKept(health *TierHealth, now time.Time, detailed bool) {
	if r.Datasource == nil || r.Datasource.ColdOnly == nil || !r.Datasource.Cached {
		return
	}
	state := r.Datasource.ColdOnly.KeptState(now)
	health.CacheFreshness, health.NotCached = state.Freshness, state.Why.For(detailed)
	if state.Until != 0 {
		health.CachedUntil = Instant(state.Until)
	}
}

// addCatalogs adds what is known of the tiers together. If hot is a list of tiers, some of it is known
// for each of them.
func (r *Resolved) addCatalogs(health *Health, now time.Time, detailed bool) {
	if r.Catalog == nil {
		return
	}
	shown := r.Catalog
	var errs, missing []string
	lacks := map[tier.Name][]string{}
	for _, replica := range r.catalogs() {
		title := ""
		if r.Datasource.Sources != nil {
			title = replica.Hot.Replica() + ": "
		}
		if learned := replica.Catalog.Snapshot(); learned.Evidence != nil && shown.Snapshot().Evidence == nil {
			shown = replica.Catalog
		} else if learned.Error != "" {
			errs = append(errs, title+learned.Error)
		}
		for _, name := range tier.Names() {
			for _, text := range missingTexts(replica.Catalog.Lacks(name, now)) {
				lacks[name] = append(lacks[name], title+text)
			}
		}
		if text := replica.Catalog.EvidenceMissing(now); text != "" {
			missing = append(missing, title+text)
		}
	}
	health.addLearned(shown.Snapshot(), detailed, lacks)
	health.LearningError, health.EvidenceMissing = strings.Join(errs, "; "), strings.Join(missing, "; ")
	if hot := health.Tiers[string(tier.Hot)]; r.Datasource.Sources != nil {
		hot.ExternalLabels = nil // Each server has its own.
		health.Tiers[string(tier.Hot)] = hot
	}
}

// catalogs are the servers of hot whose catalogs the health shows: those of a list, or the first one.
func (r *Resolved) catalogs() []engine.Replica {
	if r.Datasource.Sources == nil {
		return []engine.Replica{{Hot: r.Hot, Catalog: r.Catalog}}
	}
	return r.Datasource.Hot
}

// hotUnused says that no server of hot has answered a query for ten minutes although there were
// some, or returns the zero Note.
func (r *Resolved) hotUnused(now time.Time) (why tier.Note) {
	for _, replica := range r.Datasource.Hot {
		if replica.Catalog == nil {
			continue
		}
		unused, isUsed := replica.Catalog.HotUnused(now)
		if isUsed {
			return tier.Note{}
		}
		why = cmp.Or(why, unused)
	}
	return why
}

// ShownHealth returns the health with the details that callers of the datasource may see.
func (r *Resolved) ShownHealth(now time.Time) Health { return r.Health(now, r.ShowsConfiguration()) }

// targetHoles says which targets the servers of hot could not scrape for a while.
func (r *Resolved) targetHoles() (texts []string) {
	for _, replica := range r.Datasource.Hot {
		prefix := ""
		holes, _ := replica.Hot.KnownTargetHoles()
		if name := replica.Hot.Replica(); name != "" {
			prefix = name + " "
		}
		for _, hole := range holes[:min(len(holes), mostMissing)] {
			texts = append(texts, prefix+catalog.MissingOf(hole, true).String())
		}
		if more := len(holes) - mostMissing; more > 0 {
			texts = append(texts, fmt.Sprintf("%slacks %d more stretches of targets", prefix, more))
		}
	}
	return texts
}

// mostMissing is the maximum number of stretches that the health names of a tier.
const mostMissing = 20

func missingTexts(list []tier.Missing) (texts []string) {
	for _, each := range list[:min(len(list), mostMissing)] {
		texts = append(texts, each.String())
	}
	if more := len(list) - mostMissing; more > 0 {
		texts = append(texts, fmt.Sprintf("lacks %d more stretches of metrics", more))
	}
	return texts
}

// addLearned adds what the gateway knows about both tiers together.
func (h *Health) addLearned(learned *catalog.Snapshot, detailed bool, missing map[tier.Name][]string) {
	evidence := learned.Evidence
	switch {
	case evidence == nil:
		return
	case evidence.Declared:
		h.Completeness = "declared"
	case learned.AssumedReason != "":
		h.Completeness = "assumed: " + learned.AssumedReason
	default:
		h.Completeness = "learned"
	}
	if !detailed {
		return
	}
	hot, cold := h.Tiers[string(tier.Hot)], h.Tiers[string(tier.Cold)]
	hot.Missing, cold.Missing = missing[tier.Hot], missing[tier.Cold]
	if evidence.HotLabelsKnown {
		hot.ExternalLabels = evidence.HotLabels
	}
	hot.Sources = evidence.HotSources
	if evidence.SourcesKnown {
		cold.Sources = slices.DeleteFunc(slices.Clone(evidence.Sources), func(source map[string]string) bool { return len(source) == 0 })
	}
	h.Tiers[string(tier.Hot)], h.Tiers[string(tier.Cold)] = hot, cold
}

// tierHealth returns the state of a tier. Its Error is problem or, without one, the notes of
// status.
func tierHealth(queried *catalog.Tier, status catalog.Status, now time.Time, problem string, detailed bool) TierHealth {
	health := TierHealth{
		Endpoint: queried.EndpointFor(detailed), Available: status.Available, Since: status.Since.UTC(),
		LastCheck: status.CheckedAt.UTC(), Error: problem, LatencySeconds: status.Latency.Seconds(),
	}
	if health.Error == "" {
		health.Error = strings.Join(tier.Texts(status.Notes, detailed), "; ")
	}
	if health.Kind = string(status.Server.Kind); detailed {
		health.Version = status.Server.Version
	}
	if status.Server.Kind.SpeaksMetricsQL() {
		health.Language = promapi.MetricsQLWarningFor(promapi.QueryRange)
	}
	if state := queried.State(now); queried.Name() == tier.Hot && state.Oldest != tier.NothingCovered {
		health.CoverageStart, health.CoverageDeclared = Instant(state.Oldest), status.Declared
	}
	return health
}

// hotStatus returns the status of hot or, if hot has replicas, of its best replica. problem
// contains the errors of all replicas.
func (r *Resolved) hotStatus(detailed bool) (best catalog.Status, problem string) {
	best = r.Hot.Status()
	if r.Hot.Replica() == "" {
		return best, best.ErrorFor(detailed)
	}
	var problems []string
	for i, replica := range r.Datasource.Hot {
		status := replica.Hot.Status()
		if status.Error != "" {
			problems = append(problems, replica.Hot.Replica()+": "+status.ErrorFor(detailed))
		}
		better := status.Available && (!best.Available || status.Oldest < best.Oldest)
		if i > 0 && (better || (best.CheckedAt.IsZero() && !status.CheckedAt.IsZero())) {
			best = status
		}
	}
	return best, strings.Join(problems, "; ")
}

// addReplicas adds the state of each replica of hot, and the earliest start of their coverage.
func (r *Resolved) addReplicas(health *TierHealth, now time.Time, detailed bool) {
	if r.Hot.Replica() == "" {
		return
	}
	sources := r.sourceTexts()
	for i, replica := range r.Datasource.Hot {
		status := replica.Hot.Status()
		state := tierHealth(replica.Hot, status, now, status.ErrorFor(detailed), detailed)
		shown := ReplicaHealth{
			Name: replica.Hot.Replica(), Ready: replica.Ready, Kind: state.Kind, Available: state.Available, Error: state.Error, CoverageStart: state.CoverageStart,
		}
		if sources != nil {
			shown.Endpoint = replica.Hot.EndpointFor(detailed)
			if detailed {
				shown.Source = sources[i]
			}
		}
		health.Replicas = append(health.Replicas, shown)
		if state.Available && state.CoverageStart != nil && (health.CoverageStart == nil || state.CoverageStart.Before(*health.CoverageStart)) {
			health.CoverageStart = state.CoverageStart
		}
	}
}

// sourceTexts returns the external labels of the source of each server of hot, as selectors. It
// returns nil if hot is one tier.
func (r *Resolved) sourceTexts() []string {
	if r.Datasource.Sources == nil {
		return nil
	}
	texts := make([]string, len(r.Datasource.Hot))
	for _, source := range r.Datasource.Sources() {
		for _, i := range source.Servers {
			texts[i] = textOf(source.Labels)
		}
	}
	return texts
}

// addServices adds the state of the tiers' Services. It reports whether an existing Service has a
// problem. If no Service was configured, its absence is normal. If one was, its tier has an error.
func (r *Resolved) addServices(health *Health, detailed bool) (hasProblem bool) {
	for name, service := range r.Services {
		if service == nil {
			continue
		}
		if health.Services == nil {
			health.Services = map[string]ServiceHealth{}
		}
		state := ServiceHealth{
			Name: service.Namespace + "/" + service.Name, State: string(service.State), Message: service.Message,
			Stale: service.Stale, Endpoints: len(service.Endpoints),
		}
		if detailed {
			for _, endpoint := range service.Endpoints {
				state.Addresses = append(state.Addresses, endpoint.Address)
			}
		}
		health.Services[name] = state
		hasProblem = hasProblem || (service.Message != "" && service.URL() != "")
	}
	return hasProblem
}

// IsPending reports whether the first lookup of a Service is still in progress.
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
	for _, state := range h.Tiers {
		if state.LastCheck.IsZero() {
			return false
		}
	}
	return true
}

// HotOldest returns the timestamp of the oldest sample of hot or of its best replica, in
// milliseconds since the Unix epoch. It returns tier.NothingCovered without a hot tier, and
// while the timestamp is unknown.
func (r *Resolved) HotOldest() int64 {
	if r.Hot == nil {
		return tier.NothingCovered
	}
	best, _ := r.hotStatus(true)
	if best.Declared {
		return r.Hot.State(time.Now()).Oldest
	}
	return best.Oldest
}
