package resolve

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// TierReport is the result of inspecting one tier. It contains a class of failure, but never
// the response of a host. Otherwise callers could use it to explore a network that they
// cannot reach.
type TierReport struct {
	// Source says who names the tier: datasource, gateway, or none.
	Source string `json:"source"`
	// Address is the URL of the tier.
	Address string `json:"address,omitempty"`
	// State is ok, none (there is no such tier), or a class of failure.
	State string `json:"state"`
	// Message explains the state and says what to change.
	Message string `json:"message"`
	// Version is the version that the tier reports, or empty.
	Version string `json:"version,omitempty"`
	// OldestSample is the time of hot's oldest sample, and CoverageStart the start of hot's
	// coverage. Coverage starts later after a gap, or because of the retention.
	OldestSample  *time.Time `json:"oldest_sample,omitempty"`
	CoverageStart *time.Time `json:"coverage_start,omitempty"`
	// CoverageDeclared is set if hot's coverage cannot be measured, so that the configured
	// retention counts. OldestSample is then CoverageStart.
	CoverageDeclared bool              `json:"coverage_declared,omitempty"`
	ExternalLabels   map[string]string `json:"external_labels,omitempty"`
	LatencySeconds   float64           `json:"latency_seconds,omitempty"`

	// Server is Address without its path.
	Server        string          `json:"-"`
	tiers         []*catalog.Tier // the inspected servers
	replicaLabels []string        // removed by the tier's deduplication
}

// SourceDatasource is the Source of a tier that the datasource names.
const SourceDatasource = "datasource"

// The states of a tier, in addition to the classes of upstream.Failure.
const (
	StateOK         = "ok"
	StateNone       = "none"
	StateUnresolved = "service-unresolved"
	StateForbidden  = "denied-by-policy"
	// StateUnusable means that the tier answers, but cannot be used.
	StateUnusable = "unusable"
)

const (
	// lookupTimeout is the timeout for the first lookup of a Service.
	lookupTimeout = 5 * time.Second
	// maxInspections is the maximum number of servers inspected concurrently.
	maxInspections = 8
)

// Inspect probes the tiers of a datasource once. The datasource need not be saved.
func (r *Resolver) Inspect(ctx context.Context, saved *perses.Datasource) map[tier.Name]TierReport {
	var hot, cold TierReport
	var running sync.WaitGroup
	running.Go(func() { hot = r.inspect(ctx, saved, tier.Hot, namedTier(saved, tier.Hot)) })
	running.Go(func() { cold = r.inspect(ctx, saved, tier.Cold, namedTier(saved, tier.Cold)) })
	running.Wait()
	removed := append(slices.Clone(r.config.Cold.ReplicaLabels), cold.replicaLabels...)
	if reason, certain := catalog.NoReplicas(hot.tiers, removed); certain && hot.State == StateOK {
		hot.State, hot.Message, hot.OldestSample, hot.CoverageStart = StateUnusable, reason.Public, nil, nil
	}
	return map[tier.Name]TierReport{tier.Hot: hot, tier.Cold: cold}
}

func (r *Resolver) inspect(ctx context.Context, saved *perses.Datasource, name tier.Name, named *perses.TierSpec) TierReport {
	seen := TierReport{Source: "gateway"}
	if named != nil {
		seen.Source = SourceDatasource
		if named.URL != nil {
			seen.Address = named.URL.Redacted()
		}
	}
	at, err := r.locationOf(saved, name)
	if err == nil && pending(at.service) {
		lookup, cancel := context.WithTimeout(ctx, lookupTimeout)
		r.discovery.Wait(lookup, at.reference)
		cancel()
		at, err = r.locationOf(saved, name)
	}
	switch {
	case err != nil:
		seen.State, seen.Message = StateForbidden, promapi.MessageOf(err)
		if promapi.AsError(err).Status == http.StatusNotImplemented {
			seen.State = StateUnresolved
		}
		return seen
	case at.unused != "":
		seen.State, seen.Message = StateNone, at.unused
		return seen
	}
	servers := r.serversAt(at)
	switch {
	case len(servers) == 0:
		return TierReport{Source: "none", State: StateNone, Message: "neither the datasource nor the gateway names this tier"}
	case servers[0].missing != "":
		seen.State, seen.Message = StateUnresolved, servers[0].missing
		if at.service != nil {
			seen.Address, seen.Server = at.url, at.url // The URL of a Service has no path.
		}
		return seen
	}
	inspections := make([]catalog.Inspection, len(servers))
	var running sync.WaitGroup
	for i, server := range servers {
		client, err := server.client(at.use.header, config.PoolConfig{Size: 1}, 1, r.network)
		if err != nil {
			seen.State, seen.Message = string(upstream.FailureTLS), "the gateway cannot read the configured certificates for this host"
			return seen
		}
		defer client.Close()
		_, settings := server.shared()
		inspected := catalog.NewTier(catalog.TierOptions{
			Name: name, Replica: server.replica, Client: client, ProbeInterval: time.Duration(r.config.Probe.Interval), ProbeBudget: r.inspections,
			TierSettings: settings,
		})
		seen.Address, seen.Server, seen.tiers = client.Endpoint(), client.Server(), append(seen.tiers, inspected)
		running.Go(func() { inspections[i] = inspected.Inspect(ctx) })
	}
	running.Wait()
	return seen.inspected(inspections, name)
}

// inspected adds the inspections of a tier's servers. The report describes the best server;
// for hot, this is the one with the longest coverage.
func (t TierReport) inspected(servers []catalog.Inspection, name tier.Name) TierReport {
	best := slices.MinFunc(servers, func(a, b catalog.Inspection) int {
		return cmp.Or(cmp.Compare(usability(a), usability(b)), cmp.Compare(a.CoverageStart, b.CoverageStart))
	})
	t.Version, t.ExternalLabels, t.LatencySeconds = best.Version, best.Settings.ExternalLabels, best.Latency.Seconds()
	t.replicaLabels = best.Settings.ReplicaLabels
	switch {
	case best.Failure != "":
		t.State, t.Message, t.LatencySeconds = string(best.Failure), cmp.Or(advice[best.Failure], "it could not be reached: check the URL"), 0
		return t
	case !best.Available:
		t.State, t.Message = StateUnusable, best.Error
		return t
	}
	t.State, t.Message = StateOK, "it answers queries"
	if name != tier.Hot {
		return t
	}
	if best.CoverageStart == tier.NothingCovered {
		problem := cmp.Or(best.Error, strings.Join(tier.Texts(best.Notes, false), "; "), "it has no samples")
		t.Message = "it answers queries, but tierproxy will not use it: " + problem
		return t
	}
	t.OldestSample, t.CoverageStart, t.CoverageDeclared = Instant(best.Oldest), Instant(best.CoverageStart), best.Declared
	if best.Declared {
		t.OldestSample = t.CoverageStart
	}
	if holes := len(best.TargetHoles); holes > 0 {
		t.Message += fmt.Sprintf("; outages of single targets in the last hour: %d", holes)
	}
	return t
}

// usability ranks a server: 0 if it can be used, 1 if it only answers, and 2 otherwise.
func usability(seen catalog.Inspection) int {
	switch {
	case seen.Available:
		return 0
	case seen.Failure == "":
		return 1
	}
	return 2
}

// advice explains the classes of failures and says what to change.
var advice = map[upstream.Failure]string{
	upstream.FailureDenied:        "the address is not an allowed destination: ask the operator to list the host in the gateway's destinations",
	upstream.FailureUnauthorized:  "it does not accept the gateway's credentials: the operator configures those for each host",
	upstream.FailureCredential:    "the gateway cannot get its credential for this tier: the operator finds the reason in the gateway's log",
	upstream.FailureTLS:           "the TLS connection failed: check http or https, the host name in its certificate and the authority that signed it",
	upstream.FailureName:          "its host name was not found: check the spelling, and the domain where the gateway runs",
	upstream.FailureTimeout:       "it did not answer in time: check the port and network policies",
	upstream.FailureCanceled:      "it did not answer in time: check the port and network policies",
	upstream.FailureRefused:       "it refused the connection: check the port, and whether the server runs",
	upstream.FailureNotPrometheus: "the server that answers has no Prometheus API: check the port and the path, which must not contain /api/v1",
}

// Instant converts a timestamp in milliseconds since the Unix epoch to a time, which JSON
// shows as RFC 3339.
func Instant(milliseconds int64) *time.Time {
	at := time.UnixMilli(milliseconds).UTC()
	return &at
}
