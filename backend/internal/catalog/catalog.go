package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/evidence"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// emptyFor is how long the catalog remembers a query for which hot had no series.
	emptyFor = time.Minute
	// emptiesRemembered is the maximum number of such queries.
	emptiesRemembered = 2048
	// learnTimeout is the timeout for one attempt to learn. The first queries wait for it.
	learnTimeout = 20 * time.Second
	// coldIntervalEvery is after how many attempts to learn the scrape interval of cold is measured.
	coldIntervalEvery = 10
	// unusedFactor is how much rarer nobody's knowledge is learned.
	unusedFactor = 5
	// firstDoubled is the number of failures after which the time between two attempts doubles, and
	// mostDoublings that from which on it is as long as without failures.
	firstDoubled, mostDoublings = 2, 10
)

// errNoStores is returned for a Thanos that has just started.
var errNoStores = errors.New("cold has no stores yet")

// errUnavailable is returned while a tier is down.
var errUnavailable = errors.New("one of the tiers is unavailable")

// Options are the options of New.
type Options struct {
	// Hot and Cold are the tiers.
	Hot, Cold *Tier
	// LearnInterval is the interval in which the catalog learns sources and defaults.
	LearnInterval time.Duration
	// Complete is set if the operator declares that hot is complete.
	Complete bool
	// ExternalLabels are hot's external labels; nil to learn them.
	ExternalLabels map[string]string
	// ReplicaLabels are labels that cold removes, in addition to those that it reports.
	ReplicaLabels []string
	// IsOfMany is set if hot is one of several sources: while nobody reads it, little is asked.
	IsOfMany bool
	// OnLearned, if not nil, is called after each successful attempt to learn.
	OnLearned func()
}

// Catalog holds what follows from a hot and a cold tier together: which tier has which series,
// and where cold ends. Datasources whose tiers differ only in TierSettings share a catalog. It
// is safe for concurrent use.
type Catalog struct {
	*sharedCatalog
	hot, cold *Tier
	// read are the sources of hot that a request may read: see Of. It is nil for all.
	read []string
}

// sharedCatalog is what all views of a catalog have in common.
type sharedCatalog struct {
	latch
	*samples // of a hot tier that is one source

	options Options
	learned atomic.Pointer[Snapshot]
	looks   *ownrequest.Refresher // of Run
	// sources are the samples of each followed source of a hot tier that lists its stores.
	sources atomic.Pointer[map[string]*samples]
	views   *lru.Cache[viewKey, *Catalog] // see Of
	// triedAt is the last attempt to learn, and failures the number of attempts that failed since the
	// last one that did not. Only Run uses them.
	triedAt  time.Time
	failures int
	usage    usage
	empty    *lru.Cache[promql.Key, time.Time] // when hot had nothing for a query
	merged   *lru.Cache[promql.Key, mergedAnswer]
}

// Snapshot is an immutable state of the catalog.
type Snapshot struct {
	// Evidence says which tier has which series; nil while it is unknown.
	Evidence *tier.SeriesEvidence
	// Hot and Cold are the defaults of the tiers.
	Hot, Cold Settings
	// ReplicaLabels are all labels that cold removes.
	ReplicaLabels []string
	// OwnReplicaLabels are those of them that some series of hot carry themselves: see Catalog.Merged.
	OwnReplicaLabels []string
	// LearnedAt is the end of the last successful attempt to learn.
	LearnedAt time.Time
	// Error is the error of the last attempt to learn, without addresses, or empty.
	Error string
	// AssumedReason says why the evidence is assumed, or is empty.
	AssumedReason string

	enforced map[string]string // labels whose values cold enforces
	others   evidence.Group    // see groupOfOthers; of a hot tier that lists its stores
	// hotSets identifies the label sets of hot's stores when the snapshot was made. It is empty for
	// a hot tier that does not list them.
	hotSets string
}

// New returns an empty catalog: see Run.
func New(options Options) *Catalog {
	c := &Catalog{hot: options.Hot, cold: options.Cold}
	c.sharedCatalog = &sharedCatalog{options: options, latch: make(latch), looks: ownrequest.NewRefresher(options.Cold.options.ProbeInterval)}
	if options.IsOfMany {
		c.looks = ownrequest.NewRefresherOfMany(options.Cold.options.ProbeInterval)
	}
	// It fails only for a size below one. An expirable LRU would leave a goroutine behind.
	c.empty, _ = lru.New[promql.Key, time.Time](emptiesRemembered)
	c.merged, _ = lru.New[promql.Key, mergedAnswer](mergedRemembered)
	c.views, _ = lru.New[viewKey, *Catalog](viewsKept)
	c.learned.Store(&Snapshot{Error: "nothing is learned yet"})
	c.sources.Store(&map[string]*samples{})
	c.samples = newSamples(&options, c.tiersAt)
	return c
}

// With returns the same catalog for views of its tiers.
func (c *Catalog) With(hot, cold *Tier) *Catalog {
	if hot == c.hot && cold == c.cold {
		return c
	}
	return &Catalog{sharedCatalog: c.sharedCatalog, hot: hot, cold: cold, read: c.read}
}

// Snapshot returns the newest snapshot.
func (c *Catalog) Snapshot() *Snapshot { return c.learned.Load() }

// ScrapeInterval returns the scrape interval of hot.
func (c *Catalog) ScrapeInterval() time.Duration {
	status := c.hot.Status()
	if status.ScrapeInterval == 0 {
		status.ScrapeInterval = c.Snapshot().Hot.ScrapeInterval
	}
	return c.hot.scrapeInterval(&status)
}

// ColdDeduplicates reports whether cold merges the series of replicas.
func (c *Catalog) ColdDeduplicates() bool {
	return len(c.options.ReplicaLabels) > 0 || len(c.Snapshot().Cold.ReplicaLabels) > 0
}

// RememberEmpty records that hot's answer to a query was empty.
func (c *Catalog) RememberEmpty(query promql.Key) { c.empty.Add(query, time.Now()) }

// WasEmpty reports whether hot's answer to a query was empty within the last minute.
func (c *Catalog) WasEmpty(query promql.Key) bool {
	since, ok := c.empty.Get(query)
	return ok && time.Since(since) < emptyFor
}

// payer returns the budget of the catalog's project, or nil if both tiers are the gateway's own.
func (c *Catalog) payer() *ownrequest.Budget {
	return cmp.Or(c.options.Hot.options.ProbeBudget, c.options.Cold.options.ProbeBudget)
}

// Run learns until ctx ends.
func (c *Catalog) Run(ctx context.Context) {
	var comparing sync.WaitGroup
	comparing.Go(func() { c.comparer.Run(ctx) })
	defer comparing.Wait()
	c.options.Hot.Wait(ctx)
	c.options.Cold.Wait(ctx)
	c.looks.Run(ctx, c.payer(), func() bool {
		now := time.Now()
		if now.Sub(c.triedAt) >= c.learnInterval(now) || c.hasNewSource() {
			c.triedAt = now
			c.learn(ctx)
		}
		c.followSources(ctx, &comparing)
		c.measureColdEnd(ctx, now)
		c.open()
		return c.learned.Load().Error == ""
	})
}

// learnInterval returns the time between two attempts to learn. It is longer while nobody uses
// what is learned. After failures, it begins with the probe interval and doubles.
func (c *Catalog) learnInterval(now time.Time) time.Duration {
	interval := c.options.LearnInterval
	switch {
	case c.learned.Load().Error != "" && c.failures < mostDoublings:
		return min(interval, c.options.Cold.options.ProbeInterval<<max(c.failures-firstDoubled, 0)*9/10)
	case c.learned.Load().Error != "" || c.looks.IsUsed(now):
		return interval
	}
	return unusedFactor * interval
}

// learn learns everything that changes rarely. If a tier does not answer, the last snapshot
// stays.
func (c *Catalog) learn(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, learnTimeout)
	defer cancel()
	var learned *Snapshot
	err := errUnavailable
	if c.options.Hot.Status().Available && c.options.Cold.Status().Available {
		learned, err = c.snapshot(ctx)
	}
	if ctx.Err() != nil && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		if c.failures++; errors.Is(err, errUnavailable) {
			c.failures = 0 // Nothing was asked.
		}
		failed := *c.learned.Load()
		failed.Error = upstream.Describe(err)
		if errors.Is(err, errUnavailable) || errors.Is(err, errNoStores) {
			failed.Error = err.Error()
		}
		c.learned.Store(&failed)
		return
	}
	c.failures = 0
	learned.LearnedAt = time.Now()
	c.learned.Store(learned)
	if c.options.OnLearned != nil {
		c.options.OnLearned()
	}
	for _, each := range c.samplesRead() {
		if learned.LearnedAt.Sub(each.intervalMeasured) >= coldIntervalEvery*c.options.LearnInterval {
			each.measureColdInterval(ctx, learned.LearnedAt)
		}
	}
}

// snapshot asks both tiers for a new snapshot.
func (c *Catalog) snapshot(ctx context.Context) (*Snapshot, error) {
	hot := c.options.Hot.api
	learned := &Snapshot{}
	var err error
	if learned.Hot, err = c.options.Hot.settingsNow(ctx); err != nil {
		return nil, fmt.Errorf("hot: %w", err)
	}
	if learned.Cold, err = c.options.Cold.settingsNow(ctx); err != nil {
		return nil, fmt.Errorf("cold: %w", err)
	}
	learned.ReplicaLabels = append(slices.Clone(c.options.ReplicaLabels), learned.Cold.ReplicaLabels...)
	known := tier.SeriesEvidence{Declared: c.options.Complete}
	external := c.options.ExternalLabels
	if external == nil {
		external = learned.Hot.ExternalLabels
	}
	known.HotLabelsKnown = external != nil
	known.HotLabels = promql.WithoutLabels(external, learned.ReplicaLabels)
	for name := range external {
		if _, isKept := known.HotLabels[name]; !isKept {
			known.HotReplicaLabels = append(known.HotReplicaLabels, name)
		}
	}
	if hot := c.options.Hot.Status(); len(hot.Stores) > 0 {
		learned.hotSets = hot.sets
		c.describeFanOut(hot.Stores, learned, &known)
	}
	if learned.enforced, err = c.learnSources(ctx, &known, learned.ReplicaLabels); err != nil {
		return nil, err
	}
	if known.HotSources != nil {
		learned.others = separate(&known, learned.enforced)
	}
	for _, name := range slices.Sorted(maps.Keys(known.InjectedLabels)) {
		values, err := hot.As(ownrequest.KindSources).LabelValues(ctx, name, time.Time{}, 1)
		if err != nil {
			return nil, fmt.Errorf("hot: %w", err)
		}
		if len(values) > 0 {
			known.ConflictingLabels = append(known.ConflictingLabels, name)
		}
	}
	if learned.OwnReplicaLabels, err = c.ownReplicaLabels(ctx, learned.ReplicaLabels); err != nil {
		return nil, fmt.Errorf("hot: %w", err)
	}
	switch {
	case known.Declared:
	case !known.SourcesKnown:
		learned.AssumedReason = "cold does not report its sources, so hot is assumed to be complete"
	case known.HotSources == nil && len(known.HotLabels) == 0 && len(known.Sources) > 1:
		learned.AssumedReason = "hot does not report its external labels and cold has several sources: configure them, or every query that another source could match goes to cold"
	}
	learned.Evidence = tier.NewSeriesEvidence(known)
	return learned, nil
}

// hasNewSource reports whether cold lists a source that is not in the snapshot, or hot has other
// sources than there.
func (c *Catalog) hasNewSource() bool {
	learned := c.learned.Load()
	if hot := c.options.Hot.status.Load(); learned.Evidence != nil && hot.Available && hot.sets != learned.hotSets {
		return true
	}
	known, stores := learned.Evidence, c.options.Cold.Status().Stores
	return known != nil && !known.Declared && len(stores) > 0 && slices.ContainsFunc(visible(SourcesOf(stores, learned.ReplicaLabels), learned.enforced), func(source map[string]string) bool {
		return !promql.ContainsLabels(known.Sources, source)
	})
}

// since returns the time since which other sources matter. A query for older samples goes to
// cold anyway.
func (c *Catalog) since() time.Time {
	oldest := c.options.Hot.Status().Oldest
	for _, source := range c.options.Hot.Status().Sources {
		oldest = min(oldest, source.Oldest)
	}
	if oldest == tier.NothingCovered {
		return time.Time{}
	}
	return time.UnixMilli(oldest).Add(-time.Hour)
}
