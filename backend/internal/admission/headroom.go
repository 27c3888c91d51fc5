package admission

// Headroom is how many calls a query makes at once to a tier that has the room for them. A query
// that is divided asks for it, so that its parts delay no other query. It is safe for concurrent use.
type Headroom struct {
	queue *Queue
	key   string
	calls int
	// Queue.mutex guards these. users is the number of queries that share the headroom, and planned
	// the number of calls that have not entered yet.
	users, planned int
}

// Headroom returns how many calls, at most the given number, the caller can make at once. Together with all
// other calls to the tier, they are no more than parallel. It is one call while a call waits, and on a
// tier that is busy. The caller has to call Release.
//
// Queries with the same key share a headroom, because identical calls are made once: see
// Controller.Do. They are identical only if both queries are divided alike.
func (c *Controller) Headroom(key string, caller Caller, parallel, most int) *Headroom {
	q := c.queue
	q.mutex.Lock()
	defer q.mutex.Unlock()
	if shared := q.headrooms[key]; shared != nil {
		shared.users++
		return shared
	}
	h := &Headroom{queue: q, key: key, users: 1, calls: max(1, min(most, q.free(caller, parallel)))}
	h.planned = h.calls
	q.planned += h.planned
	q.headrooms[key] = h
	return h
}

// free returns how many more calls of the caller can enter at once, so that all calls are no more
// than parallel. The mutex is held.
func (q *Queue) free(caller Caller, parallel int) int {
	if q.line.waiting > 0 {
		return 0
	}
	free := parallel - q.running
	if q.limits.Concurrent > 0 {
		free = min(free, q.limits.Concurrent-q.running, int(q.callers.room(caller.ID)), int(q.datasources.room(caller.Datasource)))
	}
	return free - q.planned
}

// Calls returns the number of calls.
func (h *Headroom) Calls() int { return h.calls }

// Release gives back what the calls of a query have not used.
func (h *Headroom) Release() {
	h.queue.mutex.Lock()
	defer h.queue.mutex.Unlock()
	if h.users--; h.users > 0 {
		return
	}
	h.queue.planned -= h.planned
	h.planned = 0
	delete(h.queue.headrooms, h.key)
}

// enter records that one of the calls has entered. From then on, it counts as any other. h may be
// nil.
func (h *Headroom) enter() {
	if h == nil {
		return
	}
	h.queue.mutex.Lock()
	defer h.queue.mutex.Unlock()
	if h.planned > 0 {
		h.planned--
		h.queue.planned--
	}
}
