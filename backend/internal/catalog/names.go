package catalog

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// mostNames bounds the metric names that are held of one tier: a large
	// cluster has some thousands.
	mostNames = 100_000
	// mostNameSets bounds the sets of names that are held of one tier: a cold
	// tier has one for each hot tier with other external labels.
	mostNameSets = 4
	// nameOverhead is what a name takes in a set besides its bytes.
	nameOverhead = 40
	// sinceSlack is how much older than wanted the beginning of a set may be.
	sinceSlack = time.Hour
)

// errTooManyNames is why names are not held.
var errTooManyNames = errors.New("there are more names than are held")

// ProbeBudget bounds what the gateway asks of the tiers of one project on its own
// account, all of them together. nil bounds nothing.
type ProbeBudget struct {
	slots  chan struct{}
	memory *admission.BudgetShare
}

// NewProbeBudget returns a bound of so many probes at a time, and of so many bytes
// for the metric names that are held.
func NewProbeBudget(atOnce int, nameBytes int64) *ProbeBudget {
	return &ProbeBudget{slots: make(chan struct{}, atOnce), memory: admission.NewBudget[string](nameBytes, 0).Of("names")}
}

// enter waits until a probe may begin. It returns false when ctx ends before.
func (p *ProbeBudget) acquire(ctx context.Context) bool {
	if p == nil {
		return ctx.Err() == nil
	}
	select {
	case p.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *ProbeBudget) release() {
	if p != nil {
		<-p.slots
	}
}

// nameCache are the metric names that were asked of one tier, by the selectors
// that they were asked for with. Pairs that have the tier in common share them.
type nameCache struct {
	asking chan struct{} // held while the tier is asked

	mutex   sync.Mutex
	refused bool // the last set did not fit
	closed  bool
	recent  map[string]*cachedNames
}

// cachedNames is a set of metric names that takes memory until everyone who holds
// it has released it.
type cachedNames struct {
	names tier.NameSet
	// since is from when on they were asked for, and asked when that was.
	since, asked time.Time

	bytes   int
	memory  *admission.BudgetShare
	holders atomic.Int64
}

// set returns the names; nil where they are not known.
func (h *cachedNames) set() tier.NameSet {
	if h == nil {
		return nil
	}
	return h.names
}

func (h *cachedNames) release() {
	if h != nil && h.holders.Add(-1) == 0 {
		h.memory.Release(int64(h.bytes))
	}
}

func newNameCache() *nameCache {
	return &nameCache{asking: make(chan struct{}, 1), recent: map[string]*cachedNames{}}
}

// metricNames returns the metric names of the series that match, or all, since
// a time; nil where there are too many to hold, or the tier does not tell them.
// Names that were asked for less than maxAge ago are not asked for again. The
// caller releases what it gets. payer pays for the memory.
func (t *Tier) metricNames(ctx context.Context, payer *ProbeBudget, matchers []string, since time.Time, maxAge time.Duration) (*cachedNames, error) {
	select {
	case t.names.asking <- struct{}{}:
		defer func() { <-t.names.asking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	key := strings.Join(matchers, "\n")
	now := time.Now()
	if held := t.names.get(key, since, now.Add(-maxAge)); held != nil {
		return held, nil
	}
	list, err := t.api.askForNames(ctx, matchers, since)
	switch {
	case errors.Is(err, errTooManyNames):
		t.names.refuse()
		return nil, nil //nolint:nilnil // Not known is nil throughout.
	case upstream.CannotTell(err):
		return nil, nil //nolint:nilnil // Not known is nil throughout.
	case err != nil:
		return nil, err
	}
	return t.names.hold(key, payer, &cachedNames{names: tier.NewNameSet(list), since: since, asked: now}), nil
}

// get returns a recent set for one more holder, or nil.
func (s *nameCache) get(key string, since, notBefore time.Time) *cachedNames {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	held, found := s.recent[key]
	if !found || !held.asked.After(notBefore) || held.since.After(since) || since.Sub(held.since) > sinceSlack {
		return nil
	}
	held.holders.Add(1)
	return held
}

// hold keeps a set for the caller, and for others that ask for it soon. It
// returns nil where there is no memory for it.
func (s *nameCache) hold(key string, payer *ProbeBudget, held *cachedNames) *cachedNames {
	for name := range held.names {
		held.bytes += len(name) + nameOverhead
	}
	if payer != nil {
		held.memory = payer.memory
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.forget(key)
	if s.refused = len(held.names) > mostNames || !held.memory.Acquire(int64(held.bytes)); s.refused {
		return nil
	}
	if s.closed {
		held.holders.Store(1) // Nobody else asks for it any more.
		return held
	}
	for len(s.recent) >= mostNameSets {
		var oldest string
		for other, each := range s.recent {
			if before, found := s.recent[oldest]; !found || each.asked.Before(before.asked) {
				oldest = other
			}
		}
		s.forget(oldest)
	}
	held.holders.Store(2) // The caller and s.
	s.recent[key] = held
	return held
}

// replace is hold for the names that were asked for with the same selectors
// and have become more.
func (s *nameCache) replace(matchers []string, payer *ProbeBudget, names tier.NameSet, before *cachedNames) *cachedNames {
	changed := &cachedNames{names: names}
	if before != nil {
		changed.since, changed.asked = before.since, before.asked
	}
	return s.hold(strings.Join(matchers, "\n"), payer, changed)
}

func (s *nameCache) refuse() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.refused = true
}

// forget drops a recent set. The mutex is held.
func (s *nameCache) forget(key string) {
	s.recent[key].release()
	delete(s.recent, key)
}

// tooMany reports whether the last set of names did not fit.
func (s *nameCache) tooMany() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.refused
}

// close releases all recent sets.
func (s *nameCache) close() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.closed = true
	for key := range s.recent {
		s.forget(key)
	}
}
