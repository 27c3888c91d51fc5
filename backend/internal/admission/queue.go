package admission

import (
	"container/list"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// waiter is one call that waits.
type waiter struct {
	caller promapi.Caller
	turns  *turns        // of its caller
	place  *list.Element // in turns.members; nil once the outcome is decided
	// outcome gets nil when the call may go, or why it may not.
	outcome chan error
}

// turns is a queue whose members take turns. There are three levels: the
// datasources of a tier, the callers of a datasource, and the calls of a caller.
// Calls go in the order in which they came.
type turns struct {
	key     uint64
	parent  *turns        // nil at the top
	place   *list.Element // in parent.members
	waiting int           // calls, those of all members together
	// members are *turns, the next one first, and byKey finds them. At the lowest
	// level they are *waiter.
	members *list.List
	byKey   map[uint64]*turns
}

func newTurns(key uint64, parent *turns) *turns {
	return &turns{key: key, parent: parent, members: list.New(), byKey: map[uint64]*turns{}}
}

// member returns the member with that key. A new one waits behind all others.
func (t *turns) member(key uint64) *turns {
	found, ok := t.byKey[key]
	if !ok {
		found = newTurns(key, t)
		found.place = t.members.PushBack(found)
		t.byKey[key] = found
	}
	return found
}

// waitingOf returns how many calls of a member wait.
func (t *turns) waitingOf(key uint64) int {
	if found, ok := t.byKey[key]; ok {
		return found.waiting
	}
	return 0
}

// add queues a call of the caller. t is the top level.
func (t *turns) add(caller promapi.Caller) *waiter {
	its := t.member(caller.Datasource).member(caller.ID)
	added := &waiter{caller: caller, turns: its, outcome: make(chan error, 1)}
	added.place = its.members.PushBack(added)
	for level := its; level != nil; level = level.parent {
		level.waiting++
	}
	return added
}

// remove takes a call out of the queue.
func (w *waiter) remove() {
	w.turns.members.Remove(w.place)
	w.place = nil
	for level := w.turns; level != nil; level = level.parent {
		level.waiting--
		if level.waiting == 0 && level.parent != nil {
			level.parent.members.Remove(level.place)
			delete(level.parent.byKey, level.key)
		}
	}
}

// take removes the call whose turn it is and returns it. It skips calls that
// enter does not let in, and returns nil if there are no others. t is the top
// level.
func (t *turns) take(enter func(promapi.Caller) bool) *waiter {
	for datasource := range t.each {
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
				t.members.MoveToBack(datasource.place)
			}
			return next
		}
	}
	return nil
}

// each yields the members, the next one first.
func (t *turns) each(yield func(*turns) bool) {
	for element := t.members.Front(); element != nil; element = element.Next() {
		if member, _ := element.Value.(*turns); !yield(member) {
			return
		}
	}
}

// longest returns the member with the most calls, or nil.
func (t *turns) longest() *turns {
	var found *turns
	for member := range t.each {
		if found == nil || member.waiting > found.waiting {
			found = member
		}
	}
	return found
}

// last returns the newest call of the caller who has the most calls in t, one
// of the datasources.
func (t *turns) last() *waiter {
	newest, _ := t.longest().members.Back().Value.(*waiter)
	return newest
}

// evict removes a call to make room for one of the caller and returns it. It
// returns nil if the caller has no less in the queue than the others: neither
// its datasource compared with the others, nor the caller within it. t is the
// top level.
func (t *turns) evict(caller promapi.Caller) *waiter {
	var evicted *waiter
	own := t.byKey[caller.Datasource]
	switch longest := t.longest(); {
	case longest == nil:
		return nil
	case longest.waiting > t.waitingOf(caller.Datasource)+1:
		evicted = longest.last()
	case own != nil && own.longest().waiting > own.waitingOf(caller.ID)+1:
		evicted = own.last()
	default:
		return nil
	}
	evicted.remove()
	return evicted
}
