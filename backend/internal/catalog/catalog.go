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
	// OnLearned is called after something new was learned, if not nil.
	OnLearned func()
}

// Catalog holds what a hot and a cold tier tell only together: which series are in
// one of them, and where cold ends. Datasources whose tiers differ in their settings
// alone share a catalog. It is safe for concurrent use.
type Catalog struct {
	*sharedCatalog
	hot, cold *Tier
}

// sharedCatalog is what all views of a catalog have in common.
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

// Snapshot is what the catalog knows at one time. It never changes.
type Snapshot struct {
	// Knowledge says which series are where; nil while it is not known.
	Knowledge *tier.SeriesEvidence
	// Hot and Cold are the defaults of the tiers.
	Hot, Cold Settings
	// ReplicaLabels are all that cold removes, told and configured.
	ReplicaLabels []string
	// LearnedAt is when the catalog asked the tiers.
	LearnedAt time.Time
	// Error says why the last attempt to learn failed, in words without
	// addresses; empty when it did not.
	Error string
	// AssumedReason says why something is assumed rather than known; empty when
	// everything is.
	AssumedReason string
}

// New returns a catalog that knows nothing before Run.
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

// With returns the same catalog for views of its tiers.
func (c *Catalog) With(hot, cold *Tier) *Catalog {
	if hot == c.hot && cold == c.cold {
		return c
	}
	return &Catalog{sharedCatalog: c.sharedCatalog, hot: hot, cold: cold}
}

// Snapshot returns the newest snapshot.
func (c *Catalog) Snapshot() *Snapshot { return c.learned.Load() }

// ScrapeInterval returns the time between two samples of hot.
func (c *Catalog) ScrapeInterval() time.Duration {
	status := c.hot.Status()
	if status.ScrapeInterval == 0 {
		status.ScrapeInterval = c.Snapshot().Hot.ScrapeInterval
	}
	return c.hot.scrapeInterval(&status)
}

// ColdDeduplicates reports whether cold merges the series of replicas, by its own
// flags or by the configuration.
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

// catalogNames are the metric names that a catalog holds.
type catalogNames struct{ hot, others *cachedNames }

func (n *catalogNames) release() {
	n.hot.release()
	n.others.release()
	*n = catalogNames{}
}

// payer returns the budget of the project that the catalog belongs to; nil if both
// tiers are the gateway's own.
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

// learn asks both tiers for everything that changes rarely. If a tier cannot be
// asked, the last snapshot stays.
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
	if c.options.OnLearned != nil {
		c.options.OnLearned()
	}
	c.coldInterval, err = c.seenColdInterval(ctx, learned.LearnedAt)
	if err != nil {
		c.coldInterval = 0 // Then the interval of hot counts.
	}
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
	known := tier.SeriesEvidence{Declared: c.options.Complete}
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
	for _, name := range slices.Sorted(maps.Keys(known.InjectedLabels)) {
		values, err := hot.labelValues(ctx, name, nil, time.Time{})
		if err != nil {
			return nil, fmt.Errorf("hot: %w", err)
		}
		if len(values) > 0 {
			known.ConflictingLabels = append(known.ConflictingLabels, name)
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
	learned.Knowledge = tier.NewSeriesEvidence(known)
	return learned, nil
}

// since returns the time from which other sources matter. A query for older samples
// goes to cold anyway, and reading all of cold's past would be slow.
func (c *Catalog) since() time.Time {
	oldest := c.options.Hot.Status().Oldest
	if oldest == tier.NothingCovered {
		return time.Time{}
	}
	return time.UnixMilli(oldest).Add(-time.Hour)
}
