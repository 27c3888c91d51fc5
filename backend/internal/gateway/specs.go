package gateway

import (
	"context"
	"sync"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
)

// specWatches wakes live streams when a request has found another spec of their datasource.
type specWatches struct {
	mutex   sync.Mutex
	watched map[perses.Reference]*specWatch
}

// specWatch are the streams that know the same spec of a datasource.
type specWatch struct {
	generation string
	streams    int
	changed    context.Context //nolint:containedctx // Its end is the news.
	change     context.CancelFunc
}

// watch returns a context that ends when another generation of a datasource was seen. The caller
// calls unwatch at the end.
func (w *specWatches) watch(reference perses.Reference, generation string) (changed context.Context, unwatch func()) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	known := w.watched[reference]
	if known == nil || known.generation != generation {
		w.changed(known)
		known = &specWatch{generation: generation}
		known.changed, known.change = context.WithCancel(context.Background())
		w.watched[reference] = known
	}
	known.streams++
	return known.changed, func() {
		w.mutex.Lock()
		defer w.mutex.Unlock()
		if known.streams--; known.streams == 0 {
			known.change()
			if w.watched[reference] == known {
				delete(w.watched, reference)
			}
		}
	}
}

// see notes which generation of a datasource a request has found.
func (w *specWatches) see(found *perses.Datasource) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if known := w.watched[found.Reference]; known != nil && known.generation != found.Generation {
		w.changed(known)
		delete(w.watched, found.Reference)
	}
}

// changed wakes the streams. The mutex is held.
func (w *specWatches) changed(known *specWatch) {
	if known != nil {
		known.change()
	}
}
