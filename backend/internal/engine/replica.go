package engine

import (
	"bytes"
	"context"
	"errors"
	"hash/fnv"
	"io"
	"net/http"
	"slices"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// beginning is how much of an answer is held back until it is clear that the
// replica lives on: most panels are shorter. What is longer can still break off
// later, as any answer can.
const beginning = 64 << 10

// OrderReplicas sorts the replicas of hot by who is to be asked a request: those
// that are ready to answer, then the others, each in an order that is the same
// for every refresh of a panel, and that spreads panels over the replicas.
// ready says of a replica whether the cluster holds it to be so.
func OrderReplicas(request *promapi.Request, replicas []Replica, ready func(Replica) bool) {
	fingerprint := Fingerprint(request)
	type rank struct {
		class  int
		weight uint64
	}
	ranks := make(map[string]rank, len(replicas))
	for _, each := range replicas {
		// The highest hash of query and replica together wins: when a replica
		// goes, only its own queries move, and they return with it.
		hash := fnv.New64a()
		_, _ = io.WriteString(hash, each.Hot.Replica()+"\x00"+fingerprint) // It never fails.
		one := rank{weight: mix(hash.Sum64())}
		if !each.answers() {
			one.class += 2
		}
		if !ready(each) {
			one.class++
		}
		ranks[each.Hot.Replica()] = one
	}
	slices.SortStableFunc(replicas, func(one, other Replica) int {
		first, second := ranks[one.Hot.Replica()], ranks[other.Hot.Replica()]
		switch {
		case first.class != second.class:
			return first.class - second.class
		case first.weight > second.weight:
			return -1
		case first.weight < second.weight:
			return 1
		}
		return 0
	})
}

// mix spreads the bits of a hash: names that differ in one character have FNV
// hashes that differ in few.
func mix(hash uint64) uint64 {
	hash ^= hash >> 33
	hash *= 0xff51afd7ed558ccd
	hash ^= hash >> 33
	return hash
}

// answers tells whether everything is known that a query on the replica takes.
func (r Replica) answers() bool {
	return r.Hot.Status().Available && r.Hot.Identity() != nil && (r.Pair == nil || r.Pair.Snapshot().Knowledge != nil)
}

// Fingerprint identifies what a request selects: see keyOf. It is the same for every
// refresh of a panel, whatever its time range and step.
func Fingerprint(request *promapi.Request) string {
	key := keyOf(request)
	return string(key[:])
}

// on is the same query on another replica of hot, without the one that it was on.
func (q Query) on(i int) Query {
	others := q.Others
	q.Hot, q.Pair, q.Others = others[i].Hot, others[i].Pair, slices.Concat(others[:i], others[i+1:])
	return q
}

// hasReplicas tells whether another replica can take the place of the one that
// is asked.
func (c *call) hasReplicas(decision tier.Decision) bool {
	return decision.Tier == tier.Hot && len(c.query.Others) > 0
}

// nextReplica turns to another replica after one has failed: to one that would
// answer as well, or, where cold cannot take over, to any that is left. It
// returns false where there is none.
func (c *call) nextReplica(ctx context.Context, failed tier.Decision) bool {
	if failed.Tier == tier.Cold {
		return false
	}
	asWell := func(other Replica, planned *Planned) bool {
		return other.Hot.Status().Available && (failed.Rule == 1 || len(planned.Warnings) <= len(failed.Warnings))
	}
	anyhow := func(Replica, *Planned) bool { return failed.Fallback == "" }
	for _, isGood := range []func(Replica, *Planned) bool{asWell, anyhow} {
		for i, other := range c.query.Others {
			if failed.Fallback != "" && !other.Hot.Status().Available {
				continue // Nor is it waited for.
			}
			next := c.query.on(i)
			planned, err := planOne(ctx, next)
			if err == nil && planned.Tier == failed.Tier && isGood(other, planned) {
				c.query, c.planned = next, planned
				return true
			}
		}
	}
	return false
}

// holdBeginning reads the beginning of an answer, and returns an error when the
// replica breaks it off there.
func (r *Response) holdBeginning() error {
	if r.Status >= http.StatusBadRequest {
		return nil
	}
	var held bytes.Buffer
	_, err := io.CopyN(&held, r.Body, beginning)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(&held, r.Body), r.Body}
	return nil
}

// closing is what a Prometheus says of a block that it closes because it is
// shutting down.
const closing = "block is closing"

// saysItStops tells whether the answer is the error of a Prometheus that is
// shutting down: it closes its blocks while it still answers, and takes what
// comes of that for an error of the query.
func (r *Response) saysItStops() bool {
	if r.Status != http.StatusUnprocessableEntity {
		return false
	}
	body, err := r.plain()
	if err != nil {
		return false
	}
	text, err := io.ReadAll(io.LimitReader(body, maxErrorBytes))
	r.setBody(text)
	return err == nil && bytes.Contains(text, []byte(closing))
}
