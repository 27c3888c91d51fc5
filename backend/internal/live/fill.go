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
	if from < w.first() {
		older, err := t.query.Evaluate(t.ctx, time.UnixMilli(from), time.UnixMilli(w.first()-t.step), false)
		if err != nil {
			return nil, err
		}
		defer t.memory.Release(older.Bytes)
		part, err := older.Matrix.Part(from, w.first()-t.step, t.step)
		if err != nil {
			return nil, invalidAnswer(err)
		}
		parts = append(parts, part)
		if older.Tier != said.Tier && older.Tier != "" {
			said.Tier, said.Reason = bothTiers(older.Tier, said.Tier), older.Reason
		}
		t.noteWarnings(from, false, mayLack(part.Warnings))
	}
	newer, err := w.part(from, t.step)
	if err != nil {
		return nil, invalidAnswer(err)
	}
	update, err := t.encode(append(parts, newer...), said)
	if err != nil {
		return nil, err
	}
	t.mutex.Lock()
	update.id = t.id(w)
	t.mutex.Unlock()
	return update, nil
}

// bothTiers returns the name of two tiers that answered together.
func bothTiers(one, other string) string {
	if other == "" {
		return one
	}
	return "hot,cold"
}
