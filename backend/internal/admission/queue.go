// Package admission decides which calls to a tier are made, and when: a queue in which callers take
// turns, one call for identical requests, and budgets for memory. It makes no calls itself, and
// imports nothing of this project.
package admission

import (
	"context"
	"sync"
	"time"
)

// Shares of a tier's slots. Turns alone do not keep slots free for others, because calls that hang
// hold their slots until their deadline.
const (
	// callerMultiple leaves at least half of the slots to other callers. With more, three callers
	// whose calls hang would leave hardly any.
	callerMultiple = 1
	// datasourceMultiple leaves at least a tenth of the slots to other datasources. It is less,
	// because most tiers have one datasource.
	datasourceMultiple = 9
)

// Queue limits the concurrent calls to a tier. The others wait: the datasources take turns, the
// callers of a datasource take turns, and the calls of one caller stay in order. So a caller with
// many calls delays only its own. The queue admits a call as soon as the slots and shares allow.
type Queue struct {
	limits Limits
	meters *Meters

	// callers and datasources share the slots. A caller has one share in all datasources.
	callers, datasources *Budget[uint64]

	mutex   sync.Mutex
	running int
	// planned is the number of calls that headrooms stand for and that have not entered yet.
	planned   int
	headrooms map[string]*Headroom // by key
	line      *roundRobin
	// held is the average duration of recent calls.
	held time.Duration
}

// NewQueue returns a queue with the limits, except those of sharing. meters may be nil.
func NewQueue(limits Limits, meters *Meters) *Queue {
	slots := int64(limits.Concurrent)
	return &Queue{
		limits: limits, meters: meters.orUnseen(), line: &roundRobin{}, headrooms: map[string]*Headroom{},
		callers: NewBudget[uint64](slots, callerMultiple), datasources: NewBudget[uint64](slots, datasourceMultiple),
	}
}

// Acquire waits for a slot for a call, and returns a function that releases it. It returns an
// *OverloadError if there is no room in time.
func (q *Queue) Acquire(ctx context.Context, caller Caller) (release func(), err error) {
	if err := q.enter(ctx, caller); err != nil {
		return nil, err
	}
	started := time.Now()
	return func() { q.leave(caller, started) }, nil
}

// enter waits for a slot for a call, which leave releases. It returns an *OverloadError if there is
// no room in time.
func (q *Queue) enter(ctx context.Context, caller Caller) error {
	q.mutex.Lock()
	if q.admit(caller) {
		q.mutex.Unlock()
		q.meters.InFlight.Inc()
		return nil
	}
	added := q.join(caller)
	q.mutex.Unlock()
	if added == nil {
		return q.reject(RejectedFull, nil)
	}
	return q.wait(ctx, added)
}

// admit takes a slot for a call. It reports whether there is one within the shares of the caller
// and the datasource. The mutex is held.
func (q *Queue) admit(caller Caller) bool {
	if q.limits.Concurrent <= 0 {
		q.running++
		return true
	}
	if !q.datasources.Acquire(caller.Datasource, 1) {
		return false
	}
	if !q.callers.Acquire(caller.ID, 1) {
		q.datasources.Release(caller.Datasource, 1)
		return false
	}
	q.running++
	return true
}

// wait waits for the outcome of a call in the queue.
func (q *Queue) wait(ctx context.Context, added *waiter) error {
	started := time.Now()
	q.meters.Queued.Inc()
	defer func() {
		q.meters.Queued.Dec()
		q.meters.Waited.Observe(time.Since(started).Seconds())
	}()
	timer := time.NewTimer(q.limits.Wait)
	defer timer.Stop()
	select {
	case admitted := <-added.outcome:
		return q.decided(ctx, added.caller, admitted)
	case <-ctx.Done():
	case <-timer.C:
	}
	q.mutex.Lock()
	if added.decided {
		q.mutex.Unlock()
		return q.decided(ctx, added.caller, <-added.outcome)
	}
	q.line.remove(added, path(added.caller))
	q.mutex.Unlock()
	if err := ctx.Err(); err != nil {
		return q.reject(RejectedLeft, err)
	}
	return q.reject(RejectedWait, nil)
}

// decided returns the result for a call that waited. A call does not enter if its caller has
// disconnected.
func (q *Queue) decided(ctx context.Context, caller Caller, admitted bool) error {
	if !admitted {
		return q.reject(RejectedFull, nil)
	}
	q.meters.InFlight.Inc()
	if err := ctx.Err(); err != nil {
		q.leave(caller, time.Time{})
		return q.reject(RejectedLeft, err)
	}
	return nil
}

// leave releases the slot of a call and admits the next calls. started is when the call entered, or
// the zero time if it was not made.
func (q *Queue) leave(caller Caller, started time.Time) {
	q.meters.InFlight.Dec()
	q.mutex.Lock()
	defer q.mutex.Unlock()
	if !started.IsZero() {
		q.held += (time.Since(started) - q.held) / 8
	}
	q.running--
	if q.limits.Concurrent <= 0 {
		return // There is no queue.
	}
	q.callers.Release(caller.ID, 1)
	q.datasources.Release(caller.Datasource, 1)
	for q.running < q.limits.Concurrent {
		next := q.line.next(q.admit)
		if next == nil {
			return
		}
		q.decide(next, true)
	}
}

// join queues a call. It returns nil if the queue is full and no other caller has more calls in
// it. The mutex is held.
func (q *Queue) join(caller Caller) *waiter {
	if q.line.waiting >= q.limits.Queue {
		evicted := q.line.evicted(caller)
		if evicted == nil {
			return nil
		}
		q.decide(evicted, false)
	}
	added := &waiter{caller: caller, outcome: make(chan bool, 1)}
	q.line.add(added, path(caller))
	return added
}

// decide removes a call from the queue, because it is admitted or evicted. The mutex is held.
func (q *Queue) decide(call *waiter, admitted bool) {
	q.line.remove(call, path(call.caller))
	call.decided = true
	call.outcome <- admitted
}

// reject returns the error for a call that is not made.
func (q *Queue) reject(reason string, cause error) error {
	q.mutex.Lock()
	drained := q.held * time.Duration(q.line.waiting+1) / time.Duration(max(q.limits.Concurrent, 1))
	q.mutex.Unlock()
	q.meters.Rejected[reason].Inc()
	seconds := (drained + time.Second - 1).Truncate(time.Second)
	return &OverloadError{Reason: reason, RetryAfter: min(max(seconds, leastRetryAfter), mostRetryAfter), Cause: cause}
}
