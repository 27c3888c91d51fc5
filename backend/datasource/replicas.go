package datasource

import (
	"slices"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// join makes a source of its tiers.
func (m *Manager) join(joined *source, hotPlace, coldPlace place, hot, cold []*upstream.Tier) {
	joined.discovers = m.discovery != nil
	for _, each := range []place{hotPlace, coldPlace} {
		if pending(each.service) {
			joined.pending = append(joined.pending, each.reference)
		}
	}
	joined.services = map[tier.Name]*discovery.Service{tier.Hot: hotPlace.service, tier.Cold: coldPlace.service}
	if len(cold) > 0 {
		joined.cold = cold[0]
	}
	if len(hot) == 0 {
		return
	}
	joined.hot, joined.pair = hot[0], m.pool.pair(hot[0], joined.cold)
	if joined.hot.Replica() == "" {
		return
	}
	removed := slices.Clone(m.config.Cold.ReplicaLabels)
	for i, each := range hot {
		one := engine.Replica{Hot: each, Pair: m.pool.pair(each, joined.cold), Ready: hotPlace.service.Endpoints[i].Ready}
		if one.Pair != nil {
			removed = append(removed, one.Pair.Learned().Cold.ReplicaLabels...)
		}
		joined.replicas = append(joined.replicas, one)
	}
	refused := m.refusal(hotPlace.destination.service, hot, removed, time.Now())
	for _, each := range hot {
		reason := refused
		if reason == (tier.Note{}) && len(hot) > 1 && each.Probed() && each.Identity() == nil {
			reason = tier.PublicNote("it has not told yet who it is")
		}
		each.Refuse(reason)
	}
}

// disagreement is that servers behind a Service are no replicas of each other.
type disagreement struct {
	reason  tier.Note
	servers int
	seen    time.Time
}

// disagreementKept is how long servers that were no replicas of each other are
// remembered after one of them has gone: it may only be restarted.
const disagreementKept = 15 * time.Minute

// refusal says why the servers behind a Service are not asked, or nothing.
func (m *Manager) refusal(service string, servers []*upstream.Tier, removed []string, now time.Time) tier.Note {
	reason, certain := upstream.NoReplicas(servers, removed)
	m.disagreementsMutex.Lock()
	defer m.disagreementsMutex.Unlock()
	known, found := m.disagreements[service]
	switch {
	case certain:
		m.disagreements[service] = disagreement{reason: reason, servers: len(servers), seen: now}
	case found && reason == (tier.Note{}) && len(servers) < known.servers && now.Sub(known.seen) < disagreementKept:
		return known.reason
	case found && reason == (tier.Note{}):
		delete(m.disagreements, service)
	}
	return reason
}

// forEngine returns what the datasource is to the engine. Nothing of it changes any
// more.
func (s *source) forEngine() *engine.Datasource {
	made := &engine.Datasource{
		Name: s.label, Hot: s.replicas, Cold: s.cold, Threshold: s.threshold, Strategy: s.strategy, ReplicasAccepted: s.splitAcrossReplicas,
		ScrapeInterval: s.scrapeInterval, QueryParams: s.queryParams, Cached: s.cache, Scope: s.scope, Detailed: s.showsConfiguration(),
	}
	if len(made.Hot) == 0 && s.hot != nil {
		made.Hot = []engine.Replica{{Hot: s.hot, Pair: s.pair}}
	}
	return made
}
