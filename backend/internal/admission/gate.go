// Package admission decides which calls to a tier are made, and when: a queue in
// which callers take turns, one call for identical requests, and budgets for the
// memory that answers take. It makes no call itself. Of this project it imports
// promapi only.
package admission

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
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

// Shares of a tier's slots. Calls that hang hold their slots until their
// deadline, so that taking turns alone does not keep slots free for others.
const (
	// callerMultiple leaves at least half of the slots to other callers: with more,
	// three callers whose calls hang leave hardly any.
	callerMultiple = 1
	// datasourceMultiple leaves at least a tenth of the slots to other
	// datasources. It is less, because most tiers have one datasource.
	datasourceMultiple = 9
)

// Gate lets a bounded number of calls to a tier through at a time. The others
// wait: the datasources take turns, the callers of a datasource take turns, and
// the calls of one caller go in the order in which they came. So a caller with
// many calls delays its own calls only.
//
// No call waits that could go: after each change the gate lets in whatever the
// slots and their shares allow.
type Gate struct {
	limits Limits
	meters *Meters

	// callers and datasources share the slots. A caller has one share, whatever
	// datasources it asks.
	callers, datasources *Shares[uint64]

	mutex   sync.Mutex
	running int
	queue   *turns
	// held is how long a call takes, on average of the last ones.
	held time.Duration
}

// NewGate returns a gate with the limits, of which those of sharing do not count.
// meters may be nil.
func NewGate(limits Limits, meters *Meters) *Gate {
	slots := int64(limits.Concurrent)
	return &Gate{
		limits: limits, meters: meters, queue: newTurns(0, nil),
		callers: NewShares[uint64](slots, callerMultiple), datasources: NewShares[uint64](slots, datasourceMultiple),
	}
}

// Admit waits until a call of the caller may go, and returns what ends the call.
// It returns an *OverloadError where there is no room in time.
func (g *Gate) Admit(ctx context.Context, caller promapi.Caller) (release func(), err error) {
	if err := g.enter(ctx, caller); err != nil {
		return nil, err
	}
	started := time.Now()
	return func() { g.leave(caller, started) }, nil
}

// enter waits until a call of the caller may go. Each call that enters has to
// leave. It returns an OverloadError if there is no room before ctx ends.
func (g *Gate) enter(ctx context.Context, caller promapi.Caller) error {
	g.mutex.Lock()
	if g.admit(caller) {
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

// admit takes a slot for a call of the caller. It reports whether there is one
// within the shares of the caller and the datasource. The mutex is held.
func (g *Gate) admit(caller promapi.Caller) bool {
	if g.limits.Concurrent <= 0 {
		g.running++
		return true
	}
	if !g.datasources.Acquire(caller.Datasource, 1) {
		return false
	}
	if !g.callers.Acquire(caller.ID, 1) {
		g.datasources.Release(caller.Datasource, 1)
		return false
	}
	g.running++
	return true
}

// wait waits for the outcome of a call in the queue.
func (g *Gate) wait(ctx context.Context, added *waiter) error {
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
		return g.decided(ctx, added.caller, err)
	case <-ctx.Done():
	case <-timer.C:
	}
	g.mutex.Lock()
	if added.place == nil {
		g.mutex.Unlock()
		return g.decided(ctx, added.caller, <-added.outcome)
	}
	added.remove()
	g.mutex.Unlock()
	if err := ctx.Err(); err != nil {
		return g.reject(RejectedLeft, err)
	}
	return g.reject(RejectedWait, nil)
}

// decided is the outcome of a call that waited. Nobody enters for a caller who
// has gone.
func (g *Gate) decided(ctx context.Context, caller promapi.Caller, err error) error {
	if err != nil {
		return g.reject(RejectedFull, nil)
	}
	g.meters.inFlight(1)
	if err := ctx.Err(); err != nil {
		g.leave(caller, time.Time{})
		return g.reject(RejectedLeft, err)
	}
	return nil
}

// leave ends a call of the caller and lets the next ones in. started is when
// the call entered; the zero time where it was not made.
func (g *Gate) leave(caller promapi.Caller, started time.Time) {
	g.meters.inFlight(-1)
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if !started.IsZero() {
		const weight = 8
		g.held += (time.Since(started) - g.held) / weight
	}
	g.running--
	if g.limits.Concurrent <= 0 {
		return // There is no queue.
	}
	g.callers.Release(caller.ID, 1)
	g.datasources.Release(caller.Datasource, 1)
	for g.running < g.limits.Concurrent {
		next := g.queue.take(g.admit)
		if next == nil {
			return
		}
		next.outcome <- nil
	}
}

// join puts a call into the queue. It returns nil if the queue is full and the
// caller has no less in it than the others. The mutex is held.
func (g *Gate) join(caller promapi.Caller) *waiter {
	if g.queue.waiting >= g.limits.Queue {
		evicted := g.queue.evict(caller)
		if evicted == nil {
			return nil
		}
		evicted.outcome <- errEvicted
	}
	return g.queue.add(caller)
}

// errEvicted marks a call whose place was given to another caller.
var errEvicted = &OverloadError{Reason: RejectedFull}

// reject is the error for a call that is not made.
func (g *Gate) reject(reason string, cause error) error {
	g.mutex.Lock()
	drained := g.held * time.Duration(g.queue.waiting+1) / time.Duration(max(g.limits.Concurrent, 1))
	g.mutex.Unlock()
	g.meters.rejected(reason)
	seconds := (drained + time.Second - 1).Truncate(time.Second)
	return &OverloadError{Reason: reason, RetryAfter: min(max(seconds, leastRetryAfter), mostRetryAfter), Cause: cause}
}
