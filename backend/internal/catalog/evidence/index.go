// Package evidence finds out which of the metric names that queries read a tier has.
package evidence

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// inUse is how long evidence of absence counts while a tier is slow or does not answer.
	inUse = ownrequest.InUse
	// presentFor is how long evidence of presence counts, and how long evidence of absence is
	// renewed by the answers of some of cold's stores only.
	presentFor = 24 * time.Hour
	// recentWindow is how far before the last look a renewal begins. Samples get into a tier
	// faster than that.
	recentWindow = 5 * time.Minute
	// namesPerRequest is the maximum number of names in one request, and bytesPerRequest the
	// size from which on there is only one.
	namesPerRequest, bytesPerRequest = 100, 2 << 10
	// mostNames is the maximum number of names whose evidence is held for one tier, and
	// mostNamesOfProject for a tier of a project.
	mostNames, mostNamesOfProject = 20_000, 2_000
	// LongestName is the maximum length of such a name in bytes.
	LongestName = 1 << 10
	// mostLooks is the maximum number of names that wait for a look.
	mostLooks = 1_000
)

// windows are the lengths of the times for which evidence of absence is gathered. Queries that
// read a little more or less share it.
var windows = []time.Duration{time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour, 90 * 24 * time.Hour, 400 * 24 * time.Hour}

// allTime is a window that reaches back to the first sample.
const allTime = time.Duration(1<<63 - 1)

// windowOf returns the shortest window that reaches back to a time in milliseconds.
func windowOf(oldest int64, now time.Time) time.Duration {
	for _, window := range windows {
		if oldest >= now.Add(-window).UnixMilli() {
			return window
		}
	}
	return allTime
}

// nameKey is a metric name within a group of series.
type nameKey struct {
	group Group
	name  string
}

// nameState is the evidence of one name. The mutex of its index protects it.
type nameState struct {
	known, present bool
	window         time.Duration // before whole, for which absence is known
	// whole is the last look at the whole window, recent the last one at its end, and certain
	// the last one at all stores.
	whole, recent, certain time.Time
	used, failed           time.Time
	look                   *look // the one in progress
}

// presence returns what the evidence says of a window before now. Evidence of absence counts for
// the given time after the last look.
func (s *nameState) presence(window time.Duration, now time.Time, absentFor time.Duration) tier.Presence {
	switch {
	case !s.known:
	case s.present && now.Sub(s.whole) < presentFor:
		return tier.Present
	case !s.present && window <= s.window && now.Sub(s.recent) < absentFor:
		return tier.Absent
	}
	return tier.Unknown
}

// look is one look for a name. done is closed at its end.
type look struct {
	nameKey
	window time.Duration
	done   chan struct{}
}

// Options are the options of New.
type Options struct {
	// Client asks the tier.
	Client ownrequest.Client
	// ProbeInterval is the time between two renewals of evidence in the newest data, and
	// LearnInterval the time between two renewals in all the time that queries read.
	ProbeInterval, LearnInterval time.Duration
	// Store, if not nil, keeps the evidence, and shares it, under Key. The key identifies the
	// server and everything that its answers depend on.
	Store *Store
	Key   promql.Key
	// State returns what is known of the tier.
	State func() State
}

// State is what is known of a tier.
type State struct {
	// Available is set if the tier answers.
	Available bool
	// HasStores is set for a Thanos that lists its stores.
	HasStores bool
	// Newest is the end of the tier's data, as far as it is known, or now.
	Newest time.Time
}

// Index holds evidence of the metric names that queries read: whether a tier has series of
// them. It looks for a name at its first use, and again while it is in use. It is safe for
// concurrent use.
type Index struct {
	options  Options
	wake     chan struct{}
	renewals *ownrequest.Refresher

	mutex   sync.Mutex
	states  *simplelru.LRU[nameKey, *nameState]
	looks   []*look
	all     nameList
	failure string // of the last request, or empty
	failed  time.Time

	isLoaded atomic.Bool // the evidence of the store was read
}

// New returns an index without any evidence: see Run.
func New(options Options) *Index {
	most := mostNames
	if options.Client.Budget != nil {
		most = mostNamesOfProject
	}
	states, _ := simplelru.NewLRU[nameKey, *nameState](most, nil) // It fails only for a size below one.
	return &Index{options: options, states: states, wake: make(chan struct{}, 1), renewals: ownrequest.NewRefresher(options.ProbeInterval)}
}

// Lookup returns what is known of a name in a group of series since a time in milliseconds since the
// Unix epoch. If nothing is known, or if evidence of absence is old, and asks is set, it has the name
// looked for, and returns a channel that is closed at the end of that. The channel is nil if there are
// too many names to look for, and for a while after a failure.
func (x *Index) Lookup(group Group, name string, oldest int64, asks bool, now time.Time) (tier.Presence, <-chan struct{}) {
	if len(name) > LongestName {
		return tier.Unknown, nil
	}
	key := nameKey{group, name}
	x.mutex.Lock()
	defer x.mutex.Unlock()
	state, isHeld := x.states.Get(key)
	if !isHeld {
		state = &nameState{}
		x.states.Add(key, state)
	}
	state.used = now
	window := windowOf(oldest, now)
	known := state.presence(window, now, inUse)
	switch {
	case !asks || known == tier.Present:
		return known, nil
	case known == tier.Absent:
		if renewed := x.await(state.recent, state.failed, now); renewed != nil {
			return tier.Unknown, renewed
		}
		return known, nil
	}
	if state.look == nil && now.Sub(state.failed) < x.options.ProbeInterval {
		return tier.Unknown, nil
	}
	if state.look == nil && len(x.looks) < mostLooks {
		state.look = &look{nameKey: key, window: max(window, state.window), done: make(chan struct{})}
		x.looks = append(x.looks, state.look)
		x.notify()
	}
	if state.look == nil || x.options.Client.Pacer.IsPaused(now) {
		return tier.Unknown, nil
	}
	return tier.Unknown, state.look.done
}

func (x *Index) notify() {
	select {
	case x.wake <- struct{}{}:
	default: // It is awake.
	}
}

// Run looks for names, and renews evidence, until ctx ends.
func (x *Index) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		x.renewals.Run(ctx, nil, func() bool { x.renew(ctx); return !x.options.Client.Pacer.IsStrained() })
	})
	for {
		for batch := x.next(); len(batch) > 0; batch = x.next() {
			x.lookNow(ctx, batch)
		}
		x.listNow(ctx)
		select {
		case <-x.wake:
		case <-ctx.Done():
			return
		}
	}
}

// next returns the looks of the same group and window as the first one that waits.
func (x *Index) next() (batch []*look) {
	x.mutex.Lock()
	defer x.mutex.Unlock()
	x.looks = slices.DeleteFunc(x.looks, func(waiting *look) bool {
		belongs := len(batch) == 0 || (batch[0].group == waiting.group && batch[0].window == waiting.window)
		if belongs {
			batch = append(batch, waiting)
		}
		return belongs
	})
	return batch
}

// lookNow looks for some names. If that fails, nothing is known of them.
func (x *Index) lookNow(ctx context.Context, batch []*look) {
	x.load(ctx)
	names := x.stillUnknown(batch)
	var since time.Time
	if window := batch[0].window; window != allTime {
		since = time.Now().Add(-window)
	}
	x.find(ctx, batch[0].group, names, since, func(name string, present bool, began time.Time, err error) {
		waiting := batch[slices.IndexFunc(batch, func(waiting *look) bool { return waiting.name == name })]
		if state, isHeld := x.states.Peek(waiting.nameKey); isHeld && state.look == waiting {
			state.look = nil
			if state.failed = began; err == nil {
				*state = nameState{known: true, present: present, window: waiting.window, whole: began, recent: began, certain: began, used: state.used}
			}
		}
		close(waiting.done)
	})
	x.save(time.Now())
}

// stillUnknown ends the looks for names that another gateway has looked for, and returns the others.
func (x *Index) stillUnknown(batch []*look) (names []string) {
	x.mutex.Lock()
	defer x.mutex.Unlock()
	for _, waiting := range batch {
		state, isHeld := x.states.Peek(waiting.nameKey)
		if isHeld && state.look == waiting && state.presence(waiting.window, time.Now(), x.options.ProbeInterval) != tier.Unknown {
			state.look = nil
			close(waiting.done)
			continue
		}
		names = append(names, waiting.name)
	}
	return names
}

// find finds out which of some names the tier has in a group since a time; the zero time means
// from the beginning. It calls settle once for each of them, with the mutex held and with the
// start of the request. Each request names one metric that the tier has, or settles all others.
func (x *Index) find(ctx context.Context, group Group, names []string, since time.Time, settle func(name string, present bool, began time.Time, err error)) {
	remaining := slices.Sorted(slices.Values(names))
	for len(remaining) > 0 {
		part, began := remaining[:partOf(remaining)], time.Now()
		found, err := x.has(ctx, group, part, since)
		present := len(found) > 0
		if !present {
			found = part
		}
		x.mutex.Lock()
		x.record(err)
		remaining = slices.DeleteFunc(remaining, func(name string) bool {
			isSettled := slices.Contains(found, name) || (err != nil && !errors.Is(err, ownrequest.ErrPartial))
			if isSettled {
				settle(name, present, began, err)
			}
			return isSettled
		})
		x.mutex.Unlock()
	}
}

// partOf returns how many of some names fit into one request.
func partOf(names []string) int {
	bytes := 0
	for i, name := range names[:min(len(names), namesPerRequest)] {
		if bytes += len(name); i > 0 && bytes > bytesPerRequest {
			return i
		}
	}
	return min(len(names), namesPerRequest)
}

// has returns some of the names that the tier has in a group since a time. It returns none if
// it has none of them, and ownrequest.ErrPartial if some of cold's stores did not answer then.
func (x *Index) has(ctx context.Context, group Group, names []string, since time.Time) (found []string, err error) {
	api := x.options.Client.As(ownrequest.KindSeries)
	for _, selector := range group.Selectors(names) {
		parameters := url.Values{"match[]": {selector}, "start": {ownrequest.StartOf(since)}}
		err := x.options.Client.Paced(ctx, func(ctx context.Context) (err error) {
			if group == "" && !x.options.State().HasStores {
				// A Prometheus reads no series for this.
				found, _, err = ownrequest.AskWithWarnings[[]string](ctx, api, "/api/v1/label/"+model.MetricNameLabel+"/values", parameters)
				return err
			}
			// A Thanos reads one series for this, and all of them for the values of a label.
			parameters.Set("limit", "1")
			series, warnings, err := ownrequest.AskWithWarnings[[]map[string]string](ctx, api, "/api/v1/series", parameters)
			for _, labels := range series {
				found = append(found, labels[model.MetricNameLabel])
			}
			if err == nil && len(series) == 0 && len(warnings) > 0 {
				return ownrequest.ErrPartial
			}
			return err
		})
		found = slices.DeleteFunc(found, func(name string) bool { return !slices.Contains(names, name) })
		if err != nil || len(found) > 0 {
			return found, err
		}
	}
	return nil, nil
}

// record remembers why the last request failed.
func (x *Index) record(err error) {
	switch {
	case err == nil:
		x.failure, x.failed = "", time.Time{}
		return
	case errors.Is(err, ownrequest.ErrPartial):
		x.failure = err.Error()
	default:
		x.failure = upstream.Describe(err)
	}
	if x.failed.IsZero() {
		x.failed = time.Now()
	}
}

// Stats say how much is known of the metric names that queries read.
type Stats struct {
	// InUse is the number of names that queries have read in the last ten minutes. Missing is
	// the number of those whose evidence is missing.
	InUse, Missing int
	// Error is why the last request for evidence failed, without addresses, or empty. Since is
	// the time of the first failure after the last success.
	Error string
	Since time.Time
}

// Stats returns the numbers of a group of series.
func (x *Index) Stats(group Group, now time.Time) Stats {
	x.mutex.Lock()
	defer x.mutex.Unlock()
	stats := Stats{Error: x.failure, Since: x.failed}
	for _, key := range x.states.Keys() {
		state, _ := x.states.Peek(key)
		if key.group != group || now.Sub(state.used) > inUse {
			continue
		}
		stats.InUse++
		if !state.known {
			stats.Missing++
		}
	}
	return stats
}

// Peek returns what is known of a name in all series since a time in milliseconds since the Unix
// epoch. It asks nothing, and does not count as a use.
func (x *Index) Peek(name string, oldest int64, now time.Time) tier.Presence {
	x.mutex.Lock()
	defer x.mutex.Unlock()
	if state, isHeld := x.states.Peek(nameKey{name: name}); isHeld {
		return state.presence(windowOf(oldest, now), now, inUse)
	}
	return tier.Unknown
}
