package resolve

import (
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// conflictTimeout is how long a conflict between servers lasts after one of them has
// disappeared: the server may only be restarting.
const conflictTimeout = 15 * time.Minute

// conflictKey is a location of a source set.
type conflictKey struct {
	sourceSetKey

	at int
}

// replicaConflict records that the servers behind a Service are not replicas of each other.
type replicaConflict struct {
	reason  tier.Note
	servers int
	seen    time.Time
}

// notIdentified is why a new replica gets no queries before its first probe.
var notIdentified = tier.PublicNote("its external labels are not known yet")

// decideReplicas refuses the servers at one location of a source set if they are not replicas of
// each other. The mutex is held.
func (p *tierPool) decideReplicas(set *sourceSet, at int, aside []string, refused []tier.Note) {
	var servers []*catalog.Tier
	for _, of := range set.members {
		if of.at == at && of.isReplica {
			servers = append(servers, of.Tier)
		}
	}
	if len(servers) == 0 {
		return
	}
	reason := p.refusal(conflictKey{set.key, at}, servers, aside)
	for i, of := range set.members {
		if of.at != at {
			continue
		}
		if refused[i] = reason; reason == (tier.Note{}) && len(servers) > 1 && of.Identity() == nil {
			refused[i] = notIdentified
		}
	}
}

// refusal returns why none of the servers of a Service gets queries, or the zero Note. aside are
// the labels by which replicas differ. The mutex is held.
func (p *tierPool) refusal(key conflictKey, servers []*catalog.Tier, aside []string) tier.Note {
	now := p.now()
	reason, certain := catalog.NoReplicas(servers, aside)
	previous, hadConflict := p.conflicts[key]
	switch {
	case certain:
		for of, conflict := range p.conflicts {
			if now.Sub(conflict.seen) >= conflictTimeout {
				delete(p.conflicts, of)
			}
		}
		p.conflicts[key] = replicaConflict{reason: reason, servers: len(servers), seen: now}
	case hadConflict && reason == (tier.Note{}) && len(servers) < previous.servers && now.Sub(previous.seen) < conflictTimeout:
		return previous.reason
	case hadConflict && reason == (tier.Note{}):
		delete(p.conflicts, key)
	}
	return reason
}

// join sets the tiers, Services and replicas of a datasource. tiers are those at each of the
// locations; the last one is that of cold.
func (r *Resolver) join(joined *Resolved, locations []location, tiers [][]*catalog.Tier) {
	joined.discovers, joined.Services = r.discovery != nil, map[string]*discovery.Service{}
	hotAt, cold := locations[:len(locations)-1], tiers[len(tiers)-1]
	for i, at := range locations {
		if at.service == nil {
			continue
		}
		name := string(at.name)
		if i < len(hotAt) && len(hotAt) > 1 {
			name += " " + at.title
		}
		joined.Services[name] = at.service
		joined.references = append(joined.references, at.reference)
		if pending(at.service) {
			joined.pending = append(joined.pending, at)
		}
	}
	if len(cold) > 0 {
		joined.Cold, joined.Datasource.Cold = cold[0], cold[0]
	}
	var members []member
	declarations := r.declarations()
	for at, servers := range tiers[:len(hotAt)] {
		for i, server := range servers {
			declared := declarations[server.Endpoint()]
			replica := engine.Replica{Hot: server, Catalog: r.pool.catalog(server, joined.Cold, declared, len(hotAt) > 1), Ready: true}
			isReplica := server.ServerName() != ""
			if isReplica {
				replica.Ready = hotAt[at].service.Endpoints[i].Ready
			}
			joined.Datasource.Hot = append(joined.Datasource.Hot, replica)
			members = append(members, member{server.Base(), replica.Catalog, at, isReplica, hotAt[at].title, declared.externalLabels})
		}
	}
	if len(members) == 0 {
		if joined.Cold != nil {
			joined.Datasource.ColdOnly = r.pool.coldOnlyOf(joined.Cold)
		}
		return
	}
	if len(hotAt) > 1 || members[0].isReplica {
		set := r.pool.sourceSet(hotAt, members, joined.Cold)
		if len(hotAt) > 1 {
			joined.Datasource.Sources = set.sources
		}
		for i := range joined.Datasource.Hot {
			replica := &joined.Datasource.Hot[i]
			if replica.Hot = replica.Hot.RefusedBy(set.refusals[i]); replica.Catalog != nil {
				replica.Catalog = replica.Catalog.With(replica.Hot, joined.Cold)
			}
		}
	}
	joined.Hot, joined.Catalog = joined.Datasource.Hot[0].Hot, joined.Datasource.Hot[0].Catalog
}

// declarations returns what the operator declares about the hot tiers, by their addresses.
func (r *Resolver) declarations() map[string]declaration {
	byAddress := map[string]declaration{}
	for _, at := range r.ownLocations(tier.Hot) {
		if _, isTwice := byAddress[at.url]; at.url != "" && !isTwice {
			byAddress[at.url] = at.declared
		}
	}
	return byAddress
}
