package admission

import (
	"cmp"
	"slices"
)

// waiter is one call that waits.
type waiter struct {
	caller Caller
	// decided is set with the outcome: nil when the call may go, or why it may not.
	decided bool
	outcome chan error
}

// roundRobin is a queue whose members take turns. It has three levels: the
// datasources of a tier, the callers of a datasource, and the calls of a caller in
// the order in which they came.
type roundRobin struct {
	key     uint64
	waiting int           // calls, those of all members together
	members []*roundRobin // the next one first; none on the lowest level
	calls   []*waiter     // on the lowest level
}

// path returns the keys of the levels below the top.
func path(caller Caller) []uint64 { return []uint64{caller.Datasource, caller.ID} }

// member returns the member with that key, or nil.
func (r *roundRobin) member(key uint64) *roundRobin {
	if i := slices.IndexFunc(r.members, func(member *roundRobin) bool { return member.key == key }); i >= 0 {
		return r.members[i]
	}
	return nil
}

// add queues a call below the path. A new member waits behind all others.
func (r *roundRobin) add(added *waiter, path []uint64) {
	r.waiting++
	if len(path) == 0 {
		r.calls = append(r.calls, added)
		return
	}
	member := r.member(path[0])
	if member == nil {
		member = &roundRobin{key: path[0]}
		r.members = append(r.members, member)
	}
	member.add(added, path[1:])
}

// remove takes a call out of the queue.
func (r *roundRobin) remove(removed *waiter, path []uint64) {
	r.waiting--
	if len(path) == 0 {
		r.calls = slices.DeleteFunc(r.calls, func(call *waiter) bool { return call == removed })
		return
	}
	member := r.member(path[0])
	member.remove(removed, path[1:])
	if member.waiting == 0 {
		r.members = slices.DeleteFunc(r.members, func(other *roundRobin) bool { return other == member })
	}
}

// next returns the call whose turn it is, and moves its datasource and its caller
// behind the others. It skips calls that enter does not let in, and returns nil if
// there are no others. The caller removes the call.
func (r *roundRobin) next(enter func(Caller) bool) *waiter {
	if len(r.calls) > 0 && enter(r.calls[0].caller) {
		return r.calls[0]
	}
	for i, member := range r.members {
		if found := member.next(enter); found != nil {
			r.members = append(slices.Delete(r.members, i, i+1), member)
			return found
		}
	}
	return nil
}

// longest returns the member with the most calls. There is at least one.
func (r *roundRobin) longest() *roundRobin {
	return slices.MaxFunc(r.members, func(a, b *roundRobin) int { return cmp.Compare(a.waiting, b.waiting) })
}

// waitingOf returns how many calls of a member wait.
func (r *roundRobin) waitingOf(key uint64) int {
	if member := r.member(key); member != nil {
		return member.waiting
	}
	return 0
}

// exceeds reports whether some member has more calls than the one with that key would
// have with one more.
func (r *roundRobin) exceeds(key uint64) bool {
	return len(r.members) > 0 && r.longest().waiting > r.waitingOf(key)+1
}

// evicted returns the call that makes room for one of the caller: the newest of the
// datasource that has the most, else of the caller within the same datasource that
// has the most. It returns nil if neither has more than the caller would have. r is
// the top level.
func (r *roundRobin) evicted(caller Caller) *waiter {
	from := r.member(caller.Datasource)
	switch {
	case r.exceeds(caller.Datasource):
		from = r.longest()
	case from == nil || !from.exceeds(caller.ID):
		return nil
	}
	calls := from.longest().calls
	return calls[len(calls)-1]
}
