package resolve

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// conflictKeptFor is how long servers that were no replicas of each other are
// remembered after one of them has gone: it may only be restarting.
const conflictKeptFor = 15 * time.Minute

// replicaSetKey is a Service of hot and a cold tier, nil where there is none.
// Which labels tell replicas apart depends on what that cold tier removes, so
// the servers of one Service can be replicas for one datasource and not for
// another.
type replicaSetKey struct {
	hot  destination // without the server
	cold *catalog.Tier
}

// replicaSet knows whether the servers behind a Service are replicas of each
// other for a cold tier. This is decided after each probe of a server, and
// whenever more was learned of cold; queries only read it.
type replicaSet struct {
	key     replicaSetKey
	servers []*catalog.Tier    // base views
	cold    *catalog.Tier      // base view, or nil
	pairs   []*catalog.Catalog // of each server with cold; empty without cold
	// refusals say why each of the servers is not asked; the zero Note where it
	// is.
	refusals []*atomic.Pointer[tier.Note]
}

// replicaConflict is that servers behind a Service are no replicas of each
// other.
type replicaConflict struct {
	reason  tier.Note
	servers int
	seen    time.Time
}

// notIdentified is why one of several servers is not asked at first.
var notIdentified = tier.PublicNote("it has not told yet who it is")

// replicaSet returns what is known of the servers of a Service together, and
// begins to decide it if they are new. pairs are those of each server with cold.
func (p *tierPool) replicaSet(at destination, servers []*catalog.Tier, cold *catalog.Tier, pairs []*catalog.Catalog) *replicaSet {
	at, _ = at.shared()
	at.address, at.replica = "", ""
	key := replicaSetKey{hot: at}
	if cold != nil {
		key.cold = cold.Base()
	}
	bases := make([]*catalog.Tier, 0, len(servers))
	for _, each := range servers {
		bases = append(bases, each.Base())
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if known, found := p.replicas[key]; found && slices.Equal(known.servers, bases) {
		return known
	}
	set := &replicaSet{key: key, servers: bases, cold: key.cold, pairs: pairs}
	for range servers {
		refusal := &atomic.Pointer[tier.Note]{}
		refusal.Store(&notIdentified)
		set.refusals = append(set.refusals, refusal)
	}
	p.replicas[key] = set
	p.decide(set)
	return set
}

// decideReplicas decides anew for those sets that which reports.
func (p *tierPool) decideReplicas(which func(*replicaSet) bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, set := range p.replicas {
		if which(set) {
			p.decide(set)
		}
	}
}

// decide notes which servers of a set are asked. The mutex is held.
func (p *tierPool) decide(set *replicaSet) {
	removed := slices.Clone(p.config.Cold.ReplicaLabels)
	for _, each := range set.pairs {
		removed = append(removed, each.Snapshot().Cold.ReplicaLabels...)
	}
	refused := p.refusal(set, removed)
	for i, each := range set.servers {
		reason := refused
		if reason == (tier.Note{}) && len(set.servers) > 1 && each.Identity() == nil {
			reason = notIdentified
		}
		set.refusals[i].Store(&reason)
	}
}

// refusal returns why none of the servers is asked, or the zero Note. removed
// are the labels that cold removes. The mutex is held.
func (p *tierPool) refusal(set *replicaSet, removed []string) tier.Note {
	now := p.now()
	reason, certain := catalog.NoReplicas(set.servers, removed)
	known, found := p.conflicts[set.key]
	switch {
	case certain:
		for key, each := range p.conflicts {
			if now.Sub(each.seen) >= conflictKeptFor {
				delete(p.conflicts, key)
			}
		}
		p.conflicts[set.key] = replicaConflict{reason: reason, servers: len(set.servers), seen: now}
	case found && reason == (tier.Note{}) && len(set.servers) < known.servers && now.Sub(known.seen) < conflictKeptFor:
		return known.reason
	case found && reason == (tier.Note{}):
		delete(p.conflicts, set.key)
	}
	return reason
}

// join makes the tiers of a datasource one: hot and cold are views of those at
// the two locations, and hot may be several servers.
func (r *Resolver) join(joined *Resolved, hotAt, coldAt location, hot, cold []*catalog.Tier) {
	joined.discovers = r.discovery != nil
	joined.Services = map[tier.Name]*discovery.Service{tier.Hot: hotAt.service, tier.Cold: coldAt.service}
	for _, each := range []location{hotAt, coldAt} {
		if each.service != nil {
			joined.references = append(joined.references, each.reference)
		}
		if pending(each.service) {
			joined.pending = append(joined.pending, each.reference)
		}
	}
	if len(cold) > 0 {
		joined.Cold, joined.Datasource.Cold = cold[0], cold[0]
	}
	if len(hot) == 0 {
		return
	}
	if hot[0].Replica() == "" {
		joined.Hot, joined.Pair = hot[0], r.pool.pair(hot[0], joined.Cold)
		joined.Datasource.Hot = []engine.Replica{{Hot: joined.Hot, Pair: joined.Pair, Ready: true}}
		return
	}
	var pairs []*catalog.Catalog
	for _, each := range hot {
		if pair := r.pool.pair(each, joined.Cold); pair != nil {
			pairs = append(pairs, pair)
		}
	}
	set := r.pool.replicaSet(hotAt.destination, hot, joined.Cold, pairs)
	for i, each := range hot {
		server := each.RefusedBy(set.refusals[i])
		one := engine.Replica{Hot: server, Ready: hotAt.service.Endpoints[i].Ready}
		if len(pairs) > 0 {
			one.Pair = pairs[i].With(server, joined.Cold)
		}
		joined.replicas = append(joined.replicas, one)
	}
	joined.Hot, joined.Pair, joined.Datasource.Hot = joined.replicas[0].Hot, joined.replicas[0].Pair, joined.replicas
}
