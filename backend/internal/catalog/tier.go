// Package catalog holds what is known about the tiers: whether they answer, their stores, sources
// and settings. It puts together what its rooms find out: what hot covers, where cold ends, what
// each tier lacks, and which metric names it has.
package catalog

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/evidence"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/gaps"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/targets"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// TierOptions describe one tier of a datasource.
type TierOptions struct {
	// Name is hot or cold.
	Name tier.Name
	// Client calls the tier.
	Client *upstream.Client
	TierSettings
	// ProbeInterval is the time between two probes. It is also the timeout of a probe, which
	// is at least two seconds.
	ProbeInterval time.Duration
	// LearnInterval is the time after which evidence of metric names is gathered again.
	LearnInterval time.Duration
	// Replica is the name of one server behind a Service, or empty. See Identity.
	Replica string
	// Calls admits the calls of queries, but not probes; nil admits all.
	Calls *admission.Controller
	// ProbeBudget limits probes; nil for no limit.
	ProbeBudget *ownrequest.Budget
	// Pacer bounds the requests for evidence, together with other tiers on the same server; nil
	// for one of the tier's own.
	Pacer *ownrequest.Pacer
	// Evidence, if not nil, keeps the evidence of metric names, and shares it, under EvidenceKey.
	// The key identifies the server and everything that its answers depend on.
	Evidence    *evidence.Store
	EvidenceKey promql.Key
	// OnRequest, if not nil, is called at the end of each request of tierproxy's own.
	OnRequest func(kind ownrequest.Kind, took time.Duration, err error)
	// Warm is the number of connections to open when the tier becomes available.
	Warm int
	// OnProbe, if not nil, is called with the result of each probe, before Wait returns.
	OnProbe func(Status)
}

// TierSettings are the settings of a datasource for a tier that do not change the probes.
type TierSettings struct {
	// Title names the server among several of hot, or is empty.
	Title string
	// Retention is the configured retention of hot, or zero.
	Retention time.Duration
	// Lag is the age of the newest data of cold.
	Lag time.Duration
	// ScrapeInterval is the configured interval, or zero. Then the measured one counts.
	ScrapeInterval time.Duration
}

// Status is the result of the last probe of a tier.
type Status struct {
	// Available is set if the tier answered.
	Available bool
	// CheckedAt is the end of the probe, and the zero time before the first probe.
	CheckedAt time.Time
	// Since is the time of the last change of Available.
	Since time.Time
	// Error says why the tier is unavailable, or why its coverage is unknown. It contains no
	// addresses.
	Error string
	// Latency is the duration of the query of the probe.
	Latency time.Duration
	// Oldest is the timestamp of the oldest sample in milliseconds since the Unix epoch, or
	// tier.NothingCovered if it is unknown.
	Oldest int64
	// Retention is the retention that the tier reports, or zero.
	Retention time.Duration
	// ContiguousSince is the end of the last gap in hot that a restart or an outage left, in
	// milliseconds since the Unix epoch, or zero without a gap.
	ContiguousSince int64
	// ScrapeInterval is the measured scrape interval of hot, or zero.
	ScrapeInterval time.Duration
	// Declared is set if the coverage of hot cannot be measured, so that the configured
	// retention counts.
	Declared bool
	// Stores are the stores that a Thanos reports, or nil if it has no such endpoint.
	Stores []Store
	// Sources are the sources of a hot tier that lists its stores. Oldest, ContiguousSince and
	// Notes are then about all that are followed.
	Sources []SourceStatus
	// Notes say why the tier's answers may be incomplete although it answers.
	Notes []tier.Note
	// Server is what is known of the server.
	Server Server

	sets         string    // of hot's stores: see setsOf
	failure      error     // of the query of the probe
	started      time.Time // of the process that answered
	server       string    // identifies the process that answered
	configured   string    // identifies the process and its configuration
	refusal      tier.Note // why the tier gets no calls, whatever the probe found
	cores        int       // that the process uses at most, or zero
	reported     bool      // the server reports Oldest
	unmeasurable bool      // nothing shows since when the server has samples
	hidesStores  bool      // cold answered that it does not list stores
	// evaluated is the header of the answer to the query of the probe, or nil. isMetricsQL is set if
	// that answer is one of VictoriaMetrics, and reportsRetention if the server has a retention as
	// a Prometheus has.
	evaluated                     http.Header
	isMetricsQL, reportsRetention bool
	// shortestInterval is the shortest scrape interval that was seen, or zero.
	shortestInterval time.Duration
}

// Tier is one tier of a datasource with its health. Datasources that differ only in their
// TierSettings share connections, probes and limits. It is safe for concurrent use.
type Tier struct {
	*sharedTier
	settings TierSettings
	refusal  *atomic.Pointer[tier.Note] // of this view; nil for none
}

// sharedTier is what all views of a tier have in common.
type sharedTier struct {
	latch
	options TierOptions
	base    *Tier // the view that Run belongs to
	names   *evidence.Index
	api     ownrequest.Client
	calls   *admission.Controller
	targets *targetWatch       // of hot
	scraped *targets.Elsewhere // which targets it scraped that other servers could not
	mutex   sync.Mutex         // held while a new status follows from the previous one
	// Only Run uses gaps, stores, hotStores and tenancy.
	gaps      gaps.Detectors
	tenancy   tenancyWatch
	stores    storeWatch
	hotStores hotStores
	sources   sourcesInUse // of hot
	status    atomic.Pointer[Status]
	identity  atomic.Pointer[Identity]
	// isOneOfSeveral is set if the identity of the tier matters, because hot has several servers.
	isOneOfSeveral atomic.Bool
	stability      atomic.Pointer[storeStability] // of cold; nil while it is not stable
	probes         *ownrequest.Refresher
	known          atomic.Pointer[knownSettings]
	// whole is what the last whole probe measured, at wholeAt, or the zero time if the next one has
	// to be whole. mayDiffer is set if another server may answer since. Only Run uses them.
	whole     Status
	wholeAt   time.Time
	mayDiffer bool
	// mayBeOther is set if the server has answered in another way than when it was recognised.
	mayBeOther atomic.Bool
	// recognized is what is known of the server. Only Run uses it.
	recognized knownServer
	// end is the timestamp of the newest sample, or nil.
	end atomic.Pointer[tierEnd]
}

// NewTier returns a tier without any probe: see Run.
func NewTier(options TierOptions) *Tier {
	t := &Tier{settings: options.TierSettings}
	t.sharedTier = &sharedTier{
		base: t, hotStores: hotStores{watch: storeWatch{hot: true}},
		api:     ownrequest.NewClient(ownrequest.Options{Upstream: options.Client, Pacer: options.Pacer, Budget: options.ProbeBudget, Observe: options.OnRequest}),
		options: options, calls: cmp.Or(options.Calls, admission.NewController(admission.Limits{}, nil)),
		latch: make(latch), probes: ownrequest.NewRefresher(options.ProbeInterval), targets: newTargetWatch(), scraped: targets.NewElsewhere(),
	}
	t.names = evidence.New(evidence.Options{
		Client: t.api, ProbeInterval: options.ProbeInterval, LearnInterval: options.LearnInterval, Store: options.Evidence, Key: options.EvidenceKey,
		State: func() evidence.State {
			status := t.status.Load()
			return evidence.State{Available: status.Available, HasStores: status.Stores != nil, Newest: t.newest()}
		},
	})
	t.isOneOfSeveral.Store(options.Title != "")
	t.status.Store(&Status{Oldest: tier.NothingCovered, Error: "not probed yet"})
	return t
}

// With returns the same tier with other settings.
func (t *Tier) With(settings TierSettings) *Tier {
	if settings.Title != "" && !t.isOneOfSeveral.Swap(true) {
		t.probes.Request()
	}
	if settings == t.base.settings {
		return t.base
	}
	return &Tier{sharedTier: t.sharedTier, settings: settings, refusal: t.refusal}
}

// Base returns the view with the settings of NewTier. It is equal for all views of a tier.
func (t *Tier) Base() *Tier { return t.base }

// Name returns hot or cold.
func (t *Tier) Name() tier.Name { return t.options.Name }

// Endpoint returns the URL of the tier for display.
func (t *Tier) Endpoint() string { return t.api.Endpoint() }

// EndpointFor returns Endpoint. Without detailed, it omits the path, which may name a tenant.
func (t *Tier) EndpointFor(detailed bool) string {
	if detailed {
		return t.Endpoint()
	}
	return t.api.Server()
}

// Status returns the result of the last probe. A refused tier is always unavailable.
func (t *Tier) Status() Status { return t.seenFrom(*t.status.Load()) }

// seenFrom returns a status as this view of the tier sees it.
func (t *Tier) seenFrom(status Status) Status {
	if status.Available && status.unmeasurable && t.settings.Retention > 0 {
		status.Declared, status.Error = true, ""
	}
	if reason := t.refused(); reason != (tier.Note{}) {
		status.Available, status.Error, status.refusal = false, reason.Detail, reason
	}
	return status
}

// IsDeclarable reports whether a configured retention would declare the coverage of hot.
func (s *Status) IsDeclarable() bool { return s.unmeasurable }

// ErrorFor returns Error. Without detailed, it omits details of the configuration.
func (s *Status) ErrorFor(detailed bool) string {
	if s.refusal != (tier.Note{}) {
		return s.refusal.For(detailed)
	}
	return s.Error
}

// CredentialError returns why tierproxy cannot get its own credential for the tier, or nil if that is not why its
// probe failed. It is for the log only: the error names files of the operator.
func (s *Status) CredentialError() error {
	if failed, ok := errors.AsType[*upstream.CredentialError](s.failure); ok && !s.Available {
		return failed
	}
	return nil
}

// Refused reports whether the tier answers, and gets no queries nevertheless.
func (s *Status) Refused() bool { return s.refusal != (tier.Note{}) }

// CallOptions are what a call depends on beside its request. Nil stands for none.
type CallOptions struct {
	// Caller is on whose behalf the call is made.
	Caller admission.Caller
	// DetachOnCancel lets the call continue for others that have joined it, if its context is
	// cancelled without a cause, as that of a client that has disconnected.
	DetachOnCancel bool
	// ConfinedTo are the namespaces that the request is confined to; nil for none.
	ConfinedTo []string
	// Headroom is what the call is a part of; nil for most calls.
	Headroom *admission.Headroom
}

// Do calls the tier. Calls beyond the limits wait, and identical calls are made once. Do returns
// a *upstream.RefusedError for a refused tier, a *admission.OverloadError for a tier with too
// many calls, and the errors of upstream.Client.Send.
func (t *Tier) Do(ctx context.Context, request *promapi.Request, options *CallOptions) (*http.Response, error) {
	if reason := t.refused(); reason != (tier.Note{}) {
		return nil, &upstream.RefusedError{Reason: reason.Public}
	}
	if options == nil {
		options = &CallOptions{}
	}
	made, err := t.api.Prepare(request, options.ConfinedTo)
	if err != nil {
		return nil, err
	}
	return t.calls.Do(ctx, admission.Call{
		Caller: options.Caller, Detaches: options.DetachOnCancel, Key: keyOf(request, &made), Headroom: options.Headroom,
		Send: t.api.Sender(made),
	})
}

// State returns the state of the tier at a time, for the routing rules.
func (t *Tier) State(now time.Time) tier.State { return t.stateFrom(t.Status(), now) }

func (t *Tier) stateFrom(status Status, now time.Time) tier.State {
	state := tier.State{
		Configured: true,
		Available:  status.Available,
		Oldest:     max(status.Oldest, status.ContiguousSince),
		Newest:     now.Add(-t.settings.Lag).UnixMilli(),
		Notes:      status.Notes,
	}
	if status.Declared {
		state.Oldest = max(status.ContiguousSince, status.started.UnixMilli(), 0)
	}
	// Between two probes, a Prometheus may delete blocks that are older than the retention.
	for _, retention := range []time.Duration{t.settings.Retention, status.Retention} {
		if retention > 0 {
			state.Oldest = max(state.Oldest, now.Add(-retention).UnixMilli())
		}
	}
	return state
}

// RefusedBy returns a view of the tier that is unavailable while refusal holds a Note other than
// the zero Note. Other views are not affected.
func (t *Tier) RefusedBy(refusal *atomic.Pointer[tier.Note]) *Tier {
	return &Tier{sharedTier: t.sharedTier, settings: t.settings, refusal: refusal}
}

func (t *Tier) refused() tier.Note {
	if t.refusal != nil {
		if reason := t.refusal.Load(); reason != nil {
			return *reason
		}
	}
	return tier.Note{}
}

// Unresolved returns an unavailable tier whose location is unknown. Its error is reason.
func Unresolved(name tier.Name, reason string) *Tier {
	client, _ := upstream.NewClient(upstream.ClientOptions{URL: &url.URL{}}) // It reads no files, so it does not fail.
	note := tier.PublicNote(reason)
	t := NewTier(TierOptions{Name: name, Client: client, ProbeInterval: minProbeTimeout})
	t.refusal = &atomic.Pointer[tier.Note]{}
	t.refusal.Store(&note)
	t.status.Store(&Status{Oldest: tier.NothingCovered, Error: reason, CheckedAt: time.Now(), Since: time.Now()})
	t.open()
	return t
}

// ReportFailure makes the tier unavailable after a failed call, and requests a probe.
func (t *Tier) ReportFailure(err error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	previous := *t.status.Load()
	failed := previous
	failed.Available = false
	failed.Error = upstream.Describe(err)
	if previous.Available {
		failed.Since = time.Now()
	}
	t.status.Store(&failed)
	t.probes.Request()
}

// newest returns the end of the tier's data, as far as it is known, or now.
func (t *sharedTier) newest() time.Time {
	now := time.Now()
	if end := t.end.Load(); end != nil && end.newest < now.UnixMilli() {
		return time.UnixMilli(end.newest)
	}
	return now
}

// tierEnd is the timestamp of the newest sample of a tier in milliseconds since the Unix epoch,
// measured at a time by one of the catalogs that the tier belongs to.
type tierEnd struct {
	newest   int64
	measured time.Time
	by       *sharedCatalog
}

// endKept is how long the end that one catalog has measured counts although another one has measured
// an earlier one, for another source of hot.
const endKept = 5 * time.Minute

// setEnd records the newest sample that a catalog has found.
func (t *sharedTier) setEnd(found tierEnd) {
	known := t.end.Load()
	if known == nil || known.by == found.by || found.newest >= known.newest || found.measured.Sub(known.measured) > endKept {
		t.end.Store(&found)
	}
}

// Run probes the tier, and looks for the metric names that queries read, until ctx ends.
func (t *Tier) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { t.names.Run(ctx) })
	running.Go(func() { t.answerAboutTargets(ctx) })
	if t.options.Name == tier.Hot {
		running.Go(func() { t.followTargets(ctx) })
		running.Go(func() { t.targets.jobs.Run(ctx, t.jobsOf) })
	}
	t.probes.Run(ctx, t.options.ProbeBudget, func() bool { return t.probe(ctx) })
}

// Close closes idle connections to the tier, and releases the memory of its metric
// names.
func (t *Tier) Close() {
	t.api.Close()
	t.names.Close()
}

// probeTimeout returns the timeout of a probe.
func (t *Tier) probeTimeout() time.Duration { return max(t.options.ProbeInterval, minProbeTimeout) }

// probe probes the tier once and stores its status. It reports whether the tier is available.
func (t *Tier) probe(ctx context.Context) bool {
	probeContext, cancel := context.WithTimeout(ctx, t.probeTimeout())
	defer cancel()
	began := time.Now()
	status := t.look(probeContext, began)
	if ctx.Err() != nil {
		return true // The gateway stops: the failure says nothing about the tier.
	}
	if status.Available && (t.options.Replica != "" || t.isOneOfSeveral.Load()) {
		t.identify(probeContext, &status)
	}
	t.mutex.Lock()
	previous := *t.status.Load()
	status.Since = previous.Since
	if previous.CheckedAt.IsZero() || previous.Available != status.Available {
		status.Since = status.CheckedAt
	}
	t.status.Store(&status)
	t.mutex.Unlock()
	if t.options.Name == tier.Cold {
		t.observeStores(&status, began, t.stores.seen != nil)
	}
	if t.options.OnProbe != nil {
		t.options.OnProbe(status)
	}
	t.open()
	if status.Available && !previous.Available && t.options.Warm > 0 {
		warm(probeContext, t.api, t.options.Warm)
	}
	return status.Available
}
