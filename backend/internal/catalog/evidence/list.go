package evidence

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// mostNamesInList is the maximum number of metric names of one tier that patterns are
	// compared with. A large cluster has some thousands.
	mostNamesInList = 100_000
	// nameOverhead is the memory of a name in a list, besides its bytes.
	nameOverhead = 16
	// mostAttempts is how often a query waits for names, because a renewal may have begun too early.
	mostAttempts = 4
)

// nameList are the metric names of a tier. It is kept while queries use patterns for metric
// names. The mutex of the index protects it.
type nameList struct {
	names   []string // sorted
	known   bool
	window  time.Duration // before whole
	whole   time.Time
	recent  time.Time
	used    time.Time
	bytes   int64
	refused time.Time     // the last time that there was no room for them, or no such endpoint
	failed  time.Time     // the last time that a request for them failed
	listing chan struct{} // closed at the end of the request in progress
}

// Names returns the metric names of the tier since a time in milliseconds since the Unix epoch. They
// may include older ones. It waits for them until ctx ends. known is false if they are unknown.
func (x *Index) Names(ctx context.Context, oldest int64) (names []string, known bool) {
	for range mostAttempts {
		var listing <-chan struct{}
		names, known, listing = x.list(oldest, time.Now())
		if known || listing == nil || !ownrequest.WaitAll(ctx, []<-chan struct{}{listing}) {
			break
		}
	}
	return names, known
}

// list returns the metric names of the tier since a time in milliseconds since the Unix epoch.
// They may include older ones. known is false while they are unknown; then listing is closed
// after the next attempt. It is nil in a pause after failures.
func (x *Index) list(oldest int64, now time.Time) (names []string, known bool, listing <-chan struct{}) {
	x.mutex.Lock()
	defer x.mutex.Unlock()
	list, window := &x.all, windowOf(oldest, now)
	list.used = now
	if list.known && window <= list.window && now.Sub(list.recent) < inUse {
		if renewed := x.await(list.recent, list.failed, now); renewed != nil {
			return nil, false, renewed
		}
		return list.names, true, nil
	}
	if now.Sub(list.refused) < x.options.LearnInterval {
		return nil, false, nil
	}
	if list.listing == nil {
		list.window, list.listing = max(list.window, window), make(chan struct{})
		x.notify()
	}
	if x.options.Client.Pacer.IsPaused(now) {
		return nil, false, nil
	}
	return nil, false, list.listing
}

// listNow lists all names if a query waits for that.
func (x *Index) listNow(ctx context.Context) {
	x.mutex.Lock()
	listing, window := x.all.listing, x.all.window
	x.mutex.Unlock()
	if listing == nil {
		return
	}
	x.readNames(ctx, window)
	x.mutex.Lock()
	defer x.mutex.Unlock()
	if x.all.listing == listing {
		x.all.listing = nil
	}
	close(listing)
}

// renewNames lists the names again if queries use patterns now, and forgets them after a while. In
// between, it adds the new names of cold. It reports whether it has asked.
func (x *Index) renewNames(ctx context.Context, now time.Time, isStrained bool) bool {
	x.mutex.Lock()
	list := x.all
	if list.known && now.Sub(list.used) > inUse {
		x.hold(nil)
		x.all = nameList{listing: list.listing}
		list.known = false
	}
	x.mutex.Unlock()
	isWanted := now.Sub(list.used) <= x.options.ProbeInterval || isStrained
	switch {
	case !list.known || !isWanted || now.Sub(list.recent) < x.options.ProbeInterval*3/4:
		return false
	case now.Sub(list.whole) >= x.options.LearnInterval:
		x.readNames(ctx, list.window)
	default:
		x.readNames(ctx, now.Sub(list.recent)+recentWindow)
	}
	return true
}

// readNames reads the names within a window before now.
func (x *Index) readNames(ctx context.Context, window time.Duration) {
	began := time.Now()
	var since time.Time
	if window != allTime {
		since = x.options.State().Newest.Add(-window)
	}
	var names []string
	err := x.options.Client.Paced(ctx, func(ctx context.Context) (err error) {
		names, err = ownrequest.Ask[[]string](ctx, x.options.Client.As(ownrequest.KindNames), "/api/v1/label/"+model.MetricNameLabel+"/values", url.Values{"start": {ownrequest.StartOf(since)}})
		return err
	})
	x.mutex.Lock()
	defer x.mutex.Unlock()
	if x.record(err); err != nil {
		x.all.failed = began
		if errors.Is(err, upstream.ErrTooLarge) || upstream.CannotTell(err) {
			x.hold(nil)
			x.all.refused = time.Now()
		}
		return
	}
	x.all.recent = began
	if isWhole := !x.all.known || window >= x.all.window; isWhole {
		x.all.whole = began
		x.hold(slices.Compact(slices.Sorted(slices.Values(names))))
		return
	}
	slices.Sort(names)
	added := slices.DeleteFunc(names, func(name string) bool {
		_, isKnown := slices.BinarySearch(x.all.names, name)
		return isKnown
	})
	if len(added) > 0 {
		x.hold(slices.Compact(slices.Sorted(slices.Values(slices.Concat(x.all.names, added)))))
	}
}

// Close releases the memory of the names.
func (x *Index) Close() {
	x.mutex.Lock()
	defer x.mutex.Unlock()
	x.hold(nil)
}

// hold replaces the names. Without room for them, they are unknown. The mutex is held.
func (x *Index) hold(names []string) {
	memory := x.options.Client.Budget.Memory()
	memory.Release(x.all.bytes)
	x.all.names, x.all.bytes, x.all.known = nil, 0, false
	if names == nil {
		return
	}
	x.all.refused = time.Now()
	var bytes int64
	for _, name := range names {
		bytes += int64(len(name)) + nameOverhead
	}
	if len(names) <= mostNamesInList && memory.Acquire(bytes) {
		x.all.names, x.all.bytes, x.all.known, x.all.refused = names, bytes, true, time.Time{}
	}
}
