package resolve

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// decideAgain is how often a source set is decided without a change of what is known.
const decideAgain = time.Minute

// sourceSetKey is the hot tiers and the cold tier, or nil. The labels that cold removes determine
// which servers are replicas. Therefore servers can be replicas for one datasource and not for
// another.
type sourceSetKey struct {
	hot  promql.Key // of the locations, without the servers behind their Services
	cold *catalog.Tier
}

// sourceSet says which servers of hot are replicas of each other, and which form sources of their
// own, for a cold tier. The pool updates it after each probe of a server and each refresh of a
// catalog. Queries only read it.
type sourceSet struct {
	key       sourceSetKey
	members   []member
	locations int
	// refusals say why a server gets no queries. The Note is zero for a server that gets
	// queries.
	refusals []*atomic.Pointer[tier.Note]
	groups   atomic.Pointer[[]engine.Source]

	// decided is when the set was decided, from these identities and snapshots.
	decided time.Time
	from    []any
}

// member is a server of hot.
type member struct {
	*catalog.Tier                  // its base view
	catalog       *catalog.Catalog // with cold; nil without cold
	at            int              // the number of its location
	isReplica     bool             // one of those behind a Service
	title         string           // of its location
	declared      map[string]string
}

// sourceSet returns the source set of the servers, and creates a new one.
func (p *tierPool) sourceSet(locations []location, members []member, cold *catalog.Tier) *sourceSet {
	var keys []string
	for _, at := range locations {
		shared, _ := at.shared()
		shared.address, shared.replica = "", ""
		key := shared.evidenceKey()
		keys = append(keys, string(key[:]))
	}
	key := sourceSetKey{hot: promql.KeyOf(keys...)}
	if cold != nil {
		key.cold = cold.Base()
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if existing, ok := p.sets[key]; ok && slices.EqualFunc(existing.members, members, func(a, b member) bool { return a.Tier == b.Tier && a.title == b.title }) {
		return existing
	}
	set := &sourceSet{key: key, members: members, locations: len(locations)}
	for range members {
		refusal := &atomic.Pointer[tier.Note]{}
		refusal.Store(&notIdentified)
		set.refusals = append(set.refusals, refusal)
	}
	p.sets[key] = set
	p.decide(set)
	return set
}

// decideSources updates the source sets of a server.
func (p *tierPool) decideSources(server *catalog.Tier) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, set := range p.sets {
		if slices.ContainsFunc(set.members, func(of member) bool { return of.Tier == server }) && p.isDue(set) {
			p.decide(set)
		}
	}
}

// isDue reports whether anything is known that may change the set. The mutex is held.
func (p *tierPool) isDue(set *sourceSet) bool {
	from := make([]any, 0, 2*len(set.members))
	for _, of := range set.members {
		from = append(from, of.Identity())
		if of.catalog != nil {
			from = append(from, of.catalog.Snapshot().Evidence)
		}
	}
	isSame := slices.Equal(from, set.from)
	set.from = from
	return !isSame || p.now().Sub(set.decided) >= decideAgain
}

// decide updates the refusals and the groups of a source set. The mutex is held.
func (p *tierPool) decide(set *sourceSet) {
	set.decided = p.now()
	aside := slices.Concat(catalog.ReplicaLabels(), p.config.Cold.ReplicaLabels)
	for _, of := range set.members {
		if of.catalog != nil {
			aside = append(aside, of.catalog.Snapshot().Cold.ReplicaLabels...)
		}
	}
	slices.Sort(aside)
	aside = slices.Compact(aside)
	refused := make([]tier.Note, len(set.members))
	for at := range set.locations {
		p.decideReplicas(set, at, aside, refused)
	}
	groups := []engine.Source(nil)
	if set.locations > 1 {
		groups = set.group(aside, refused)
	}
	for i := range set.members {
		set.refusals[i].Store(&refused[i])
	}
	set.groups.Store(&groups)
}

// group groups the servers of several locations into sources, in the order of the first server of
// each, and adds why servers are refused. aside are the labels by which replicas differ.
func (s *sourceSet) group(aside []string, refused []tier.Note) (groups []engine.Source) {
	known := map[string]int{} // groups by their labels, or by their locations
	for i, of := range s.members {
		labels, why := of.sources(aside)
		if why != (tier.Note{}) && refused[i] == (tier.Note{}) {
			refused[i] = why
		}
		key := fmt.Sprint(of.at)
		if labels != nil {
			key = textOf(labels)
		}
		at, isKnown := known[key]
		if !isKnown {
			at = len(groups)
			known[key], groups = at, append(groups, engine.Source{Labels: labels})
		}
		groups[at].Servers = append(groups[at].Servers, i)
	}
	for i := range groups {
		s.compare(groups[i].Servers, refused)
		s.refuseOverlap(groups, i, refused)
	}
	return groups
}

// refuseOverlap refuses the servers of a group if one of its sources belongs to a group before it: to a
// fan-out server, or of one.
func (s *sourceSet) refuseOverlap(groups []engine.Source, i int, refused []tier.Note) {
	for _, earlier := range groups[:i] {
		for _, labels := range groups[i].Labels {
			if !promql.ContainsLabels(earlier.Labels, labels) {
				continue
			}
			text := "it has series that " + s.members[earlier.Servers[0]].title + " has too"
			for _, server := range groups[i].Servers {
				refused[server] = tier.Note{Detail: text + ", those with " + promql.FormatLabels(labels), Public: text}
			}
			groups[i].Labels = nil
			return
		}
	}
}

// textOf returns label sets as a text.
func textOf(sets []map[string]string) string {
	var texts []string
	for _, set := range sets {
		texts = append(texts, promql.FormatLabels(set))
	}
	return strings.Join(texts, ", ")
}

// compare refuses those servers of one source that are not replicas of each other.
func (s *sourceSet) compare(servers []int, refused []tier.Note) {
	for n, i := range servers {
		for _, j := range servers[n+1:] {
			a, b := s.members[i], s.members[j]
			if a.at == b.at {
				continue // See decideReplicas.
			}
			if why := catalog.NotReplicas(a.Tier, b.Tier, a.title, b.title, a.labels(), b.labels()); why != (tier.Note{}) {
				refused[i], refused[j] = why, why
			}
		}
	}
}

// labels returns the external labels of the server, including replica labels; nil if they are not
// known.
func (m member) labels() map[string]string {
	switch identity := m.Identity(); {
	case m.declared != nil:
		return m.declared
	case identity != nil:
		return identity.ExternalLabels()
	}
	return nil
}

// sources returns the external labels of the sources that the server has, without those of aside,
// and why it gets no queries beside other servers. It returns nil if the labels are not known, or if
// there are none.
func (m member) sources(aside []string) (labels []map[string]string, why tier.Note) {
	var evidence *tier.SeriesEvidence
	if m.catalog != nil {
		evidence = m.catalog.Snapshot().Evidence
	}
	if evidence != nil && evidence.HotSources != nil {
		return evidence.HotSources, tier.Note{} // A fan-out server.
	}
	if m.declared == nil && m.Status().Stores != nil {
		return nil, tier.Note{} // The same, of which no more is known yet. Its queries go to cold.
	}
	external := m.labels()
	switch {
	case external == nil && !m.Status().Available:
		return nil, tier.Note{} // It gets no queries anyway.
	case external == nil:
		return nil, tier.PublicNote("its external labels are not known: allow /api/v1/status/config, or set external_labels of this tier")
	}
	if identity := m.Identity(); identity != nil && identity.Sharding() != "" {
		text := "it is a shard, which scrapes a part of the targets only: name a Thanos Query over all shards as the hot tier"
		return nil, tier.Note{Detail: fmt.Sprintf("%s (%s)", text, identity.Sharding()), Public: text}
	}
	source := promql.WithoutLabels(external, aside)
	if len(source) == 0 {
		return nil, tier.PublicNote("it has no external labels, so its series cannot be told from those of the other hot tiers: set external_labels in its configuration")
	}
	labels = []map[string]string{source}
	if evidence != nil && !evidence.Declared && (evidence.Unidentified || len(evidence.InjectedLabels) == 0) {
		text := "cold has no series with its external labels"
		return labels, tier.Note{Detail: text + " " + promql.FormatLabels(source), Public: text}
	}
	return labels, tier.Note{}
}

// sources returns the sources of the servers for the engine.
func (s *sourceSet) sources() []engine.Source { return *s.groups.Load() }
