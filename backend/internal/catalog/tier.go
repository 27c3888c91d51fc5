// Package catalog holds what is known of the tiers: whether they answer, what hot
// covers and where its gaps are, where cold ends, which sources and metric names
// each has. Of this project it imports upstream, admission and what is below them.
package catalog

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// TierOptions describe one tier of a datasource.
type TierOptions struct {
	// Name is hot or cold.
	Name tier.Name
	// Client calls the tier.
	Client *upstream.Client
	// Retention is an upper bound of how far back hot is asked; zero means
	// that none was configured.
	Retention time.Duration
	// Lag is how far the newest data of cold is behind.
	Lag time.Duration
	// ScrapeInterval is the time between two samples of a series; zero where
	// it is not configured, and what was seen counts.
	ScrapeInterval time.Duration
	// ProbeInterval is the time between two probes; one probe may take as
	// long, and always two seconds.
	ProbeInterval time.Duration
	// Replica is the name of the server among those behind one service; empty
	// if it is not one of several. See Identity.
	Replica string
	// Calls admits the calls of queries; nil admits every one. It does not hold for
	// probes.
	Calls *admission.Controller
	// ProbeBudget bounds what the gateway itself asks of the tier; nil bounds nothing.
	ProbeBudget *ProbeBudget
	// Warm is how many connections are made when the tier becomes available.
	Warm int
	// OnProbe is called after each probe with what it found, if not nil, and
	// before Wait returns.
	OnProbe func(Status)
}

// Status is what the last probe of a tier found.
type Status struct {
	// Available is set when the tier answered.
	Available bool
	// CheckedAt is when the probe ended; the zero time before the first one.
	CheckedAt time.Time
	// Since is since when the tier has been available or unavailable.
	Since time.Time
	// Error says why the tier is unavailable, or why its coverage could not
	// be measured, in words without addresses.
	Error string
	// Latency is how long the tier took to answer the probe.
	Latency time.Duration
	// Oldest is the timestamp of the oldest sample in milliseconds since the
	// Unix epoch, as measured; tier.NothingCovered where it could not be.
	Oldest int64
	// Retention is the retention that the tier says it keeps; zero when it
	// does not tell.
	Retention time.Duration
	// ContiguousSince is since when hot has its samples without a gap that a restart
	// or an outage left, in milliseconds since the Unix epoch; zero where
	// there is no gap.
	ContiguousSince int64
	// ScrapeInterval is the time between two samples of hot as seen; zero
	// where nothing was seen.
	ScrapeInterval time.Duration
	// Stores are what cold says of its stores; nil where it has no such
	// endpoint.
	Stores []Store
	// Notes say why the tier's answers may be incomplete although it answers.
	Notes []tier.Note

	failure      error     // of the call that was to show whether the tier answers
	started      time.Time // of the process that answered
	server       string    // which process answered
	configured   string    // which process with which configuration answered
	refusal      tier.Note // why the tier is not asked whatever the probe found
	newestInHead int64     // timestamp of the newest sample of hot's head
}

// Tier is one tier of a datasource with its health. Datasources that differ only in
// their TierSettings share everything else: connections, probes and limits. It is safe
// for concurrent use.
type Tier struct {
	*sharedTier
	settings TierSettings
	refusal  *atomic.Pointer[tier.Note] // of this view; nil where it is never refused
}

// TierSettings are what a datasource says of a tier that takes no further probe.
type TierSettings struct {
	// Retention, Lag and ScrapeInterval are as in TierOptions.
	Retention, Lag, ScrapeInterval time.Duration
}

// sharedTier is what all views of a tier have in common.
type sharedTier struct {
	latch
	options TierOptions
	base    *Tier // the view that Run belongs to
	names   *nameCache
	api     apiClient
	calls   *admission.Controller
	mutex   sync.Mutex // held while a new status follows from the previous one
	// gapDetector and stores are used by Run alone.
	gaps      gapDetector
	stores    storeWatch
	status    atomic.Pointer[Status]
	identity  atomic.Pointer[Identity]
	stability atomic.Pointer[storeStability] // of cold; nil while it is not
	probed    atomic.Pointer[chan struct{}]
	again     chan struct{} // asks for a probe now
}

// NewTier returns a tier that has not been probed yet: see Run.
func NewTier(options TierOptions) *Tier {
	t := &Tier{settings: TierSettings{Retention: options.Retention, Lag: options.Lag, ScrapeInterval: options.ScrapeInterval}}
	t.sharedTier = &sharedTier{
		base: t, names: newNameCache(),
		options: options, api: apiClient{options.Client}, calls: cmp.Or(options.Calls, admission.NewController(admission.Limits{}, nil)),
		latch: make(latch), again: make(chan struct{}, 1),
	}
	t.status.Store(&Status{Oldest: tier.NothingCovered, Error: "not probed yet"})
	probed := make(chan struct{})
	t.probed.Store(&probed)
	return t
}

// With returns the same tier with other settings.
func (t *Tier) With(settings TierSettings) *Tier {
	if settings == t.base.settings {
		return t.base
	}
	return &Tier{sharedTier: t.sharedTier, settings: settings, refusal: t.refusal}
}

// Base returns the view that all views of the tier have in common.
func (t *Tier) Base() *Tier { return t.base }

// Name returns hot or cold.
func (t *Tier) Name() tier.Name { return t.options.Name }

// Endpoint returns the address of the tier for people to read.
func (t *Tier) Endpoint() string { return t.api.Endpoint() }

// EndpointFor returns the address in the form for a caller. Without detailed its
// path is left out: it may name a tenant.
func (t *Tier) EndpointFor(detailed bool) string {
	if detailed {
		return t.Endpoint()
	}
	return t.api.Server()
}

// Status returns what the last probe found. A refused tier is always unavailable.
func (t *Tier) Status() Status {
	status := *t.status.Load()
	if reason := t.refused(); reason != (tier.Note{}) {
		status.Available, status.Error, status.refusal = false, reason.Detail, reason
	}
	return status
}

// ErrorFor returns Error in the form for a caller: see tier.Note.
func (s *Status) ErrorFor(detailed bool) string {
	if s.refusal != (tier.Note{}) {
		return s.refusal.For(detailed)
	}
	return s.Error
}

// Do calls the tier: see Client.Do. Calls beyond the limits wait, and identical
// ones are made once.
//
// A tier that was refused is not called, and the error is a *RefusedError. One
// that has too many calls already gives an *OverloadError.
func (t *Tier) Do(ctx context.Context, request *promapi.Request, options *upstream.CallOptions) (*http.Response, error) {
	if reason := t.refused(); reason != (tier.Note{}) {
		return nil, &upstream.RefusedError{Reason: reason.Public}
	}
	if options == nil {
		options = &upstream.CallOptions{}
	}
	made, err := t.api.Prepare(request, options)
	if err != nil {
		return nil, err
	}
	return t.calls.Do(ctx, admission.Call{
		Caller: options.Caller, Detaches: options.DetachOnCancel, Key: keyOf(request, &made),
		Send: t.api.Sender(made),
	})
}

// State returns what the routing rules need to know at the given time.
func (t *Tier) State(now time.Time) tier.State {
	status := t.Status()
	state := tier.State{
		Configured: true,
		Available:  status.Available,
		Oldest:     max(status.Oldest, status.ContiguousSince),
		Newest:     now.Add(-t.settings.Lag).UnixMilli(),
		Notes:      status.Notes,
	}
	// A block may be deleted between two probes; what lies within the
	// retention is never deleted.
	for _, retention := range []time.Duration{t.settings.Retention, status.Retention} {
		if retention > 0 {
			state.Oldest = max(state.Oldest, now.Add(-retention).UnixMilli())
		}
	}
	return state
}

// RefusedBy returns a view of the tier that is unavailable, whatever its probes
// find, while refusal holds another Note than the zero one. Other views are not
// affected.
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

// Unresolved returns an unavailable tier whose location is unknown. Its error is the
// given reason. endpoint is shown to people, and may be empty.
func Unresolved(name tier.Name, endpoint *url.URL, reason string) *Tier {
	refused := &upstream.RefusedError{Reason: reason}
	t := NewTier(TierOptions{Name: name, Client: upstream.Refusing(endpoint, refused), ProbeInterval: minProbeTimeout})
	note := tier.PublicNote(reason)
	t.refusal = &atomic.Pointer[tier.Note]{}
	t.refusal.Store(&note)
	t.status.Store(&Status{Oldest: tier.NothingCovered, Error: reason, CheckedAt: time.Now(), Since: time.Now()})
	t.open()
	return t
}

// ReportFailure notes that a call failed because the tier is down, and starts a
// probe. The tier is unavailable until a probe succeeds.
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
	select {
	case t.again <- struct{}{}:
	default: // A probe is asked for already.
	}
}

// Run probes the tier until ctx ends.
func (t *Tier) Run(ctx context.Context) {
	probeLoop(ctx, t.options.ProbeBudget, t.options.ProbeInterval, t.again, func() { t.probe(ctx) })
}

// Close closes idle connections to the tier, and releases the memory of its metric
// names.
func (t *Tier) Close() {
	t.api.Close()
	t.names.close()
}

// probeTimeout is how long a probe may take.
func (t *Tier) probeTimeout() time.Duration { return max(t.options.ProbeInterval, minProbeTimeout) }

// probe asks the tier once and stores what it found.
func (t *Tier) probe(ctx context.Context) {
	probeContext, cancel := context.WithTimeout(ctx, t.probeTimeout())
	defer cancel()
	found := t.api.measure(probeContext, t.options.Name)
	storesAsked := time.Now()
	if t.options.Name == tier.Hot {
		t.checkFreshness(probeContext, &found, time.Now())
	} else if found.Available {
		found.Stores, found.Notes = t.stores.look(probeContext, t.api, time.Now())
		if found.Stores != nil && len(found.Stores) == 0 {
			// It would answer everything, and nothing.
			found.Available, found.Error = false, "none of its stores has told it yet what it holds"
		}
	}
	if ctx.Err() != nil {
		return // The gateway stops: the failure says nothing about the tier.
	}
	if found.Available && t.options.Replica != "" {
		t.identify(probeContext, &found)
	}
	t.mutex.Lock()
	previous := *t.status.Load()
	found.Since = previous.Since
	if previous.CheckedAt.IsZero() || previous.Available != found.Available {
		found.Since = found.CheckedAt
	}
	t.status.Store(&found)
	t.mutex.Unlock()
	if t.options.Name == tier.Cold {
		t.observeStores(&found, storesAsked, t.stores.seen != nil)
	}
	if t.options.OnProbe != nil {
		t.options.OnProbe(found)
	}
	t.open()
	if found.Available && !previous.Available && t.options.Warm > 0 {
		t.api.warm(probeContext, t.options.Warm)
	}
}
