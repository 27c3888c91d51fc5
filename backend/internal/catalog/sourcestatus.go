package catalog

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

const (
	// scopesFollowed is the maximum number of sources of hot whose samples are looked at. Of others,
	// nothing is covered. Which ones are followed depends on the queries.
	scopesFollowed = 8
	// sourceUnusedFor is how long a source is followed after the last query that may read it, if
	// there are others to follow.
	sourceUnusedFor = 10 * time.Minute
	// doubtedFor is how long a source is not used after an answer that lacked one of its stores. Some
	// seconds after a Thanos has lost a store, it answers without a warning; until then, its list
	// of stores says nothing either.
	doubtedFor = 30 * time.Second
)

// SourceStatus is what is known of one source of a hot tier that lists its stores.
type SourceStatus struct {
	// Labels are its external labels without replica labels.
	Labels map[string]string
	// IsFollowed is set if its samples are looked at. Otherwise, nothing is known of them.
	IsFollowed bool
	// Available is set if its samples come in.
	Available bool
	// Oldest and ContiguousSince are as in Status.
	Oldest, ContiguousSince int64
	// Error says why it is not available, or why its coverage is unknown.
	Error string
	// Notes say which of its stores are missing.
	Notes []tier.Note

	key                        string // identifies it
	reported, unmeasurable     bool
	interval, shortestInterval time.Duration
	failure                    error
}

// summarize sets the fields of the status that follow from all followed sources. What one of them
// does not cover is not covered.
func (s *Status) summarize() {
	sources := slices.DeleteFunc(slices.Clone(s.Sources), func(source SourceStatus) bool { return !source.IsFollowed })
	s.Oldest, s.ContiguousSince, s.unmeasurable, s.reported = math.MinInt64, 0, false, true
	isAvailable := false
	var unavailable SourceStatus
	for _, source := range sources {
		s.Oldest, s.ContiguousSince = max(s.Oldest, source.Oldest), max(s.ContiguousSince, source.ContiguousSince)
		s.ScrapeInterval, s.shortestInterval = max(s.ScrapeInterval, source.interval), max(s.shortestInterval, source.shortestInterval)
		s.unmeasurable, s.reported = s.unmeasurable || source.unmeasurable, s.reported && source.reported
		s.Error = cmp.Or(s.Error, source.Error)
		isMissing := len(source.Notes) > 0
		isAvailable = isAvailable || source.Available || isMissing
		if !source.Available && !isMissing {
			unavailable = source
			s.Oldest = tier.NothingCovered
		}
	}
	if s.Oldest == math.MinInt64 {
		s.Oldest = tier.NothingCovered
	}
	if !isAvailable {
		s.Available, s.failure, s.Error = false, unavailable.failure, unavailable.Error
	}
}

// narrowed returns the status as far as it concerns some sources.
func (s *Status) narrowed(keys []string) Status {
	narrow := *s
	narrow.Oldest, narrow.ContiguousSince, narrow.Notes, narrow.Error, narrow.unmeasurable = math.MinInt64, 0, nil, "", false
	found := 0
	for _, source := range s.Sources {
		if !slices.Contains(keys, source.key) {
			continue
		}
		found++
		narrow.Notes = append(narrow.Notes, source.Notes...)
		narrow.Oldest, narrow.ContiguousSince = max(narrow.Oldest, source.Oldest), max(narrow.ContiguousSince, source.ContiguousSince)
		narrow.unmeasurable = narrow.unmeasurable || source.unmeasurable
		narrow.Error = cmp.Or(narrow.Error, source.Error)
		switch {
		case !source.IsFollowed:
			narrow.Oldest = tier.NothingCovered
		case !source.Available && len(source.Notes) == 0:
			narrow.Available = false
		}
	}
	if found < len(keys) || found == 0 {
		narrow.Oldest = tier.NothingCovered
	}
	return narrow
}

// sourcesInUse says which sources of a hot tier queries read. It is safe for concurrent use.
type sourcesInUse struct {
	mutex    sync.Mutex
	used     map[string]time.Time // by key
	doubted  map[string]time.Time // by key, when an answer lacked something
	followed []string
}

// doubt notes that an answer from some sources lacked something.
func (u *sourcesInUse) doubt(keys []string, now time.Time) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	if u.doubted == nil {
		u.doubted = map[string]time.Time{}
	}
	maps.DeleteFunc(u.doubted, func(_ string, since time.Time) bool { return now.Sub(since) >= doubtedFor })
	for _, key := range keys {
		u.doubted[key] = now
	}
}

// areDoubted reports whether an answer from one of some sources lacked something a short while ago.
func (u *sourcesInUse) areDoubted(keys []string, now time.Time) bool {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	return slices.ContainsFunc(keys, func(key string) bool { since, is := u.doubted[key]; return is && now.Sub(since) < doubtedFor })
}

// use notes that a query may read some sources. It reports whether one of them is not followed yet.
func (u *sourcesInUse) use(keys []string, now time.Time) (isNew bool) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	if u.used == nil {
		u.used = map[string]time.Time{}
	}
	for _, key := range keys {
		u.used[key] = now
		isNew = isNew || !slices.Contains(u.followed, key)
	}
	return isNew
}

// choose returns the keys of the sources to follow: first those that are followed and used, then
// those that were used last.
func (u *sourcesInUse) choose(sources []SourceStatus, now time.Time) []string {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	var keys []string
	for _, source := range sources {
		keys = append(keys, source.key)
	}
	rank := func(key string) int {
		isUsed := now.Sub(u.used[key]) < sourceUnusedFor
		switch isFollowed := slices.Contains(u.followed, key); {
		case isUsed && isFollowed:
			return 0
		case isUsed:
			return 1
		case isFollowed:
			return 2
		}
		return 3
	}
	ranks := map[string]int{}
	for _, key := range keys {
		ranks[key] = rank(key)
	}
	slices.SortStableFunc(keys, func(a, b string) int {
		return cmp.Or(cmp.Compare(ranks[a], ranks[b]), u.used[b].Compare(u.used[a]))
	})
	for key, at := range u.used {
		if now.Sub(at) > sourceUnusedFor {
			delete(u.used, key)
		}
	}
	u.followed = keys[:min(len(keys), scopesFollowed)]
	return u.followed
}

// ListsStores reports whether the tier lists its stores, as a Thanos Query does. The series of such a
// hot tier carry their external labels.
func (t *Tier) ListsStores() bool { return t.status.Load().Stores != nil }

// sourcesRead returns the keys of those sources of hot of which one of the selectors may match series.
func (s *Status) sourcesRead(selectors []promql.Selector) (keys []string) {
	for _, source := range s.Sources {
		if slices.ContainsFunc(selectors, func(selector promql.Selector) bool { return tier.MayMatch(selector, source.Labels) }) {
			keys = append(keys, source.key)
		}
	}
	return keys
}

// stateOf is State for requests that read some sources of hot only.
func (t *Tier) stateOf(keys []string, now time.Time) tier.State {
	status := t.status.Load().narrowed(keys)
	state := t.stateFrom(t.seenFrom(status), now)
	if t.sources.areDoubted(keys, now) {
		state.Oldest = tier.NothingCovered
		state.Notes = append(slices.Clone(state.Notes), tier.PublicNote("an answer of the hot tier lacked one of its stores a short while ago"))
	}
	return state
}

// coveredState is State for those sources of hot whose coverage is known, if hot lists its stores.
func (t *Tier) coveredState(now time.Time) tier.State {
	status := t.Status()
	var covered []string
	for _, source := range status.Sources {
		if source.Available && source.Oldest != tier.NothingCovered {
			covered = append(covered, source.key)
		}
	}
	if len(covered) == 0 {
		return t.State(now)
	}
	return t.stateOf(covered, now)
}
