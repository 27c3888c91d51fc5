package ownrequest

import (
	"context"
	"sync"
	"time"
)

const (
	// Patience is how long a query waits for what has to be asked first.
	Patience = 500 * time.Millisecond
	// InUse is how long after its last use something is in use.
	InUse = 10 * time.Minute
	// rarely is the longest time between two looks at what nobody uses, and mostRarely that at one of
	// many such things.
	rarely     = time.Minute
	mostRarely = 5 * time.Minute
	// slowAfter is the duration from which on a look is slow. Queries do not wait for slow looks.
	// While they are in use, they are repeated in the background.
	slowAfter = Patience / 2
)

// Refresher repeats a look at a tier: when somebody uses what it found and that is older than an
// interval, and rarely otherwise. It is safe for concurrent use.
type Refresher struct {
	interval time.Duration
	isOfMany bool
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

// NewRefresher returns a refresher that has not looked yet: see Run.
func NewRefresher(interval time.Duration) *Refresher {
	return &Refresher{interval: interval, changed: make(chan struct{}, 1), ended: make(chan struct{})}
}

// NewRefresherOfMany returns a refresher for one of many things. While nobody uses it, it looks even
// more rarely.
func NewRefresherOfMany(interval time.Duration) *Refresher {
	made := NewRefresher(interval)
	made.isOfMany = true
	return made
}

// MaxAge returns how old knowledge may be that a query uses without waiting.
func MaxAge(interval time.Duration) time.Duration { return interval + min(interval/2, Slack) }

// Run looks until ctx ends. look reports whether everything is as it should be: otherwise, the
// next look follows after an interval.
func (r *Refresher) Run(ctx context.Context, budget *Budget, look func() bool) {
	for budget.Acquire(ctx) {
		r.Once(look)
		budget.Release()
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

// Once looks once.
func (r *Refresher) Once(look func() bool) {
	began := r.begin(time.Now())
	isFine := look()
	r.end(began, time.Now(), isFine)
}

// Refresh notes that what a look found is used. It has a look repeated that is older than an
// interval, or began before a time. If it is much older, or began before that time, Refresh
// returns a channel that is closed at the end of that look, unless looks are slow.
func (r *Refresher) Refresh(since time.Time) <-chan struct{} {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	known, now := r.known, time.Now()
	switch {
	case known.IsZero():
		return nil // There was no look yet.
	case known.Before(since):
		known = time.Time{}
	}
	return r.demand(known, now, r.isLooking() && !r.began.Before(since))
}

// Demand is Refresh for a part of what is looked at, which is known since a time. A look in progress
// may not include it.
func (r *Refresher) Demand(known, now time.Time) <-chan struct{} {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.demand(known, now, false)
}

// demand is Refresh. isComing is set if the look in progress is as good as another one. The mutex
// is held.
func (r *Refresher) demand(known, now time.Time, isComing bool) <-chan struct{} {
	r.used = now
	age := now.Sub(known)
	if age > r.interval && !isComing {
		r.setDue(now)
	}
	if r.isSlow(now) {
		r.setDue(r.began.Add(r.interval)) // From now on, it is in use.
		return nil
	}
	if age <= MaxAge(r.interval) {
		return nil
	}
	return r.ended
}

// Next returns a channel that is closed at the end of the next look.
func (r *Refresher) Next() <-chan struct{} {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.ended
}

// Request has the next look begin now, or a second after the last one.
func (r *Refresher) Request() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.setDue(r.began.Add(min(r.interval, time.Second)))
}

// RequestSoon has the next look begin when the last one is an interval old.
func (r *Refresher) RequestSoon() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.setDue(r.began.Add(r.interval))
}

// begin notes the start of a look.
func (r *Refresher) begin(now time.Time) time.Time {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	pause := min(12*r.interval, rarely)
	if r.isOfMany && !isSlow(r.took) {
		pause = min(60*r.interval, mostRarely) // A query waits for the next look.
	}
	r.began, r.due = now, now.Add(Jittered(max(r.interval, pause)))
	return now
}

// end notes the end of a look.
func (r *Refresher) end(began, now time.Time, isFine bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.known, r.took = began, now.Sub(began)
	if !isFine || (r.isSlow(now) && now.Sub(r.used) < InUse) {
		r.setDue(began.Add(Jittered(r.interval)))
	}
	close(r.ended)
	r.ended = make(chan struct{})
}

// left returns the time until the next look.
func (r *Refresher) left(now time.Time) time.Duration {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.due.Sub(now)
}

// setDue has the next look begin at a time at the latest. The mutex is held.
func (r *Refresher) setDue(at time.Time) {
	if !at.Before(r.due) {
		return
	}
	r.due = at
	select {
	case r.changed <- struct{}{}:
	default: // It is already awake.
	}
}

// IsUsed reports whether what a look found was used within the last minute.
func (r *Refresher) IsUsed(now time.Time) bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return now.Sub(r.used) < rarely
}

func isSlow(took time.Duration) bool { return took > slowAfter }

func (r *Refresher) isLooking() bool { return r.began.After(r.known) }

// isSlow reports whether looks take so long that queries do not wait for them.
func (r *Refresher) isSlow(now time.Time) bool {
	return isSlow(r.took) || (r.isLooking() && isSlow(now.Sub(r.began)))
}
