package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// LateSender is how far back from now a sender of cold may be late. One that is later counts as
	// gone, as a store does that disappeared.
	LateSender = 24 * time.Hour
	// Appendable is how far back from its newest sample a Prometheus accepts samples, besides those
	// within its out-of-order window: half of the range of its head block
	// (storage.tsdb.min-block-duration, 2 hours).
	Appendable = time.Hour
	// settingsKept is how long the settings of cold count, in learn intervals.
	settingsKept = 5
)

// The values of KeptState.Freshness.
const (
	// FreshnessMeasured means that the samples of cold themselves show up to when they are complete.
	FreshnessMeasured = "measured"
	// FreshnessDeclared means that the operator declares how late samples may arrive.
	FreshnessDeclared = "declared"
)

// ColdOnlyOptions are the options of NewColdOnly.
type ColdOnlyOptions struct {
	// Cold is the tier.
	Cold *Tier
	// LearnInterval is the interval in which the settings of cold are learned.
	LearnInterval time.Duration
	// ReplicaLabels are labels that cold removes, in addition to those that it reports.
	ReplicaLabels []string
	// Freshness is the configured freshness.
	Freshness time.Duration
	// IsDeclared is set if the operator has declared how late samples may arrive at a tier that
	// does not tell.
	IsDeclared bool
}

// ColdOnly holds what is known of a cold tier of datasources without hot: its settings, and up to
// when each of its sources has all of its samples. It asks the tier only while queries need that.
// Datasources whose tiers differ only in TierSettings share it. It is safe for concurrent use.
type ColdOnly struct {
	*sharedColdOnly
	cold *Tier
}

// sharedColdOnly is what all views have in common.
type sharedColdOnly struct {
	options ColdOnlyOptions
	looks   *ownrequest.Refresher // of Run
	learned atomic.Pointer[Snapshot]
	grouped atomic.Pointer[groupedStores]

	mutex   sync.Mutex
	used    time.Time                // the last time that a query needed it
	sources map[string]*sourceOfCold // by scope
}

// NewColdOnly returns what is known of a tier: nothing. See Run.
func NewColdOnly(options ColdOnlyOptions) *ColdOnly {
	c := &ColdOnly{cold: options.Cold}
	c.sharedColdOnly = &sharedColdOnly{options: options, looks: ownrequest.NewRefresher(options.Cold.options.ProbeInterval), sources: map[string]*sourceOfCold{}}
	c.learned.Store(&Snapshot{})
	return c
}

// With returns the same knowledge for a view of its tier.
func (c *ColdOnly) With(cold *Tier) *ColdOnly {
	if cold == c.cold {
		return c
	}
	return &ColdOnly{sharedColdOnly: c.sharedColdOnly, cold: cold}
}

// Snapshot returns the settings of cold. There are no others in it.
func (c *ColdOnly) Snapshot() *Snapshot { return c.learned.Load() }

// Deduplicates reports whether cold may merge the series of replicas.
func (c *ColdOnly) Deduplicates() bool {
	learned := c.Snapshot()
	return len(learned.ReplicaLabels) > 0 || !learned.Cold.FlagsKnown
}

// Refresh notes that a query needs what is known. If the settings are too old, Refresh waits for new
// ones for a short time, or until ctx ends.
func (c *ColdOnly) Refresh(ctx context.Context) {
	now := time.Now()
	c.mutex.Lock()
	c.used = now
	c.mutex.Unlock()
	c.looks.Refresh(time.Time{})
	if c.areSettingsKnown(now) {
		return
	}
	next := c.looks.Next()
	c.looks.Request()
	if c.Snapshot().LearnedAt.IsZero() {
		return // It would have to wait for the ends of its sources, too.
	}
	ctx, cancel := context.WithTimeout(ctx, ownrequest.Patience)
	defer cancel()
	ownrequest.WaitAll(ctx, []<-chan struct{}{next})
}

func (c *ColdOnly) areSettingsKnown(now time.Time) bool {
	return now.Sub(c.Snapshot().LearnedAt) < settingsKept*max(c.options.LearnInterval, c.options.Cold.options.ProbeInterval)
}

// CompleteUntil returns the time until which cold has all samples that it will ever have of some
// selectors, in milliseconds since the Unix epoch. Later arrivals within the freshness and the
// out-of-order window of cold are not included. CompleteUntil returns an error that says why it
// is not known, and has that looked for.
func (c *ColdOnly) CompleteUntil(selectors func() ([]promql.Selector, error), now time.Time) (int64, error) {
	learned, status := c.Snapshot(), c.cold.Status()
	switch {
	case learned.Error != "":
		return 0, errors.New("the settings of the cold tier could not be read: " + learned.Error)
	case !c.areSettingsKnown(now):
		return 0, errors.New(settingsNotKnown)
	}
	until := c.cold.State(now).Newest // of the operator: see TierSettings.Lag
	if len(status.Stores) > 0 {
		list, err := selectors()
		if err != nil {
			list = []promql.Selector{{}}
		}
		ofStores, err := c.storesUntil(status.Stores, list, now)
		return min(until, ofStores), err
	}
	if !status.hidesStores {
		return 0, errors.New("the cold tier did not answer which stores it has")
	}
	plain := storedSource{kind: plainSource}
	end := c.use(plain, now)
	bound, err := c.plainUntil(&plain, &end, now)
	return min(until, bound), err
}

// plainUntil is CompleteUntil for a tier that does not list its stores.
func (c *ColdOnly) plainUntil(plain *storedSource, end *measuredEnd, now time.Time) (until int64, err error) {
	settings, late := c.Snapshot().Cold, now.Add(-LateSender).UnixMilli()
	until, err = plain.until(end, now)
	switch {
	case err != nil:
		return 0, err
	case until == notBounded:
		return late, nil // No sample was found within a day. Its senders may be late.
	case c.isPrometheus() && settings.TakesWrites:
		// The out-of-order window counts as freshness.
		return until - max(max(Appendable, settings.HeadRange/2)-settings.OutOfOrderWindow, 0).Milliseconds(), nil
	case !c.isPrometheus() && !c.isDeclared():
		return min(until, late), nil
	}
	return until, nil
}

// isDeclared reports whether the operator declares how late samples may arrive.
func (c *ColdOnly) isDeclared() bool { return c.options.IsDeclared || c.cold.settings.Lag > 0 }

// isPrometheus reports whether cold is a Prometheus with samples of its own.
func (c *ColdOnly) isPrometheus() bool {
	settings := c.Snapshot().Cold
	return settings.ExternalLabels != nil && settings.HeadRange > 0 && !settings.ReadsElsewhere
}

// KeptState says up to when answers of cold may be kept.
type KeptState struct {
	// Freshness is FreshnessMeasured or FreshnessDeclared.
	Freshness string
	// Until is the time until which answers about the sources in use are kept, in milliseconds
	// since the Unix epoch, or zero.
	Until int64
	// Why says why nothing is kept, or why nothing newer is, or is the zero Note.
	Why tier.Note
}

// KeptState returns up to when answers about the sources in use are kept. It asks for nothing.
func (c *ColdOnly) KeptState(now time.Time) KeptState {
	state := KeptState{Freshness: FreshnessMeasured}
	if len(c.cold.Status().Stores) == 0 && !c.isPrometheus() {
		state.Freshness = FreshnessDeclared
	}
	var err error
	until, latest := c.cold.State(now).Newest, ""
	used := c.inUse(now)
	for _, source := range used {
		bound, failed := source.until(&source.known, now)
		if source.kind == plainSource {
			bound, failed = c.plainUntil(&source.storedSource, &source.known, now)
		}
		if failed != nil {
			err = failed
		}
		if bound < until {
			until, latest = bound, source.scope
		}
	}
	_, isStable := c.cold.StableStores()
	switch {
	case !isStable:
		state.Why = tier.PublicNote(storesNotStable)
	case len(used) == 0:
		state.Why = tier.PublicNote(fmt.Sprintf("no query has needed it for %d minutes: up to when cold has its samples is measured for queries", int(ownrequest.InUse.Minutes())))
	case !c.areSettingsKnown(now):
		state.Why = tier.PublicNote(settingsNotKnown)
	case err != nil:
		state.Why = NoteOf(err)
	default:
		state.Until = min(until, now.UnixMilli()) - max(c.options.Freshness, c.Snapshot().Cold.OutOfOrderWindow).Milliseconds()
		if state.Freshness == FreshnessDeclared && !c.isDeclared() {
			state.Why = tier.PublicNote("the cold tier tells neither its stores nor its configuration, so the last day is not kept: set routing.freshness to how late samples may arrive")
		} else if latest != "" && until < now.Add(-lateFrom).UnixMilli() {
			const format = "%s of the cold tier gets its samples late"
			state.Why = tier.Note{Detail: fmt.Sprintf(format, "the source {"+latest+"}"), Public: fmt.Sprintf(format, "one source")}
		}
	}
	return state
}

// The reasons for which nothing is kept.
const (
	storesNotStable  = "the cold tier lacks one of its stores, or it is not known yet which it has"
	settingsNotKnown = "the settings of the cold tier are not known yet"
)

// noteError is an error whose text names sources.
type noteError struct{ tier.Note }

// Error returns the text without sources.
func (e noteError) Error() string { return e.Public }

// NoteOf returns the text of an error of CompleteUntil with and without sources.
func NoteOf(err error) tier.Note {
	if of, is := errors.AsType[noteError](err); is {
		return of.Note
	}
	return tier.PublicNote(err.Error())
}

// Run looks until ctx ends.
func (c *ColdOnly) Run(ctx context.Context) {
	c.options.Cold.Wait(ctx)
	c.looks.Run(ctx, c.options.Cold.options.ProbeBudget, func() bool { return c.look(ctx, time.Now()) })
}

// look asks for what is due. It reports whether the next look may wait until a query needs it.
func (c *ColdOnly) look(ctx context.Context, now time.Time) bool {
	c.mutex.Lock()
	isUsed := now.Sub(c.used) < ownrequest.InUse
	c.mutex.Unlock()
	if !isUsed || !c.options.Cold.Status().Available {
		return true
	}
	if now.Sub(c.Snapshot().LearnedAt) >= c.options.LearnInterval {
		c.learn(ctx)
	}
	c.measure(ctx, now)
	return c.Snapshot().Error == "" && !c.hasBroken(now)
}

// learn reads the settings of cold.
func (c *ColdOnly) learn(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, minProbeTimeout+c.options.Cold.options.ProbeInterval)
	defer cancel()
	settings, err := c.options.Cold.settingsNow(ctx)
	if ctx.Err() != nil {
		err = cmp.Or(err, ctx.Err())
	}
	learned := *c.Snapshot()
	if learned.Error = ""; err != nil {
		learned.Error = upstream.Describe(err)
	} else {
		learned.Cold, learned.LearnedAt = settings, time.Now()
		learned.ReplicaLabels = append(append([]string{}, c.options.ReplicaLabels...), settings.ReplicaLabels...)
	}
	c.learned.Store(&learned)
}

// notBounded is the end of a source whose samples are never late.
const notBounded int64 = math.MaxInt64
