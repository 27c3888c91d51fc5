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
	// mostNames is the maximum number of metric names of one tier. A large cluster has some
	// thousands.
	mostNames = 100_000
	// mostNameSets is the maximum number of sets of names of one tier. A cold tier has one for
	// each hot tier with other external labels.
	mostNameSets = 4
	// nameOverhead is the memory of a name in a set, besides its bytes.
	nameOverhead = 40
	// sinceSlack is how much earlier than requested a set may begin.
	sinceSlack = time.Hour
)

// errTooManyNames is returned for more than mostNames.
var errTooManyNames = errors.New("there are more names than are held")

// nameCache holds sets of metric names of one tier by selectors. Catalogs with the same tier share
// them.
type nameCache struct {
	asking  chan struct{} // held during a request
	refused atomic.Bool   // the last set did not fit

	mutex  sync.Mutex
	closed bool
	recent *simplelru.LRU[string, *cachedNames]
}

// cachedNames is a set of metric names. Its memory is released when all holders have released it.
type cachedNames struct {
	names   tier.NameSet
	since   time.Time // the start of the time that they were requested for
	asked   time.Time // the time of the request
	bytes   int
	memory  *admission.BudgetShare
	holders atomic.Int64
}

// set returns the names, or nil if they are unknown.
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
	// It fails only for a size below one.
	recent, _ := simplelru.NewLRU(mostNameSets, func(_ string, names *cachedNames) { names.release() })
	return &nameCache{asking: make(chan struct{}, 1), recent: recent}
}

// metricNames returns the metric names of the matching series since a time, by default of all. It
// returns nil if there are too many, or if the tier does not report them. A result that is younger
// than maxAge is used again. The caller releases the result. payer provides the memory.
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
	held, ok := s.recent.Get(key)
	if !ok || !held.asked.After(notBefore) || held.since.After(since) || since.Sub(held.since) > sinceSlack {
		return nil
	}
	held.holders.Add(1)
	return held
}

// hold adds a set to the cache, and returns it for one holder. It returns nil if there is no memory
// for it.
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
		held.holders.Store(1) // The caller alone.
		return held
	}
	held.holders.Store(2) // The caller and s.
	s.recent.Add(key, held)
	return held
}

// replace adds a set that has more names than a previous set for the same selectors.
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
