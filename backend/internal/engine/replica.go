package engine

import (
	"cmp"
	"hash/fnv"
	"io"
	"slices"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// inOrder returns the replicas of hot in the order in which a request asks them:
// those that are ready to answer, then the others. Each group has an order that is
// the same for every refresh of a panel, and that spreads panels over the replicas.
// key is keyOf the request.
func inOrder(replicas []Replica, key promql.Key) []Replica {
	if len(replicas) < 2 {
		return replicas
	}
	type ranked struct {
		Replica
		class  int
		weight uint64
	}
	list := make([]ranked, 0, len(replicas))
	for _, replica := range replicas {
		// The highest hash of request and replica together wins: when a replica
		// goes, only its own requests move, and they return with it.
		hash := fnv.New64a()
		_, _ = io.WriteString(hash, replica.Hot.Replica()+"\x00"+string(key[:])) // It never fails.
		made := ranked{Replica: replica, weight: mix(hash.Sum64())}
		if !replica.answers() {
			made.class += 2
		}
		if !replica.Ready {
			made.class++
		}
		list = append(list, made)
	}
	slices.SortStableFunc(list, func(a, b ranked) int { return cmp.Or(a.class-b.class, cmp.Compare(b.weight, a.weight)) })
	ordered := make([]Replica, 0, len(list))
	for _, replica := range list {
		ordered = append(ordered, replica.Replica)
	}
	return ordered
}

// mix spreads the bits of a hash: names that differ in one character have FNV
// hashes that differ in few.
func mix(hash uint64) uint64 {
	hash ^= hash >> 33
	hash *= 0xff51afd7ed558ccd
	hash ^= hash >> 33
	return hash
}

// answers reports whether everything is known that a query on the replica takes.
func (r Replica) answers() bool {
	return r.Hot.Status().Available && r.Hot.Identity() != nil && (r.Pair == nil || r.Pair.Learned().Knowledge != nil)
}
