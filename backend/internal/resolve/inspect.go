package resolve

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
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
	// Unused says why the datasource would send no query to the tier although it answers, or is empty.
	// Remedy says what to change.
	Unused string `json:"unused,omitempty"`
	Remedy string `json:"remedy,omitempty"`
	// Kind is the kind of server that was recognised, such as Prometheus, or empty.
	Kind string `json:"kind,omitempty"`
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
	lookback      time.Duration   // how far back an instant selector reads; zero if it is unknown
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

// Reports are the results of inspecting the tiers of a datasource.
type Reports struct {
	// Hot and Cold are the reports on the tiers. If hot has several tiers, Hot summarizes them.
	Hot, Cold TierReport
	// HotTiers are the reports on several hot tiers, in the order of the datasource; nil for one.
	HotTiers []HotTierReport
}

// HotTierReport is the report on one of several hot tiers.
type HotTierReport struct {
	// Name is the name of the tier: see config.HotConfig.Name.
	Name string `json:"name"`
	TierReport
}

// Each calls f with each report.
func (r *Reports) Each(f func(*TierReport)) {
	f(&r.Hot)
	f(&r.Cold)
	for i := range r.HotTiers {
		f(&r.HotTiers[i].TierReport)
	}
}

// Inspect probes the tiers of a datasource once. The datasource need not be saved.
func (r *Resolver) Inspect(ctx context.Context, saved *perses.Datasource) Reports {
	var made Reports
	var running sync.WaitGroup
	hotAt, errs := r.hotLocationsOneByOne(ctx, saved)
	distinguish(hotAt)
	hot := make([]TierReport, len(hotAt))
	for i, at := range hotAt {
		running.Go(func() { hot[i] = r.inspect(ctx, at, errs[i], saved.Spec.Hot != nil, len(hotAt) > 1) })
	}
	running.Go(func() {
		list, err := r.lookUp(ctx, func() ([]location, error) {
			at, err := r.coldLocationOf(saved)
			return []location{at}, err
		})
		if err != nil {
			list = []location{{destination: destination{name: tier.Cold}}}
		}
		made.Cold = r.inspect(ctx, list[0], err, saved.Spec.Cold != nil, false)
	})
	running.Wait()
	aside := slices.Concat(catalog.ReplicaLabels(), r.config.Cold.ReplicaLabels, made.Cold.replicaLabels)
	set := &sourceSet{}
	for i := range hot {
		hot[i].findUnused(&made.Cold, hotAt[i].declared, aside, time.Now())
		if reason, certain := catalog.NoReplicas(hot[i].tiers, aside); len(hot[i].tiers) > 0 && hot[i].tiers[0].ServerName() != "" && certain {
			hot[i].refuse(reason)
		}
		for _, inspected := range hot[i].tiers {
			set.members = append(set.members, member{Tier: inspected, at: i, title: hotAt[i].title, declared: hotAt[i].declared.externalLabels})
		}
	}
	if made.Hot = hot[0]; len(hot) == 1 {
		return made
	}
	refused := make([]tier.Note, len(set.members))
	set.group(aside, refused)
	for i, of := range set.members {
		if refused[i] != (tier.Note{}) {
			hot[of.at].refuse(refused[i])
		}
	}
	for i, at := range hotAt {
		made.HotTiers = append(made.HotTiers, HotTierReport{at.title, hot[i]})
	}
	made.Hot = summaryOf(made.HotTiers)
	return made
}

// hotLocationsOneByOne is hotLocations with the error of each tier.
func (r *Resolver) hotLocationsOneByOne(ctx context.Context, saved *perses.Datasource) (list []location, errs []error) {
	named := saved.Spec.Hot
	if len(named) == 0 {
		named = perses.TierList{{}}
	}
	for i := range named {
		of, err := r.lookUp(ctx, func() ([]location, error) {
			if saved.Spec.Hot == nil {
				return r.hotLocations(saved)
			}
			return r.locationsNamed(saved, tier.Hot, &named[i])
		})
		if err != nil {
			at := location{destination: destination{name: tier.Hot}, title: titleOf(&named[i])}
			if named[i].URL != nil {
				at.url = named[i].URL.String()
			}
			of = []location{at}
		}
		for range of {
			errs = append(errs, err)
		}
		list = append(list, of...)
	}
	return list, errs
}

// refuse makes a report that says ok one of a tier that cannot be used.
func (t *TierReport) refuse(reason tier.Note) {
	if t.State == StateOK {
		t.State, t.Message, t.OldestSample, t.CoverageStart = StateUnusable, reason.Public, nil, nil
		t.Unused, t.Remedy = "", ""
	}
}

// summaryOf returns a report on several hot tiers: that of the one with the longest coverage of
// those that can be used, with a message about the others.
func summaryOf(list []HotTierReport) TierReport {
	best, usable := list[0].TierReport, 0
	var problems []string
	for _, each := range list {
		if each.State != StateOK {
			problems = append(problems, each.Name+": "+each.Message)
			continue
		}
		usable++
		isLonger := each.CoverageStart != nil && (best.CoverageStart == nil || each.CoverageStart.Before(*best.CoverageStart))
		if best.State != StateOK || (best.Unused != "" && each.Unused == "") || (isLonger && (best.Unused == "") == (each.Unused == "")) {
			best = each.TierReport
		}
	}
	best.Address, best.Server, best.ExternalLabels, best.Kind, best.Version = "", "", nil, "", ""
	best.Message = fmt.Sprintf("%d of %d hot tiers can be used", usable, len(list))
	if len(problems) > 0 {
		best.Message += "; " + strings.Join(problems, "; ")
	}
	return best
}

// lookUp returns locations, and waits for the first lookups of their Services.
func (r *Resolver) lookUp(ctx context.Context, locations func() ([]location, error)) ([]location, error) {
	list, err := locations()
	if err != nil || !slices.ContainsFunc(list, func(at location) bool { return pending(at.service) }) {
		return list, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	for _, at := range list {
		if at.service != nil {
			r.waitFor(ctx, at)
		}
	}
	return locations()
}

// inspect probes the tier at a location. err is why the datasource may not use it, or nil. isNamed is
// set if the datasource names the tier, and isOneOfSeveral for a hot tier beside others.
func (r *Resolver) inspect(ctx context.Context, at location, err error, isNamed, isOneOfSeveral bool) TierReport {
	name, seen := at.name, TierReport{Source: "gateway"}
	if isNamed && !at.isOwn {
		seen.Source = SourceDatasource
		if base, err := url.Parse(at.url); err == nil && at.service == nil {
			seen.Address = base.Redacted()
		}
	}
	switch {
	case err != nil:
		seen.State, seen.Message = StateForbidden, promapi.MessageOf(err)
		if promapi.AsError(err).Status == http.StatusNotImplemented {
			seen.State = StateUnresolved
		}
		return seen
	case at.unused != "":
		seen.State, seen.Message, seen.Unused, seen.Remedy = StateNone, at.unused, at.unused, remedyOfTenant
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
		if isOneOfSeveral {
			settings.Title = at.title
		}
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
	t.Kind = string(best.Server.Kind)
	t.Version, t.ExternalLabels, t.LatencySeconds = best.Server.Version, best.Settings.ExternalLabels, best.Latency.Seconds()
	t.replicaLabels, t.lookback = best.Settings.ReplicaLabels, best.Settings.LookbackDelta
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
		t.Unused, t.Remedy = t.Message, remedyOfCoverage
		if best.IsDeclarable() {
			t.Remedy += remedyOfRetention
		}
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
	upstream.FailureUnauthorized:  "it does not accept the gateway's credentials: the operator configures those for each host. A server with several tenants, such as Cortex, answers so without a tenant header",
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
