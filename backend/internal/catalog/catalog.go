package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// emptyFor is how long it is remembered that hot had nothing for a query.
	emptyFor = time.Minute
	// learnTimeout bounds one attempt to learn: the first queries wait for it.
	learnTimeout = 20 * time.Second
	// emptiesRemembered bounds how many such queries are remembered.
	emptiesRemembered = 2048
)

// errNoStores is why nothing can be learned of a Thanos that has just started.
var errNoStores = errors.New("cold has no stores yet")

// errUnavailable is why nothing is learned while a tier is down.
var errUnavailable = errors.New("one of the tiers is unavailable")

// Options describe what belongs to a hot and a cold tier together.
type Options struct {
	// Hot and Cold are the tiers.
	Hot, Cold *Tier
	// LearnInterval is the time between two times that names, sources and
	// defaults are learned.
	LearnInterval time.Duration
	// Complete is set when the operator declares that hot is complete.
	Complete bool
	// ExternalLabels are hot's; nil where they are to be learned.
	ExternalLabels map[string]string
	// ReplicaLabels are labels that cold removes, besides those it tells.
	ReplicaLabels []string
}

// Catalog knows of a hot and a cold tier what only both together tell: which
// series are in one of them only, and where cold ends. It is safe for
// concurrent use. Datasources whose tiers differ only in their settings share
// what was learned.
type Catalog struct {
	*sharedCatalog
	hot, cold *Tier
}

// sharedCatalog is what all views of a pair have in common.
type sharedCatalog struct {
	latch
	options Options
	learned atomic.Pointer[Snapshot]
	newest  atomic.Pointer[coldEnd]
	// coldInterval is the time between two samples of cold as seen; used by
	// Run alone.
	coldInterval time.Duration
	// names are those of the knowledge, and learning those that are being
	// learned; used by Run alone.
	names, learning catalogNames
	empty           *lru.Cache[promql.Key, time.Time] // when hot had nothing for a query
}

// Snapshot is what was learned of a pair. It is not changed after it was made.
type Snapshot struct {
	// Knowledge says which series are where; nil while it is not known.
	Knowledge *tier.Knowledge
	// Hot and Cold are the defaults of the tiers.
	Hot, Cold Settings
	// ReplicaLabels are all that cold removes, told and configured.
	ReplicaLabels []string
	// LearnedAt is when that was.
	LearnedAt time.Time
	// Error says why the last attempt to learn failed, in words without
	// addresses; empty when it did not.
	Error string
	// AssumedReason says why something is assumed rather than known; empty when
	// everything is.
	AssumedReason string
}

// coldEnd is where the samples of cold end.
type coldEnd struct {
	newest   int64 // timestamp of the newest sample in milliseconds; zero where it is not known
	measured time.Time
	interval time.Duration // between two samples of cold, as seen
}

// covered is up to when every series of cold has its samples, in milliseconds
// since the Unix epoch. lags is set where the newest sample was more than two
// scrape intervals old when it was measured.
func (c *Catalog) covered(end *coldEnd) (covered int64, lags bool) {
	interval := max(c.ScrapeInterval(), end.interval)
	// Not every series has its newest sample at the same time; up to two
	// intervals before the newest of all, every one of them is there.
	return end.newest - (2 * interval).Milliseconds(), end.measured.Sub(time.UnixMilli(end.newest)) >= 2*interval+probeSlack
}

// New returns a pair that has learned nothing yet: see Run.
func New(options Options) *Catalog {
	c := &Catalog{hot: options.Hot, cold: options.Cold}
	c.sharedCatalog = &sharedCatalog{options: options, latch: make(latch)}
	// It returns an error for a size below one only. An expirable LRU would leave a
	// goroutine behind.
	c.empty, _ = lru.New[promql.Key, time.Time](emptiesRemembered)
	c.learned.Store(&Snapshot{Error: "nothing is learned yet"})
	c.newest.Store(&coldEnd{})
	return c
}

// With returns the same pair for views of its tiers.
func (c *Catalog) With(hot, cold *Tier) *Catalog {
	if hot == c.hot && cold == c.cold {
		return c
	}
	return &Catalog{sharedCatalog: c.sharedCatalog, hot: hot, cold: cold}
}

// Snapshot returns what was learned last.
func (c *Catalog) Snapshot() *Snapshot { return c.learned.Load() }

// ColdState returns the state of cold with the end of its coverage as it was
// measured.
func (c *Catalog) ColdState(now time.Time) tier.State {
	state := c.cold.State(now)
	if end := c.newest.Load(); end.newest != 0 {
		if covered, lags := c.covered(end); lags {
			state.Newest = min(state.Newest, covered)
		}
	}
	return state
}

// ScrapeInterval returns the time between two samples of hot.
func (c *Catalog) ScrapeInterval() time.Duration {
	status := c.hot.Status()
	if status.ScrapeInterval == 0 {
		status.ScrapeInterval = c.Snapshot().Hot.ScrapeInterval
	}
	return c.hot.scrapeInterval(&status)
}

// ColdDeduplicates reports whether cold makes one series of those of several
// replicas, as far as it tells or is configured.
func (c *Catalog) ColdDeduplicates() bool {
	return len(c.options.ReplicaLabels) > 0 || len(c.Snapshot().Cold.ReplicaLabels) > 0
}

// RememberEmpty notes that hot answered a query with nothing.
func (c *Catalog) RememberEmpty(query promql.Key) { c.empty.Add(query, time.Now()) }

// WasEmpty reports whether hot answered a query with nothing a short while ago.
func (c *Catalog) WasEmpty(query promql.Key) bool {
	since, found := c.empty.Get(query)
	return found && time.Since(since) < emptyFor
}

// Tried reports whether learning was tried once.
func (c *Catalog) Tried() bool { return c.isOpen() }

// catalogNames are the metric names that a pair holds.
type catalogNames struct{ hot, others *cachedNames }

func (n *catalogNames) release() {
	n.hot.release()
	n.others.release()
	*n = catalogNames{}
}

// payer returns the bound of the project that the pair belongs to; nil where
// both tiers are the gateway's own.
func (c *Catalog) payer() *ProbeBudget {
	return cmp.Or(c.options.Hot.options.ProbeBudget, c.options.Cold.options.ProbeBudget)
}

// Run learns until ctx ends.
func (c *Catalog) Run(ctx context.Context) {
	defer func() { c.names.release() }()
	c.options.Hot.Wait(ctx)
	c.options.Cold.Wait(ctx)
	var next time.Time
	probeLoop(ctx, c.payer(), c.options.Cold.options.ProbeInterval, nil, func() {
		now := time.Now()
		if c.learned.Load().Error != "" || !now.Before(next) || c.refreshIncrementally(ctx, now) {
			c.learn(ctx)
			next = now.Add(c.options.LearnInterval)
		}
		c.measureColdEnd(ctx, now)
		c.open()
	})
}

// learn asks both tiers for everything that changes rarely. What it found
// before stays while a tier cannot be asked.
func (c *Catalog) learn(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, learnTimeout)
	defer cancel()
	var learned *Snapshot
	err := errUnavailable
	if c.options.Hot.Status().Available && c.options.Cold.Status().Available {
		learned, err = c.ask(ctx)
	}
	if ctx.Err() != nil && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.learning.release()
		failed := *c.learned.Load()
		failed.Error = upstream.Describe(err)
		if errors.Is(err, errUnavailable) || errors.Is(err, errNoStores) {
			failed.Error = err.Error()
		}
		c.learned.Store(&failed)
		return
	}
	learned.LearnedAt = time.Now()
	c.learned.Store(learned)
	c.names.release()
	c.names, c.learning = c.learning, catalogNames{}
	c.coldInterval, err = c.seenColdInterval(ctx, learned.LearnedAt)
	if err != nil {
		c.coldInterval = 0 // Then that of hot is taken.
	}
}

// seenColdInterval is the time between two samples of some series of cold:
// they may be scraped less often than those of hot that are followed.
func (c *Catalog) seenColdInterval(ctx context.Context, now time.Time) (time.Duration, error) {
	cold := c.options.Cold.api
	if newest := c.newest.Load().newest; newest != 0 {
		now = time.UnixMilli(newest)
	}
	found, err := cold.upSeries(ctx, c.coldSelector(), now.Add(-5*time.Minute), now, canaryCount)
	if err != nil {
		return 0, err
	}
	series := slices.Sorted(maps.Keys(found))
	return cold.sampleInterval(ctx, series[:min(len(series), canaryCount)], now)
}

// coldSelector selects the series named up that cold has from hot.
func (c *Catalog) coldSelector() string {
	knowledge := c.learned.Load().Knowledge
	if knowledge == nil {
		return "up"
	}
	return "up{" + matchersOf(knowledge.Added) + "}"
}

func (c *Catalog) ask(ctx context.Context) (*Snapshot, error) {
	hot, cold := c.options.Hot.api, c.options.Cold.api
	learned := &Snapshot{}
	var err error
	if learned.Hot, err = hot.settings(ctx); err != nil {
		return nil, fmt.Errorf("hot: %w", err)
	}
	if learned.Cold, err = cold.settings(ctx); err != nil {
		return nil, fmt.Errorf("cold: %w", err)
	}
	replica := append(slices.Clone(c.options.ReplicaLabels), learned.Cold.ReplicaLabels...)
	learned.ReplicaLabels = replica
	known := tier.Knowledge{Declared: c.options.Complete}
	external := c.options.ExternalLabels
	if external == nil {
		external = learned.Hot.ExternalLabels
	}
	known.HotLabelsKnown = external != nil
	known.HotLabels = without(external, replica)
	if c.learning.hot, err = c.options.Hot.metricNames(ctx, c.payer(), nil, time.Time{}, c.options.LearnInterval/2); err != nil {
		return nil, fmt.Errorf("hot: %w", err)
	}
	known.HotNames = c.learning.hot.set()
	if err := c.learnSources(ctx, &known, replica); err != nil {
		return nil, fmt.Errorf("cold: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(known.Added)) {
		values, err := hot.labelValues(ctx, name, nil, time.Time{})
		if err != nil {
			return nil, fmt.Errorf("hot: %w", err)
		}
		if len(values) > 0 {
			known.Stored = append(known.Stored, name)
		}
	}
	switch {
	case known.Declared:
	case !known.SourcesKnown:
		learned.AssumedReason = "cold does not tell its sources, so hot is assumed to be complete"
	case c.options.Hot.names.refused.Load() || c.options.Cold.names.refused.Load():
		learned.AssumedReason = "a tier has more metric names than are held, so every query that another source could match goes to cold"
	case len(known.HotLabels) == 0 && len(known.Sources) > 1:
		learned.AssumedReason = "hot does not tell its external labels and cold has several sources: configure them, or every query that another source could match goes to cold"
	}
	learned.Knowledge = tier.NewKnowledge(known)
	return learned, nil
}

// measureColdEnd finds the newest sample that cold has of hot's series.
func (c *Catalog) measureColdEnd(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, minProbeTimeout+c.options.Cold.options.ProbeInterval)
	defer cancel()
	if c.learned.Load().Knowledge == nil || !c.options.Cold.Status().Available {
		return
	}
	cold, selector := c.options.Cold.api, c.coldSelector()
	previous := c.newest.Load()
	// Not behind what was found before.
	earliest := max(previous.newest, now.Add(-400*24*time.Hour).UnixMilli())
	newest, found, err := cold.searchNewest(ctx, selector, now, earliest)
	found = found || (err == nil && previous.newest != 0)
	if err != nil || !found {
		return // Without an answer the last one stays.
	}
	c.newest.Store(&coldEnd{newest: newest, measured: now, interval: c.coldInterval})
}

// since is from when on it matters what other sources hold: what reads older
// samples goes to cold anyhow, and all of cold's past would be slow to read.
func (c *Catalog) since() time.Time {
	oldest := c.options.Hot.Status().Oldest
	if oldest == tier.NothingCovered {
		return time.Time{}
	}
	return time.UnixMilli(oldest).Add(-time.Hour)
}
