package catalog

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

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

// nameCache holds the metric names that were asked of one tier, by the selectors
// that they were asked for with. Catalogs that have the tier in common share them.
type nameCache struct {
	asking  chan struct{} // held while the tier is asked
	refused atomic.Bool   // the last set did not fit

	mutex  sync.Mutex
	closed bool
	recent *simplelru.LRU[string, *cachedNames]
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
	// It returns an error for a size below one only.
	recent, _ := simplelru.NewLRU(mostNameSets, func(_ string, names *cachedNames) { names.release() })
	return &nameCache{asking: make(chan struct{}, 1), recent: recent}
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
	list, err := t.api.metricNames(ctx, matchers, since)
	switch {
	case errors.Is(err, errTooManyNames):
		t.names.refused.Store(true)
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
	held, found := s.recent.Get(key)
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
	s.recent.Remove(key)
	refused := len(held.names) > mostNames || !held.memory.Acquire(int64(held.bytes))
	if s.refused.Store(refused); refused {
		return nil
	}
	if s.closed {
		held.holders.Store(1) // Nobody else asks for it any more.
		return held
	}
	held.holders.Store(2) // The caller and s.
	s.recent.Add(key, held)
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

// close releases all recent sets.
func (s *nameCache) close() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.closed = true
	s.recent.Purge()
}
