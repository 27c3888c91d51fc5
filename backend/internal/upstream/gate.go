package upstream

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"
)

// Limits bound the calls to one tier. The zero value bounds nothing.
type Limits struct {
	// Concurrent is how many calls are under way at a time; 0 for no bound. A
	// call ends with the body of its answer.
	Concurrent int
	// Queue is how many further calls wait.
	Queue int
	// Wait is the longest that one waits.
	Wait time.Duration
	// SharedBytes is the largest answer that identical calls share, in bytes;
	// 0 where nothing is shared.
	SharedBytes int
	// SharedMemory is how much memory the answers take that are being shared.
	// It is common to all tiers; nil for no bound.
	SharedMemory *Memory
}

// The reasons of an OverloadError, as label values of a metric.
const (
	// RejectedFull: the queue is full.
	RejectedFull = "queue-full"
	// RejectedWait: the longest wait is over.
	RejectedWait = "queue-wait"
	// RejectedLeft: the caller has gone, or its time is over.
	RejectedLeft = "left"
)

// Rejections lists every reason of an OverloadError.
func Rejections() []string { return []string{RejectedFull, RejectedWait, RejectedLeft} }

// OverloadError is returned for a call that was not made because the tier has
// too many already. It says nothing about the tier's health.
type OverloadError struct {
	// Reason is one of Rejections.
	Reason string
	// RetryAfter is when it is worth to try again: whole seconds, at least one.
	RetryAfter time.Duration
	// Cause is why the caller stopped to wait; nil where it did not.
	Cause error
}

// Error says what the caller met.
func (e *OverloadError) Error() string {
	return fmt.Sprintf("it has too many queries already: try again in %s", e.RetryAfter)
}

// Unwrap returns the cause.
func (e *OverloadError) Unwrap() error { return e.Cause }

// Bounds of what an OverloadError tells.
const (
	leastRetryAfter = time.Second
	mostRetryAfter  = 30 * time.Second
)

// gate lets a bounded number of calls to a tier through at a time. The others
// wait: the callers take turns, and the calls of one caller go in the order in
// which they came. So a caller who asks for much waits for it alone.
type gate struct {
	limits Limits
	meters *Meters

	mutex   sync.Mutex
	running int
	waiting int
	// turns are the callers who wait, the next one first; callers finds them.
	turns   *list.List // of *turn
	callers map[uint64]*turn
	// held is how long a call takes, on average of the last ones.
	held time.Duration
}

// turn is one caller with the calls that wait.
type turn struct {
	caller uint64
	place  *list.Element // in gate.turns
	calls  *list.List    // of *waiter
}

// waiter is one call that waits.
type waiter struct {
	turn  *turn
	place *list.Element // in turn.calls; nil once the outcome is decided
	// outcome gets nil when the call may go, or why it may not.
	outcome chan error
}

func newGate(limits Limits, meters *Meters) *gate {
	return &gate{limits: limits, meters: meters, turns: list.New(), callers: map[uint64]*turn{}}
}

// enter waits until a call of the caller may go. Whoever enters leaves. It
// returns an OverloadError where there is no room before ctx ends.
func (g *gate) enter(ctx context.Context, caller uint64) error {
	g.mutex.Lock()
	if g.limits.Concurrent <= 0 || (g.running < g.limits.Concurrent && g.waiting == 0) {
		g.running++
		g.mutex.Unlock()
		g.meters.inFlight(1)
		return nil
	}
	added := g.join(caller)
	g.mutex.Unlock()
	if added == nil {
		return g.reject(RejectedFull, nil)
	}
	return g.wait(ctx, added)
}

// wait waits for the outcome of a call in the queue.
func (g *gate) wait(ctx context.Context, added *waiter) error {
	started := time.Now()
	g.meters.queued(1)
	defer func() {
		g.meters.queued(-1)
		g.meters.waited(time.Since(started))
	}()
	timer := time.NewTimer(g.limits.Wait)
	defer timer.Stop()
	select {
	case err := <-added.outcome:
		return g.decided(ctx, err)
	case <-ctx.Done():
	case <-timer.C:
	}
	g.mutex.Lock()
	if added.place == nil {
		g.mutex.Unlock()
		return g.decided(ctx, <-added.outcome)
	}
	g.remove(added)
	g.mutex.Unlock()
	if err := ctx.Err(); err != nil {
		return g.reject(RejectedLeft, err)
	}
	return g.reject(RejectedWait, nil)
}

// decided is the outcome of a call that waited. Nobody enters for a caller who
// has gone.
func (g *gate) decided(ctx context.Context, err error) error {
	if err != nil {
		return g.reject(RejectedFull, nil)
	}
	g.meters.inFlight(1)
	if err := ctx.Err(); err != nil {
		g.leave(time.Time{})
		return g.reject(RejectedLeft, err)
	}
	return nil
}

// leave makes room for the next call. started is when this one entered; the
// zero time where it was not made.
func (g *gate) leave(started time.Time) {
	g.meters.inFlight(-1)
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if !started.IsZero() {
		const weight = 8
		g.held += (time.Since(started) - g.held) / weight
	}
	g.running--
	for g.waiting > 0 && g.running < g.limits.Concurrent {
		front, _ := g.turns.Front().Value.(*turn)
		next, _ := front.calls.Front().Value.(*waiter)
		g.remove(next)
		if front.calls.Len() > 0 {
			g.turns.MoveToBack(front.place)
		}
		g.running++
		next.outcome <- nil
	}
}

// join puts a call into the queue; nil where that is full of calls whose
// callers have no more of them than this one. The mutex is held.
func (g *gate) join(caller uint64) *waiter {
	own := 0
	if found, ok := g.callers[caller]; ok {
		own = found.calls.Len()
	}
	if g.waiting >= g.limits.Queue {
		longest := g.longest()
		if longest == nil || longest.calls.Len() <= own+1 {
			return nil
		}
		last, _ := longest.calls.Back().Value.(*waiter)
		g.remove(last)
		last.outcome <- errEvicted
	}
	its, ok := g.callers[caller]
	if !ok {
		its = &turn{caller: caller, calls: list.New()}
		its.place = g.turns.PushBack(its)
		g.callers[caller] = its
	}
	added := &waiter{turn: its, outcome: make(chan error, 1)}
	added.place = its.calls.PushBack(added)
	g.waiting++
	return added
}

// errEvicted marks a call whose place was given to another caller.
var errEvicted = &OverloadError{Reason: RejectedFull}

func (g *gate) longest() *turn {
	var found *turn
	for each := g.turns.Front(); each != nil; each = each.Next() {
		if candidate, _ := each.Value.(*turn); found == nil || candidate.calls.Len() > found.calls.Len() {
			found = candidate
		}
	}
	return found
}

// remove takes a call out of the queue. The mutex is held.
func (g *gate) remove(gone *waiter) {
	its := gone.turn
	its.calls.Remove(gone.place)
	gone.place = nil
	g.waiting--
	if its.calls.Len() == 0 {
		g.turns.Remove(its.place)
		delete(g.callers, its.caller)
	}
}

// reject is the error for a call that is not made.
func (g *gate) reject(reason string, cause error) error {
	g.mutex.Lock()
	drained := g.held * time.Duration(g.waiting+1) / time.Duration(max(g.limits.Concurrent, 1))
	g.mutex.Unlock()
	g.meters.rejected(reason)
	seconds := (drained + time.Second - 1).Truncate(time.Second)
	return &OverloadError{Reason: reason, RetryAfter: min(max(seconds, leastRetryAfter), mostRetryAfter), Cause: cause}
}
