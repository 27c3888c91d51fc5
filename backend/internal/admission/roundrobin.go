package admission

import (
	"container/list"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// waiter is one call that waits.
type waiter struct {
	caller promapi.Caller
	calls  *roundRobin   // of its caller
	place  *list.Element // in calls.members; nil once the outcome is decided
	// outcome gets nil when the call may go, or why it may not.
	outcome chan error
}

// roundRobin is a queue whose members take turns. It has three levels: the
// datasources of a tier, the callers of a datasource, and the calls of a caller in
// the order in which they came.
type roundRobin struct {
	key     uint64
	parent  *roundRobin   // nil at the top
	place   *list.Element // in parent.members
	waiting int           // calls, those of all members together
	// members are *roundRobin, the next one first, and byKey finds them. At the lowest
	// level they are *waiter.
	members *list.List
	byKey   map[uint64]*roundRobin
}

func newRoundRobin(key uint64, parent *roundRobin) *roundRobin {
	return &roundRobin{key: key, parent: parent, members: list.New(), byKey: map[uint64]*roundRobin{}}
}

// member returns the member with that key. A new one waits behind all others.
func (r *roundRobin) member(key uint64) *roundRobin {
	found, ok := r.byKey[key]
	if !ok {
		found = newRoundRobin(key, r)
		found.place = r.members.PushBack(found)
		r.byKey[key] = found
	}
	return found
}

// waitingOf returns how many calls of a member wait.
func (r *roundRobin) waitingOf(key uint64) int {
	if found, ok := r.byKey[key]; ok {
		return found.waiting
	}
	return 0
}

// add queues a call of the caller. r is the top level.
func (r *roundRobin) add(caller promapi.Caller) *waiter {
	calls := r.member(caller.Datasource).member(caller.ID)
	added := &waiter{caller: caller, calls: calls, outcome: make(chan error, 1)}
	added.place = calls.members.PushBack(added)
	for level := calls; level != nil; level = level.parent {
		level.waiting++
	}
	return added
}

// remove takes a call out of the queue.
func (w *waiter) remove() {
	w.calls.members.Remove(w.place)
	w.place = nil
	for level := w.calls; level != nil; level = level.parent {
		level.waiting--
		if level.waiting == 0 && level.parent != nil {
			level.parent.members.Remove(level.place)
			delete(level.parent.byKey, level.key)
		}
	}
}

// take removes the call whose turn it is and returns it. It skips calls that
// enter does not let in, and returns nil if there are no others. r is the top
// level.
func (r *roundRobin) take(enter func(promapi.Caller) bool) *waiter {
	for datasource := range r.each {
		for caller := range datasource.each {
			next, _ := caller.members.Front().Value.(*waiter)
			if !enter(next.caller) {
				continue
			}
			next.remove()
			if caller.waiting > 0 {
				datasource.members.MoveToBack(caller.place)
			}
			if datasource.waiting > 0 {
				r.members.MoveToBack(datasource.place)
			}
			return next
		}
	}
	return nil
}

// each yields the members, the next one first.
func (r *roundRobin) each(yield func(*roundRobin) bool) {
	for element := r.members.Front(); element != nil; element = element.Next() {
		if member, _ := element.Value.(*roundRobin); !yield(member) {
			return
		}
	}
}

// longest returns the member with the most calls, or nil.
func (r *roundRobin) longest() *roundRobin {
	var found *roundRobin
	for member := range r.each {
		if found == nil || member.waiting > found.waiting {
			found = member
		}
	}
	return found
}

// last returns the newest call of the caller who has the most calls in r, one
// of the datasources.
func (r *roundRobin) last() *waiter {
	newest, _ := r.longest().members.Back().Value.(*waiter)
	return newest
}

// evict removes a call to make room for one of the caller, and returns it. It takes
// the newest call of the datasource that has the most, else of the caller within the
// same datasource that has the most. It returns nil if neither has more than the
// caller would have. r is the top level.
func (r *roundRobin) evict(caller promapi.Caller) *waiter {
	var evicted *waiter
	own := r.byKey[caller.Datasource]
	switch longest := r.longest(); {
	case longest == nil:
		return nil
	case longest.waiting > r.waitingOf(caller.Datasource)+1:
		evicted = longest.last()
	case own != nil && own.longest().waiting > own.waitingOf(caller.ID)+1:
		evicted = own.last()
	default:
		return nil
	}
	evicted.remove()
	return evicted
}
