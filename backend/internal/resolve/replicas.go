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

// conflictTimeout is how long a conflict between servers lasts after one of them has
// disappeared: the server may only be restarting.
const conflictTimeout = 15 * time.Minute

// replicaSetKey is a Service of hot, and the cold tier or nil. The labels that cold removes
// determine which servers are replicas. Therefore the servers of one Service can be replicas
// for one datasource and not for another.
type replicaSetKey struct {
	hot  destination // without the server
	cold *catalog.Tier
}

// replicaSet says which servers behind a Service are replicas of each other, for a cold tier.
// The pool updates it after each probe of a server and each refresh of the catalog. Queries
// only read it.
type replicaSet struct {
	key      replicaSetKey
	servers  []*catalog.Tier    // base views
	catalogs []*catalog.Catalog // of each server with cold; nil without cold
	// refusals say why a server gets no queries. The Note is zero for a server that gets
	// queries.
	refusals []*atomic.Pointer[tier.Note]
}

// replicaConflict records that the servers behind a Service are not replicas of each other.
type replicaConflict struct {
	reason  tier.Note
	servers int
	seen    time.Time
}

// notIdentified is why a new replica gets no queries before its first probe.
var notIdentified = tier.PublicNote("its external labels are not known yet")

// replicaSet returns the replica set of a Service, and creates a new one. catalogs are those
// of each server with cold.
func (p *tierPool) replicaSet(at destination, servers []*catalog.Tier, cold *catalog.Tier, catalogs []*catalog.Catalog) *replicaSet {
	at, _ = at.shared()
	at.address, at.replica = "", ""
	key := replicaSetKey{hot: at}
	if cold != nil {
		key.cold = cold.Base()
	}
	bases := make([]*catalog.Tier, 0, len(servers))
	for _, server := range servers {
		bases = append(bases, server.Base())
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if existing, ok := p.replicas[key]; ok && slices.Equal(existing.servers, bases) {
		return existing
	}
	set := &replicaSet{key: key, servers: bases, catalogs: catalogs}
	for range servers {
		refusal := &atomic.Pointer[tier.Note]{}
		refusal.Store(&notIdentified)
		set.refusals = append(set.refusals, refusal)
	}
	p.replicas[key] = set
	p.decide(set)
	return set
}

// decideReplicas updates the replica sets of a server.
func (p *tierPool) decideReplicas(server *catalog.Tier) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, set := range p.replicas {
		if slices.Contains(set.servers, server) {
			p.decide(set)
		}
	}
}

// decide updates the refusals of a replica set. The mutex is held.
func (p *tierPool) decide(set *replicaSet) {
	removed := slices.Clone(p.config.Cold.ReplicaLabels)
	if set.key.cold != nil {
		for _, of := range set.catalogs {
			removed = append(removed, of.Snapshot().Cold.ReplicaLabels...)
		}
	}
	refused := p.refusal(set, removed)
	for i, server := range set.servers {
		reason := refused
		if reason == (tier.Note{}) && len(set.servers) > 1 && server.Identity() == nil {
			reason = notIdentified
		}
		set.refusals[i].Store(&reason)
	}
}

// refusal returns why none of the servers gets queries, or the zero Note. removed are the
// labels that cold removes. The mutex is held.
func (p *tierPool) refusal(set *replicaSet, removed []string) tier.Note {
	now := p.now()
	reason, certain := catalog.NoReplicas(set.servers, removed)
	previous, hadConflict := p.conflicts[set.key]
	switch {
	case certain:
		for key, conflict := range p.conflicts {
			if now.Sub(conflict.seen) >= conflictTimeout {
				delete(p.conflicts, key)
			}
		}
		p.conflicts[set.key] = replicaConflict{reason: reason, servers: len(set.servers), seen: now}
	case hadConflict && reason == (tier.Note{}) && len(set.servers) < previous.servers && now.Sub(previous.seen) < conflictTimeout:
		return previous.reason
	case hadConflict && reason == (tier.Note{}):
		delete(p.conflicts, set.key)
	}
	return reason
}

// join sets the tiers, Services and replicas of a datasource. hot and cold are the tiers at the
// two locations. hot may have several servers.
func (r *Resolver) join(joined *Resolved, hotAt, coldAt location, hot, cold []*catalog.Tier) {
	joined.discovers = r.discovery != nil
	joined.Services = map[tier.Name]*discovery.Service{tier.Hot: hotAt.service, tier.Cold: coldAt.service}
	for _, at := range []location{hotAt, coldAt} {
		if at.service != nil {
			joined.references = append(joined.references, at.reference)
		}
		if pending(at.service) {
			joined.pending = append(joined.pending, at.reference)
		}
	}
	if len(cold) > 0 {
		joined.Cold, joined.Datasource.Cold = cold[0], cold[0]
	}
	if len(hot) == 0 {
		return
	}
	ownURL := r.gatewayLocation(tier.Hot).url
	catalogs := make([]*catalog.Catalog, len(hot))
	for i, server := range hot {
		catalogs[i] = r.pool.catalog(server, joined.Cold, ownURL != "" && server.Endpoint() == ownURL)
	}
	var set *replicaSet
	if hot[0].Replica() != "" {
		set = r.pool.replicaSet(hotAt.destination, hot, joined.Cold, catalogs)
	}
	for i, server := range hot {
		replica := engine.Replica{Hot: server, Catalog: catalogs[i], Ready: true}
		if set != nil {
			replica.Hot, replica.Ready = server.RefusedBy(set.refusals[i]), hotAt.service.Endpoints[i].Ready
			if joined.Cold != nil {
				replica.Catalog = catalogs[i].With(replica.Hot, joined.Cold)
			}
		}
		joined.Datasource.Hot = append(joined.Datasource.Hot, replica)
	}
	joined.Hot, joined.Catalog = joined.Datasource.Hot[0].Hot, joined.Datasource.Hot[0].Catalog
}
