package admission

import (
	"cmp"
	"slices"
)

// waiter is a call that waits.
type waiter struct {
	caller  Caller
	decided bool
	outcome chan bool // set with decided: whether the call is admitted
}

// roundRobin is a queue whose members take turns. It has three levels: the datasources of a tier,
// the callers of a datasource, and the calls of a caller in order.
type roundRobin struct {
	key     uint64
	waiting int           // number of calls of all members
	members []*roundRobin // the next one first; none on the lowest level
	calls   []*waiter     // on the lowest level
}

// path returns the keys of the levels below the top.
func path(caller Caller) []uint64 { return []uint64{caller.Datasource, caller.ID} }

// member returns the member with a key, or nil.
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

// remove removes a call from the queue.
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

// next returns the call whose turn it is, and moves its datasource and its caller behind the
// others. It skips calls that admit rejects, and returns nil if there are no others. The caller
// removes the call.
func (r *roundRobin) next(admit func(Caller) bool) *waiter {
	if len(r.calls) > 0 && admit(r.calls[0].caller) {
		return r.calls[0]
	}
	for i, member := range r.members {
		if call := member.next(admit); call != nil {
			r.members = append(slices.Delete(r.members, i, i+1), member)
			return call
		}
	}
	return nil
}

// longest returns the member with the most calls. There must be a member.
func (r *roundRobin) longest() *roundRobin {
	return slices.MaxFunc(r.members, func(a, b *roundRobin) int { return cmp.Compare(a.waiting, b.waiting) })
}

// exceeds reports whether a member has more calls than the one with a key would have with one more.
func (r *roundRobin) exceeds(key uint64) bool {
	waiting := 0
	if member := r.member(key); member != nil {
		waiting = member.waiting
	}
	return len(r.members) > 0 && r.longest().waiting > waiting+1
}

// evicted returns the call that makes room for one of the caller: the newest call of the datasource
// with the most calls, or else of the caller with the most calls in the same datasource. It returns
// nil if neither has more than the caller would have. r is the top level.
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
