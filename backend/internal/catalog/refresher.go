package catalog

import (
	"context"
	"sync"
	"time"
)

const (
	// refreshWait is how long a query waits until what is known of the tiers is fresh.
	refreshWait = 500 * time.Millisecond
	// rarely is the longest time between two looks at what nobody uses.
	rarely = time.Minute
	// slowAfter is the duration from which on a look is slow. Queries do not wait for slow looks.
	// While they are in use, they are repeated in the background.
	slowAfter = refreshWait / 2
)

// refresher repeats a look at a tier: when somebody uses what it found and that is older than an
// interval, and rarely otherwise. It is safe for concurrent use.
type refresher struct {
	interval time.Duration
	changed  chan struct{} // receives when due has changed

	mutex sync.Mutex
	due   time.Time // of the next look
	used  time.Time // the last time
	// began is the start of the last look, and known that of the last one that has ended. took is
	// the duration of the latter.
	began, known time.Time
	took         time.Duration
	ended        chan struct{} // closed at the end of the next look
}

func newRefresher(interval time.Duration) *refresher {
	return &refresher{interval: interval, changed: make(chan struct{}, 1), ended: make(chan struct{})}
}

// maxAge returns how old knowledge may be that a query uses without waiting.
func maxAge(interval time.Duration) time.Duration { return interval + min(interval/2, probeSlack) }

// run looks until ctx ends. look reports whether everything is as it should be: otherwise, the
// next look follows after an interval.
func (r *refresher) run(ctx context.Context, budget *ProbeBudget, look func() bool) {
	for budget.acquire(ctx) {
		r.once(look)
		budget.release()
		for left := r.left(time.Now()); left > 0; left = r.left(time.Now()) {
			timer := time.NewTimer(left)
			select {
			case <-timer.C:
			case <-r.changed:
			case <-ctx.Done():
			}
			timer.Stop()
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// once looks once.
func (r *refresher) once(look func() bool) {
	began := r.begin(time.Now())
	isFine := look()
	r.end(began, time.Now(), isFine)
}

// refresh notes that what a look found is used. It has a look repeated that is older than an
// interval, or began before a time. If it is much older, or began before that time, refresh
// returns a channel that is closed at the end of that look, unless looks are slow.
func (r *refresher) refresh(since time.Time) <-chan struct{} {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	now := time.Now()
	r.used = now
	age, isBefore := now.Sub(r.known), r.known.Before(since)
	if (isBefore || age > r.interval) && !r.isLooking() {
		r.setDue(now)
	}
	if (!isBefore && age <= maxAge(r.interval)) || r.isSlow(now) || r.known.IsZero() {
		return nil
	}
	return r.ended
}

// next returns a channel that is closed at the end of the next look.
func (r *refresher) next() <-chan struct{} {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.ended
}

// request has the next look begin now.
func (r *refresher) request() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.setDue(time.Now())
}

// requestSoon has the next look begin when the last one is an interval old.
func (r *refresher) requestSoon() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.setDue(r.began.Add(r.interval))
}

// Refresh notes that queries use what is known of some tiers and, if not nil, their catalog. What
// is older than the probe interval is looked at again. Refresh waits for that if it is much older,
// for a short time or until ctx ends, but not for a tier that is slow or unavailable.
func Refresh(ctx context.Context, of *Catalog, tiers ...*Tier) {
	ctx, cancel := context.WithTimeout(ctx, refreshWait)
	defer cancel()
	var waits []<-chan struct{}
	for _, each := range tiers {
		if each == nil || !each.Probed() {
			continue
		}
		if ended := each.probes.refresh(time.Time{}); ended != nil && each.status.Load().Available {
			waits = append(waits, ended)
		}
	}
	if !waitAll(ctx, waits) || of == nil || !of.Probed() {
		return
	}
	var since time.Time
	if of.hasNewSource() {
		since = of.options.Cold.Status().CheckedAt
	}
	if ended := of.looks.refresh(since); ended != nil {
		waitAll(ctx, []<-chan struct{}{ended})
	}
}

// begin notes the start of a look.
func (r *refresher) begin(now time.Time) time.Time {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.began, r.due = now, now.Add(jittered(max(r.interval, min(12*r.interval, rarely))))
	return now
}

// end notes the end of a look.
func (r *refresher) end(began, now time.Time, isFine bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.known, r.took = began, now.Sub(began)
	if !isFine || (r.isSlow(now) && now.Sub(r.used) < inUse) {
		r.setDue(began.Add(jittered(r.interval)))
	}
	close(r.ended)
	r.ended = make(chan struct{})
}

// left returns the time until the next look.
func (r *refresher) left(now time.Time) time.Duration {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.due.Sub(now)
}

// setDue has the next look begin at a time at the latest. The mutex is held.
func (r *refresher) setDue(at time.Time) {
	if !at.Before(r.due) {
		return
	}
	r.due = at
	select {
	case r.changed <- struct{}{}:
	default: // It is already awake.
	}
}

func (r *refresher) isLooking() bool { return r.began.After(r.known) }

// isSlow reports whether looks take so long that queries do not wait for them.
func (r *refresher) isSlow(now time.Time) bool {
	return r.took > slowAfter || (r.isLooking() && now.Sub(r.began) > slowAfter)
}
