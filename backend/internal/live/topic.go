package live

import (
	"context"
	"hash/fnv"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

const (
	// The steps that may still change are evaluated again at each step, but not more often than every
	// checkInterval, and not more rarely than every mostCheckInterval.
	checkInterval     = 15 * time.Second
	mostCheckInterval = time.Minute
	// mostDelay bounds how long after a step its evaluation begins. Topics are spread over it, so that
	// a tier does not get all queries at once.
	mostDelay = 250 * time.Millisecond
	// mostRetryWait bounds the time until an evaluation that failed is tried again.
	mostRetryWait = 5 * time.Second
	// mostEvents and mostEventBytes bound the updates that a topic keeps for slow subscribers.
	mostEvents     = 16
	mostEventBytes = 4 << 20
)

// ErrNoMemory is the error for steps that take more memory than there is.
var ErrNoMemory = &promapi.Error{
	Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, RetryAfter: retryAfter,
	Message: "live queries of this datasource would take more memory than live.memory allows: select fewer series, a shorter range or a longer step",
}

// topic is a query that subscribers with the same key follow. All times are in milliseconds since the
// Unix epoch.
type topic struct {
	hub         *Hub
	key         string
	query       Query
	step        int64
	memory      *admission.BudgetShare
	ctx         context.Context //nolint:containedctx // It is the lifetime of the topic.
	cancel      context.CancelFunc
	subscribers int // protected by the mutex of the hub
	// longest is the longest range of a subscriber.
	longest atomic.Int64
	// isWhole is set if all steps are evaluated at once: see Query.IsWhole and Answer.IsApart.
	isWhole atomic.Bool
	// recovery belongs to run.
	recovery recovery

	mutex   sync.Mutex
	changed chan struct{} // closed when an event is added
	// events are the last ones. oldest is the number of the first of them.
	events []event
	oldest int64
	// window is nil before the first answer.
	window *window
	// incomplete is the first step whose answer had a warning and that was not answered without one
	// since; zero for none.
	incomplete int64
	fills      map[fillKey]*fill
}

// event is what a topic publishes. One of its fields is set.
type event struct {
	update *payload
	err    error
	// refillFrom is the first step of those that are complete now and were not before.
	refillFrom int64
}

func newTopic(hub *Hub, key string, query Query) *topic {
	t := &topic{
		hub: hub, key: key, query: query, step: query.Step.Milliseconds(), memory: hub.options.Memory.Of(query.Datasource),
		subscribers: 1, changed: make(chan struct{}), fills: map[fillKey]*fill{},
	}
	t.isWhole.Store(query.IsWhole)
	t.ctx, t.cancel = context.WithCancel(hub.ended)
	return t
}

// delay returns how long after a step its evaluation begins.
func (t *topic) delay() time.Duration {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(t.key)) // It never fails.
	return time.Duration(hash.Sum32()) % min(mostDelay, t.query.Step/4)
}

// stepBefore returns the last step that is not after a time.
func (t *topic) stepBefore(at time.Time) int64 { return floor(at.UnixMilli(), t.step) }

func floor(at, step int64) int64 {
	if rest := at % step; rest < 0 {
		return at - rest - step
	}
	return at - at%step
}

// run evaluates the query at each step until the topic ends.
func (t *topic) run() {
	defer t.clear()
	timer := time.NewTimer(0)
	defer timer.Stop()
	delay := t.delay()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-timer.C:
		}
		err := t.advance(t.stepBefore(time.Now().Add(-delay)))
		if t.ctx.Err() != nil {
			return
		}
		now := time.Now()
		wait := time.UnixMilli(t.stepBefore(now.Add(-delay)) + t.step).Add(delay).Sub(now)
		if w := t.window; err == nil && w.last() < t.stepBefore(now.Add(-delay)) {
			wait = 0 // The evaluation took longer than a step.
		} else if err != nil {
			t.publish(event{err: err}, nil)
			wait = min(wait, mostRetryWait)
		}
		timer.Reset(min(max(wait, 0), mostCheckInterval))
	}
}

// clear releases the memory of the topic.
func (t *topic) clear() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.keep(nil)
	t.dropEvents(len(t.events))
	t.dropFills()
}

// advance evaluates the steps until last that are new or may still change, and publishes what has
// changed.
func (t *topic) advance(last int64) error {
	started := time.Now()
	before := t.window // Only this goroutine changes it.
	settled := t.settledAt(started, last)
	first, isCheck := min(settled+t.step, last), true
	switch {
	case before == nil || t.isWhole.Load():
	case started.Sub(before.checkedAt) < checkInterval && t.query.Step < checkInterval:
		first, isCheck = before.last()+t.step, false
	default:
		first = before.settled + t.step
	}
	if first > last {
		return nil // All steps are settled, or the clock was set back.
	}
	answer, err := t.query.Evaluate(t.ctx, time.UnixMilli(first), time.UnixMilli(last), true)
	if err != nil {
		return err
	}
	if answer.IsApart && t.isWhole.CompareAndSwap(false, true) {
		t.memory.Release(answer.Bytes)
		return t.advance(last)
	}
	next := piece{first: first, last: last, matrix: answer.Matrix, bytes: answer.Bytes}
	changed, err := next.changedSince(before, t.step)
	if err != nil {
		t.memory.Release(answer.Bytes)
		return invalidAnswer(err)
	}
	var after *window
	if isCheck {
		after = &window{pieces: []piece{next}, settled: settled, checkedAt: started, answer: answer, isWhole: t.isWhole.Load()}
		if before != nil {
			after.settled = max(settled, before.settled)
		}
	} else {
		after = before.followedBy(next, answer)
	}
	t.noteWarnings(first, isCheck, mayLack(answer.Matrix.Warnings))
	if before != nil && after.isWhole && !before.isWhole {
		t.publish(event{refillFrom: first}, after) // Nothing may stand beside it.
		return nil
	}
	if err := t.publishSteps(after, before, changed); err != nil {
		return err
	}
	if isCheck {
		t.recover(after, started)
	}
	return nil
}

// settledAt returns the last step whose value can no longer change at a time.
func (t *topic) settledAt(now time.Time, last int64) int64 {
	switch {
	case t.query.IsWhole:
		return last - t.query.Range.Milliseconds()/t.step*t.step - t.step
	case t.isWhole.Load():
		return last - t.longest.Load()/t.step*t.step - t.step
	}
	return min(t.stepBefore(now.Add(-t.hub.options.Freshness-t.query.Ahead)), last)
}

// invalidAnswer returns the error for an answer that cannot be cut.
func invalidAnswer(err error) error {
	return &promapi.Error{Status: http.StatusBadGateway, Type: promapi.ErrorUnavailable, Cause: err,
		Message: "the tier did not answer with a matrix on the steps of the query"}
}

// publishSteps publishes the steps from changed on, and replaces the window.
func (t *topic) publishSteps(after, before *window, changed int64) error {
	var update *payload
	if before != nil && changed <= after.last() {
		parts, err := after.part(changed, t.step)
		if err != nil {
			t.memory.Release(after.answer.Bytes)
			return invalidAnswer(err)
		}
		update, err = t.encode(parts, t.about(changed, after.last(), after.answer))
		if err != nil {
			t.memory.Release(after.answer.Bytes)
			return err
		}
	}
	t.publish(event{update: update}, after)
	return nil
}

// about describes steps that an answer is the newest of.
func (t *topic) about(first, last int64, answer *Answer) About {
	return About{Start: Seconds(first), End: Seconds(last), Step: Seconds(t.step), Tier: answer.Tier, Reason: answer.Reason, Source: answer.Source}
}

// publish adds an event, and replaces the window by another one unless it is nil.
func (t *topic) publish(added event, after *window) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if after != nil {
		t.keep(after)
		t.dropFills()
	}
	if added.update != nil {
		added.update.id = t.id(after)
	}
	if added.update != nil || added.err != nil || added.refillFrom != 0 {
		t.events = append(t.events, added)
	}
	size := 0
	for i, kept := range slices.Backward(t.events) {
		if kept.update != nil {
			size += len(kept.update.body)
		}
		if len(t.events)-i > mostEvents || (size > mostEventBytes && i < len(t.events)-1) {
			t.dropEvents(i + 1)
			break
		}
	}
	close(t.changed)
	t.changed = make(chan struct{})
}

// keep replaces the window and releases the memory of what is no longer in it. The mutex is held.
func (t *topic) keep(after *window) {
	if t.window != nil {
		for _, known := range t.window.pieces {
			if after == nil || !slices.ContainsFunc(after.pieces, func(kept piece) bool { return kept.matrix == known.matrix }) {
				t.memory.Release(known.bytes)
			}
		}
	}
	t.window = after
}

// dropEvents drops the oldest events. The mutex is held.
func (t *topic) dropEvents(count int) {
	for _, dropped := range t.events[:count] {
		if dropped.update != nil {
			dropped.update.release()
		}
	}
	t.events, t.oldest = slices.Delete(t.events, 0, count), t.oldest+int64(count)
}

// id returns the last step of a window that can no longer change. The mutex is held.
func (t *topic) id(w *window) int64 {
	settled := min(w.settled, w.last())
	if t.incomplete != 0 {
		settled = min(settled, t.incomplete-t.step)
	}
	return settled
}
