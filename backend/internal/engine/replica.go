package engine

import (
	"cmp"
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
	ordered := slices.Clone(replicas)
	slices.SortStableFunc(ordered, func(a, b Replica) int {
		return cmp.Or(cmp.Compare(a.class(), b.class()), cmp.Compare(b.weight(key), a.weight(key)))
	})
	return ordered
}

// class is the place of the replica's group: 0 for those that are ready to answer.
func (r Replica) class() (class int) {
	if !r.answers() {
		class += 2
	}
	if !r.Ready {
		class++
	}
	return class
}

// weight is the hash of a request and the replica together. The highest one wins:
// when a replica goes, only its own requests move, and they return with it.
func (r Replica) weight(key promql.Key) string {
	hash := promql.KeyOf(r.Hot.Replica(), string(key[:]))
	return string(hash[:])
}

// answers reports whether everything is known that a query on the replica takes.
func (r Replica) answers() bool {
	return r.Hot.Status().Available && r.Hot.Identity() != nil && (r.Catalog == nil || r.Catalog.Snapshot().Evidence != nil)
}
