package datasource

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	checkPath = "/api/v1/datasources/check"
	// lookupTimeout bounds the lookup of a Service that is not known yet.
	lookupTimeout = 5 * time.Second
	// checksAtOnce bounds how many servers are looked at at a time, by all checks
	// together.
	checksAtOnce = 8
)

// report is what a check of a spec found.
type report struct {
	// OK is set when the spec is valid and every tier can be used.
	OK bool `json:"ok"`
	// Mistakes are those of the spec, each with its field.
	Mistakes []mistakeView `json:"mistakes"`
	// Tiers holds what was found at each tier by its name.
	Tiers map[tier.Name]tierReport `json:"tiers"`
}

type mistakeView struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// tierReport is what was found at one tier. It holds a class of failure and
// never what a host answered, so that nobody can look around with it in a
// network that they do not reach themselves.
type tierReport struct {
	// Source says who names the tier: datasource, gateway, or none.
	Source string `json:"source"`
	// Address is the URL of the tier.
	Address string `json:"address,omitempty"`
	// State is ok, none where there is no such tier, or a class of failure.
	State string `json:"state"`
	// Message says what the state means and what to change.
	Message string `json:"message"`
	Version string `json:"version,omitempty"`
	// OldestSample is the time of hot's oldest sample, and CoverageStart the time
	// from which on hot is asked: later where a gap or the retention makes it so.
	OldestSample   *time.Time        `json:"oldest_sample,omitempty"`
	CoverageStart  *time.Time        `json:"coverage_start,omitempty"`
	ExternalLabels map[string]string `json:"external_labels,omitempty"`
	LatencySeconds float64           `json:"latency_seconds,omitempty"`

	server        string          // Address without its path
	tiers         []*catalog.Tier // that were looked at
	replicaLabels []string        // that the tier removes by deduplication
}

// sourceDatasource is the Source of a tier that the datasource names.
const sourceDatasource = "datasource"

// The states of a tier beside the classes of upstream.Failure.
const (
	stateOK         = "ok"
	stateNone       = "none"
	stateUnresolved = "service-unresolved"
	stateForbidden  = "denied-by-policy"
	// stateUnusable: it answers, and the gateway does not ask it all the same.
	stateUnusable = "unusable"
)

// serveCheck answers with a report on the spec in the body, as the datasource
// that the path names would have it. That datasource need not exist yet, but
// the caller has to be one who may read its like. A nil reference is the default
// datasource, whose callers were checked before: what they show is not for
// Perses.
func (h *handler) serveCheck(w http.ResponseWriter, incoming *http.Request, reference *perses.Reference) {
	if reference != nil {
		if err := h.manager.perses.CheckMayList(incoming.Context(), *reference, perses.CallerOf(incoming)); err != nil {
			h.fail(w, incoming, err)
			return
		}
		if err := checkMethod(incoming, route{path: checkPath}); err != nil {
			h.fail(w, incoming, err)
			return
		}
	}
	body, err := readBody(incoming, "spec")
	if err != nil {
		h.fail(w, incoming, err)
		return
	}
	checked, rule := perses.Reference{Name: defaultName}, h.manager.rules.own
	if reference != nil {
		checked = *reference
		if rule, err = h.manager.rules.of(checked); err != nil {
			h.fail(w, incoming, err)
			return
		}
	}
	found := h.manager.check(incoming.Context(), checked, body)
	if rule != nil {
		found.hideConfiguration()
	}
	promapi.WriteData(w, found)
}

// hideConfiguration takes out what callers who are confined to namespaces may
// not see of the tiers.
func (r *report) hideConfiguration() {
	for name, seen := range r.Tiers {
		seen.ExternalLabels = nil
		if seen.Source != sourceDatasource {
			seen.Address = seen.server
		}
		r.Tiers[name] = seen
	}
}

// check reads a spec and looks at its tiers.
func (m *Manager) check(ctx context.Context, reference perses.Reference, raw []byte) report {
	found := report{OK: true, Mistakes: []mistakeView{}, Tiers: map[tier.Name]tierReport{}}
	spec, err := perses.ParseSpec(raw)
	if err != nil {
		found.OK = false
		for _, mistake := range perses.Mistakes(err) {
			found.Mistakes = append(found.Mistakes, mistakeView(*mistake))
		}
		return found
	}
	found.Tiers = m.checkTiers(ctx, &perses.Datasource{Reference: reference, Spec: *spec})
	for _, seen := range found.Tiers {
		found.OK = found.OK && (seen.State == stateOK || seen.State == stateNone)
	}
	if found.Tiers[tier.Hot].State == stateNone && found.Tiers[tier.Cold].State == stateNone {
		found.OK = false
		found.Mistakes = append(found.Mistakes, mistakeView{Field: "spec", Message: tier.ErrNoTier.Error()})
	}
	return found
}

// checkTiers looks once at the tiers of a datasource that is saved or may be, as
// the probes of a saved one do.
func (m *Manager) checkTiers(ctx context.Context, saved *perses.Datasource) map[tier.Name]tierReport {
	var hot, cold tierReport
	var looks sync.WaitGroup
	looks.Go(func() { hot = m.checkTier(ctx, saved, tier.Hot, saved.Spec.Hot) })
	looks.Go(func() { cold = m.checkTier(ctx, saved, tier.Cold, saved.Spec.Cold) })
	looks.Wait()
	removed := append(slices.Clone(m.config.Cold.ReplicaLabels), cold.replicaLabels...)
	if reason, certain := catalog.NoReplicas(hot.tiers, removed); certain && hot.State == stateOK {
		hot.State, hot.Message, hot.OldestSample, hot.CoverageStart = stateUnusable, reason.Public, nil, nil
	}
	return map[tier.Name]tierReport{tier.Hot: hot, tier.Cold: cold}
}

func (m *Manager) checkTier(ctx context.Context, saved *perses.Datasource, name tier.Name, named *perses.TierSpec) tierReport {
	seen := tierReport{Source: "gateway"}
	if named != nil {
		seen.Source = sourceDatasource
		if named.URL != nil {
			seen.Address = named.URL.Redacted()
		}
	}
	tenant := tenantOf(saved)
	at, own, err := m.destinationOf(saved.Reference, name, named, tenant)
	if err == nil && pending(at.service) {
		lookup, cancel := context.WithTimeout(ctx, lookupTimeout)
		m.discovery.Wait(lookup, at.reference)
		cancel()
		at, own, err = m.destinationOf(saved.Reference, name, named, tenant)
	}
	unused := ""
	if err == nil {
		unused = m.hotUnused(at, tenant, "")
	}
	switch {
	case unused != "":
		seen.State, seen.Message = stateNone, unused
		return seen
	case err != nil:
		seen.State, seen.Message = stateForbidden, promapi.MessageOf(err)
		if promapi.AsError(err).Status == http.StatusNotImplemented {
			seen.State = stateUnresolved
		}
		return seen
	}
	if !own {
		at.scrapeInterval = saved.Spec.ScrapeInterval
	}
	servers := m.serversAt(at)
	switch {
	case len(servers) == 0:
		return tierReport{Source: "none", State: stateNone, Message: "neither the datasource nor the gateway names this tier"}
	case servers[0].missing != "":
		seen.State, seen.Message = stateUnresolved, servers[0].missing
		if at.service != nil {
			seen.Address, seen.server = at.url, at.url // A Service is asked without a path.
		}
		return seen
	}
	inspections := make([]catalog.Inspection, len(servers))
	var looks sync.WaitGroup
	for i, server := range servers {
		client, err := server.client(tenant, PoolConfig{Size: 1}, 1, m.network)
		if err != nil {
			seen.State, seen.Message = string(upstream.FailureTLS), "the gateway cannot read the certificates that it is configured with for this host"
			return seen
		}
		defer client.Close()
		_, settings := server.shared()
		one := catalog.NewTier(catalog.TierOptions{
			Name: name, Replica: server.replica, Client: client, ProbeInterval: time.Duration(m.config.Probe.Interval), ProbeBudget: m.checks,
			Retention: settings.Retention, Lag: settings.Lag, ScrapeInterval: settings.ScrapeInterval,
		})
		seen.Address, seen.server, seen.tiers = client.Endpoint(), client.Server(), append(seen.tiers, one)
		looks.Go(func() { inspections[i] = one.Inspect(ctx) })
	}
	looks.Wait()
	return seen.inspected(inspections, name)
}

// inspected adds what was seen of the servers of a tier. Hot is asked at the one
// that covers most.
func (r tierReport) inspected(servers []catalog.Inspection, name tier.Name) tierReport {
	best := slices.MinFunc(servers, func(a, b catalog.Inspection) int {
		return cmp.Or(cmp.Compare(usability(a), usability(b)), cmp.Compare(a.CoverageStart, b.CoverageStart))
	})
	r.Version, r.ExternalLabels, r.LatencySeconds = best.Version, best.Settings.ExternalLabels, best.Latency.Seconds()
	r.replicaLabels = best.Settings.ReplicaLabels
	switch {
	case best.Failure != "":
		r.State, r.Message, r.LatencySeconds = string(best.Failure), adviceFor(best.Failure), 0
		return r
	case !best.Available:
		r.State, r.Message = stateUnusable, best.Error
		return r
	}
	r.State, r.Message = stateOK, "it answers queries"
	if name != tier.Hot {
		return r
	}
	if best.Oldest == tier.NothingCovered {
		r.Message = "it answers queries, but will not be asked: " + best.Error
		return r
	}
	r.OldestSample, r.CoverageStart = instant(best.Oldest), instant(best.CoverageStart)
	return r
}

// usability orders servers: those that are asked, those that answer, and the
// others.
func usability(seen catalog.Inspection) int {
	switch {
	case seen.Available:
		return 0
	case seen.Failure == "":
		return 1
	}
	return 2
}

// adviceFor says for a class of failure what it means and what to change.
func adviceFor(failure upstream.Failure) string {
	switch failure {
	case upstream.FailureDenied:
		return "the gateway does not call this address: ask the operator to list the host in the gateway's destinations"
	case upstream.FailureUnauthorized:
		return "it does not accept the gateway's credentials: the operator configures those for each host"
	case upstream.FailureCredential:
		return "the gateway's own credential for it cannot be had: the operator finds the reason in the gateway's log"
	case upstream.FailureTLS:
		return "the TLS connection failed: check http or https, the host name in its certificate and the authority that signed it"
	case upstream.FailureName:
		return "its host name was not found: check the spelling, and the domain where the gateway runs"
	case upstream.FailureTimeout, upstream.FailureCanceled:
		return "it did not answer in time: check the port and network policies"
	case upstream.FailureRefused:
		return "it refused the connection: check the port, and whether the server runs"
	case upstream.FailureNotPrometheus:
		return "what answers there is no Prometheus API: check port and path, without /api/v1"
	case upstream.FailureClosed, upstream.FailureOther:
	}
	return "it could not be reached: check the URL"
}
