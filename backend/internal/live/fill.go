package live

import (
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
)

// fillKey identifies the steps from one on until the newest one before an event.
type fillKey struct{ from, event int64 }

// fill is an evaluation of older steps that subscribers share. Its update is held for the fill itself
// until nobody can get it any more.
type fill struct {
	done   chan struct{} // closed when update or err is set
	update *payload
	err    error
	// users get the update at the moment, and isDropped is set once nobody else can: both are
	// protected by the mutex of the topic.
	users     int
	isDropped bool
}

// since returns the steps from one on until the newest, held once, and the number of the event that
// follows them. It evaluates those that are before the window. The window must not be nil. It returns
// an Error of the Prometheus API.
func (t *topic) since(from int64) (*payload, int64, error) {
	t.mutex.Lock()
	w := t.window
	key := fillKey{from: from, event: t.oldest + int64(len(t.events))}
	shared, exists := t.fills[key]
	if !exists {
		shared = &fill{done: make(chan struct{})}
		t.fills[key] = shared
	}
	shared.users++
	t.mutex.Unlock()
	if exists {
		<-shared.done
	} else {
		shared.update, shared.err = t.evaluateSince(w, from)
		close(shared.done)
	}
	if shared.update != nil {
		shared.update.hold()
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	shared.users--
	if shared.err != nil && !shared.isDropped {
		delete(t.fills, key) // The next one tries again.
		shared.isDropped = true
	}
	shared.releaseUnused()
	return shared.update, key.event, shared.err
}

// releaseUnused releases the update if nobody can get it any more. The mutex of the topic is held.
func (f *fill) releaseUnused() {
	if f.isDropped && f.users == 0 && f.update != nil {
		f.update.release()
	}
}

// dropFills drops all fills, because there is a newer window. The mutex is held.
func (t *topic) dropFills() {
	for _, shared := range t.fills {
		shared.isDropped = true
		shared.releaseUnused()
	}
	clear(t.fills)
}

// evaluateSince returns the steps from one on until the newest of a window, held once.
func (t *topic) evaluateSince(w *window, from int64) (*payload, error) {
	said := t.about(from, w.last(), w.answer)
	var parts []*splice.Matrix
	isAll := false // One evaluation answers all steps.
	if from < w.first() {
		older, last, err := t.evaluateOlder(w, from)
		if err != nil {
			return nil, err
		}
		defer t.memory.Release(older.Bytes)
		part, err := older.Matrix.Part(from, last, t.step)
		if err != nil {
			return nil, invalidAnswer(err)
		}
		if isAll = last == w.last(); isAll {
			said = t.about(from, last, older)
		}
		parts = append(parts, part)
		if older.Tier != said.Tier && older.Tier != "" {
			said.Tier, said.Reason = bothTiers(older.Tier, said.Tier), older.Reason
		}
		t.noteWarnings(from, false, mayLack(part.Warnings))
	}
	if !isAll {
		newer, err := w.part(from, t.step)
		if err != nil {
			return nil, invalidAnswer(err)
		}
		parts = append(parts, newer...)
	}
	update, err := t.encode(parts, said)
	if err != nil {
		return nil, err
	}
	t.mutex.Lock()
	update.id = t.id(w)
	t.mutex.Unlock()
	return update, nil
}

// evaluateOlder evaluates the steps before a window, and those of the window too if they must not stand
// beside others. It returns the last step of the answer, whose memory the caller releases.
func (t *topic) evaluateOlder(w *window, from int64) (*Answer, int64, error) {
	last := w.first() - t.step
	if t.isWhole.Load() {
		last = w.last()
	}
	answer, err := t.query.Evaluate(t.ctx, time.UnixMilli(from), time.UnixMilli(last), false)
	if err != nil || last == w.last() || !answer.IsApart {
		return answer, last, err
	}
	t.isWhole.Store(true)
	t.memory.Release(answer.Bytes)
	answer, err = t.query.Evaluate(t.ctx, time.UnixMilli(from), time.UnixMilli(w.last()), false)
	return answer, w.last(), err
}

// bothTiers returns the name of two tiers that answered together.
func bothTiers(one, other string) string {
	if other == "" {
		return one
	}
	return "hot,cold"
}
