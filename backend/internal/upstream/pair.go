package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
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

// PairOptions describe what belongs to a hot and a cold tier together.
type PairOptions struct {
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

// Pair knows of a hot and a cold tier what only both together tell: which
// series are in one of them only, and where cold ends. It is safe for
// concurrent use. Datasources whose tiers differ only in their settings share
// what was learned.
type Pair struct {
	*sharedPair
	hot, cold *Tier
}

// sharedPair is what all views of a pair have in common.
type sharedPair struct {
	options PairOptions
	learned atomic.Pointer[Learned]
	newest  atomic.Pointer[coldEnd]
	// coldInterval is the time between two samples of cold as seen; used by
	// Run alone.
	coldInterval time.Duration
	// names are those of the knowledge, and learning those that are being
	// learned; used by Run alone.
	names, learning pairNames
	first           chan struct{} // closed after learning was tried once
	empty           *expirable.LRU[promql.Key, struct{}]
}

// Learned is what was learned of a pair. It is not changed after it was made.
type Learned struct {
	// Knowledge says which series are where; nil while it is not known.
	Knowledge *tier.SeriesEvidence
	// Hot and Cold are the defaults of the tiers.
	Hot, Cold Settings
	// ReplicaLabels are all that cold removes, told and configured.
	ReplicaLabels []string
	// LearnedAt is when that was.
	LearnedAt time.Time
	// Error says why the last attempt to learn failed, in words without
	// addresses; empty when it did not.
	Error string
	// Doubt says why something is assumed rather than known; empty when
	// everything is.
	Doubt string
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
func (p *Pair) covered(end *coldEnd) (covered int64, lags bool) {
	interval := max(p.ScrapeInterval(), end.interval)
	// Not every series has its newest sample at the same time; up to two
	// intervals before the newest of all, every one of them is there.
	return end.newest - (2 * interval).Milliseconds(), end.measured.Sub(time.UnixMilli(end.newest)) >= 2*interval+probeSlack
}

// NewPair returns a pair that has learned nothing yet: see Run.
func NewPair(options PairOptions) *Pair {
	p := &Pair{hot: options.Hot, cold: options.Cold}
	p.sharedPair = &sharedPair{
		options: options, first: make(chan struct{}),
		empty: expirable.NewLRU[promql.Key, struct{}](emptiesRemembered, nil, emptyFor),
	}
	p.learned.Store(&Learned{Error: "nothing is learned yet"})
	p.newest.Store(&coldEnd{})
	return p
}

// With returns the same pair for views of its tiers.
func (p *Pair) With(hot, cold *Tier) *Pair {
	if hot == p.hot && cold == p.cold {
		return p
	}
	return &Pair{sharedPair: p.sharedPair, hot: hot, cold: cold}
}

// Learned returns what was learned last.
func (p *Pair) Learned() *Learned { return p.learned.Load() }

// ColdState returns the state of cold with the end of its coverage as it was
// measured.
func (p *Pair) ColdState(now time.Time) tier.State {
	state := p.cold.State(now)
	if end := p.newest.Load(); end.newest != 0 {
		if covered, lags := p.covered(end); lags {
			state.Newest = min(state.Newest, covered)
		}
	}
	return state
}

// ScrapeInterval returns the time between two samples of hot.
func (p *Pair) ScrapeInterval() time.Duration {
	status := p.hot.Status()
	if status.ScrapeInterval == 0 {
		status.ScrapeInterval = p.Learned().Hot.ScrapeInterval
	}
	return p.hot.scrapeInterval(&status)
}

// ColdDeduplicates tells whether cold makes one series of those of several
// replicas, as far as it tells or is configured.
func (p *Pair) ColdDeduplicates() bool {
	return len(p.options.ReplicaLabels) > 0 || len(p.Learned().Cold.ReplicaLabels) > 0
}

// RememberEmpty notes that hot answered a query with nothing.
func (p *Pair) RememberEmpty(query promql.Key) { p.empty.Add(query, struct{}{}) }

// WasEmpty tells whether hot answered a query with nothing a short while ago.
func (p *Pair) WasEmpty(query promql.Key) bool {
	_, found := p.empty.Get(query)
	return found
}

// Wait blocks until something was learned, or learning has failed, or ctx
// ends.
func (p *Pair) Wait(ctx context.Context) {
	select {
	case <-p.first:
	case <-ctx.Done():
	}
}

// Tried tells whether learning was tried once.
func (p *Pair) Tried() bool {
	select {
	case <-p.first:
		return true
	default:
		return false
	}
}

// pairNames are the metric names that a pair holds.
type pairNames struct{ hot, others *heldNames }

func (n *pairNames) release() {
	n.hot.release()
	n.others.release()
	*n = pairNames{}
}

// payer returns the bound of the project that the pair belongs to; nil where
// both tiers are the gateway's own.
func (p *Pair) payer() *Probing {
	return cmp.Or(p.options.Hot.options.Probing, p.options.Cold.options.Probing)
}

// Run learns until ctx ends.
func (p *Pair) Run(ctx context.Context) {
	defer func() { p.names.release() }()
	p.options.Hot.Wait(ctx)
	p.options.Cold.Wait(ctx)
	probing := p.payer()
	ticker := time.NewTicker(p.options.Cold.options.ProbeInterval)
	defer ticker.Stop()
	var next time.Time
	for isFirst := true; ctx.Err() == nil; isFirst = false {
		if !probing.enter(ctx) {
			return
		}
		now := time.Now()
		if p.learned.Load().Error != "" || !now.Before(next) || p.lookForNews(ctx, now) {
			p.learn(ctx)
			next = now.Add(p.options.LearnInterval)
		}
		p.measureColdEnd(ctx, now)
		probing.leave()
		if isFirst {
			close(p.first)
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// learn asks both tiers for everything that changes rarely. What it found
// before stays while a tier cannot be asked.
func (p *Pair) learn(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, learnTimeout)
	defer cancel()
	var learned *Learned
	err := errUnavailable
	if p.options.Hot.Status().Available && p.options.Cold.Status().Available {
		learned, err = p.ask(ctx)
	}
	if ctx.Err() != nil && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		p.learning.release()
		failed := *p.learned.Load()
		failed.Error = Describe(err)
		if errors.Is(err, errUnavailable) || errors.Is(err, errNoStores) {
			failed.Error = err.Error()
		}
		p.learned.Store(&failed)
		return
	}
	learned.LearnedAt = time.Now()
	p.learned.Store(learned)
	p.names.release()
	p.names, p.learning = p.learning, pairNames{}
	p.coldInterval, err = p.seenColdInterval(ctx, learned.LearnedAt)
	if err != nil {
		p.coldInterval = 0 // Then that of hot is taken.
	}
}

// seenColdInterval is the time between two samples of some series of cold:
// they may be scraped less often than those of hot that are followed.
func (p *Pair) seenColdInterval(ctx context.Context, now time.Time) (time.Duration, error) {
	cold := p.options.Cold.options.Client
	if newest := p.newest.Load().newest; newest != 0 {
		now = time.UnixMilli(newest)
	}
	found, err := cold.upSeries(ctx, p.coldSelector(), now.Add(-5*time.Minute), now, witnesses)
	if err != nil {
		return 0, err
	}
	series := slices.Sorted(maps.Keys(found))
	return cold.sampleInterval(ctx, series[:min(len(series), witnesses)], now)
}

// coldSelector selects the series named up that cold has from hot.
func (p *Pair) coldSelector() string {
	knowledge := p.learned.Load().Knowledge
	if knowledge == nil {
		return "up"
	}
	var matchers []string
	for _, name := range slices.Sorted(maps.Keys(knowledge.InjectedLabels)) {
		matchers = append(matchers, fmt.Sprintf("%s=%q", quoteName(name), knowledge.InjectedLabels[name]))
	}
	return "up{" + join(matchers) + "}"
}

func (p *Pair) ask(ctx context.Context) (*Learned, error) {
	hot, cold := p.options.Hot.options.Client, p.options.Cold.options.Client
	learned := &Learned{}
	var err error
	if learned.Hot, err = hot.settings(ctx); err != nil {
		return nil, fmt.Errorf("hot: %w", err)
	}
	if learned.Cold, err = cold.settings(ctx); err != nil {
		return nil, fmt.Errorf("cold: %w", err)
	}
	replica := append(slices.Clone(p.options.ReplicaLabels), learned.Cold.ReplicaLabels...)
	learned.ReplicaLabels = replica
	known := tier.SeriesEvidence{Declared: p.options.Complete}
	external := p.options.ExternalLabels
	if external == nil {
		external = learned.Hot.ExternalLabels
	}
	known.HotLabelsKnown = external != nil
	known.HotLabels = without(external, replica)
	if p.learning.hot, err = p.options.Hot.metricNames(ctx, p.payer(), nil, time.Time{}, p.options.LearnInterval/2); err != nil {
		return nil, fmt.Errorf("hot: %w", err)
	}
	known.HotNames = p.learning.hot.set()
	if err := p.learnSources(ctx, &known, replica); err != nil {
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
		learned.Doubt = "cold does not tell its sources, so hot is assumed to be complete"
	case p.options.Hot.names.tooMany() || p.options.Cold.names.tooMany():
		learned.Doubt = "a tier has more metric names than are held, so every query that another source could match goes to cold"
	case len(known.HotLabels) == 0 && len(known.Sources) > 1:
		learned.Doubt = "hot does not tell its external labels and cold has several sources: configure them, or every query that another source could match goes to cold"
	}
	learned.Knowledge = tier.NewSeriesEvidence(known)
	return learned, nil
}

// measureColdEnd finds the newest sample that cold has of hot's series.
func (p *Pair) measureColdEnd(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, minProbeTimeout+p.options.Cold.options.ProbeInterval)
	defer cancel()
	if p.learned.Load().Knowledge == nil || !p.options.Cold.Status().Available {
		return
	}
	cold, selector := p.options.Cold.options.Client, p.coldSelector()
	previous := p.newest.Load()
	// Not behind what was found before.
	earliest := max(previous.newest, now.Add(-400*24*time.Hour).UnixMilli())
	newest, found, err := cold.searchNewest(ctx, selector, now, earliest)
	found = found || (err == nil && previous.newest != 0)
	if err != nil || !found {
		return // Without an answer the last one stays.
	}
	p.newest.Store(&coldEnd{newest: newest, measured: now, interval: p.coldInterval})
}

// since is from when on it matters what other sources hold: what reads older
// samples goes to cold anyhow, and all of cold's past would be slow to read.
func (p *Pair) since() time.Time {
	oldest := p.options.Hot.Status().Oldest
	if oldest == tier.NothingCovered {
		return time.Time{}
	}
	return time.UnixMilli(oldest).Add(-time.Hour)
}
