package catalog

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// ReplicaLabels returns the usual labels by which replicas differ.
func ReplicaLabels() []string { return replicaLabels }

// replicaLabels are the usual labels by which replicas differ, according to the Prometheus
// Operator and the documentation of Thanos and Mimir.
var replicaLabels = []string{"prometheus_replica", "replica", "__replica__"}

// Identity distinguishes replicas of one Prometheus from servers with different series.
type Identity struct {
	externalLabels map[string]string // including replica labels
	sharding       string            // describes which part of the targets it scrapes; empty for all
	jobs           map[string]string // identifies what each job scrapes
	configured     string            // Status.configured at that time
}

// Replica returns the name of one of several servers of hot, or an empty string.
func (t *Tier) Replica() string { return cmp.Or(t.settings.Title, t.options.Replica) }

// ServerName returns the name of one server behind a Service, or an empty string.
func (t *Tier) ServerName() string { return t.options.Replica }

// Identity returns the identity of a replica, or nil while it is unknown.
func (t *Tier) Identity() *Identity { return t.identity.Load() }

// ExternalLabels returns the external labels, including replica labels.
func (i *Identity) ExternalLabels() map[string]string {
	if i.externalLabels == nil {
		return map[string]string{} // It has none.
	}
	return i.externalLabels
}

// Sharding describes which part of the targets a shard scrapes. It is empty for all targets.
func (i *Identity) Sharding() string { return i.sharding }

// identify reads the identity of the tier, unless its process and its configuration are still
// the same. If it fails, the next probe tries again.
func (t *Tier) identify(ctx context.Context, status *Status) {
	known := t.identity.Load()
	if known != nil && status.configured != "" && known.configured == status.configured {
		return
	}
	if config, err := configuration(ctx, t.api); err == nil {
		t.identity.Store(&Identity{externalLabels: config.Global.ExternalLabels, sharding: config.sharding(), jobs: config.jobs, configured: status.configured})
	}
}

// ordinal is the end of the name of a StatefulSet's pod.
var ordinal = regexp.MustCompile(`-[0-9]+$`)

// NoReplicas returns why the servers behind one Service must not get queries as one Prometheus:
// they are not replicas of each other, or one of them is a shard. It returns the zero Note for
// replicas. certain is false if the configuration of a server is unknown. removed are the labels
// that cold removes by deduplication.
//
// A server without a known identity, for example one that is down, counts as a replica if its
// pod belongs to the StatefulSet of a known one. It gets no queries before its identity is known.
func NoReplicas(servers []*Tier, removed []string) (reason tier.Note, certain bool) {
	aside := append(slices.Clone(replicaLabels), removed...)
	var known *Tier
	sets := map[string]bool{}
	for _, server := range servers {
		identity := server.Identity()
		if identity == nil {
			continue
		}
		if identity.sharding != "" {
			text := server.Replica() + " behind the service is a shard: it scrapes a part of the targets only"
			return tier.Note{Detail: fmt.Sprintf("%s (%s)", text, identity.sharding), Public: text}, true
		}
		sets[ordinal.ReplaceAllString(server.Replica(), "")] = true
		if known == nil {
			known = server
			continue
		}
		first, other := promql.WithoutLabels(known.Identity().externalLabels, aside), promql.WithoutLabels(identity.externalLabels, aside)
		if !maps.Equal(first, other) {
			text := fmt.Sprintf("%s and %s behind the service are not replicas of one Prometheus: their external labels", known.Replica(), server.Replica())
			return tier.Note{
				Detail: fmt.Sprintf("%s are %s and %s", text, promql.FormatLabels(first), promql.FormatLabels(other)), Public: text + " differ",
			}, true
		}
	}
	for _, server := range servers {
		if len(servers) > 1 && server.Identity() == nil && !sets[ordinal.ReplaceAllString(server.Replica(), "")] {
			return tier.PublicNote(fmt.Sprintf("tierproxy does not know whether %s is a replica, because it cannot read its configuration: allow /api/v1/status/config, or set discovery.replicas to false", server.Replica())), false
		}
	}
	return tier.Note{}, false
}

// NotReplicas returns why two servers whose external labels agree apart from replica labels must not
// get queries as one Prometheus, or the zero Note for replicas. labels are their external labels, and
// names what people know them by.
func NotReplicas(a, b *Tier, nameA, nameB string, labelsA, labelsB map[string]string) tier.Note {
	note := func(text, detail string) tier.Note {
		text = fmt.Sprintf("%s and %s %s", nameA, nameB, text)
		return tier.Note{Detail: text + detail, Public: text}
	}
	if maps.Equal(labelsA, labelsB) {
		return note("cannot be told apart, because they have the same external labels: replicas need a replica label, and others a label of their own",
			fmt.Sprintf(" (both have %s)", promql.FormatLabels(labelsA)))
	}
	first, second := a.Identity(), b.Identity()
	if first == nil || second == nil {
		return tier.Note{}
	}
	const advice = ": if they are shards, name a Thanos Query over them as the hot tier"
	for _, name := range slices.Sorted(maps.Keys(first.jobs)) {
		if first.jobs[name] != second.jobs[name] {
			return note("have the same external labels apart from replica labels, but do not scrape the same", fmt.Sprintf(" in the job %s%s", name, advice))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(second.jobs)) {
		if _, has := first.jobs[name]; !has {
			return note("have the same external labels apart from replica labels, but do not scrape the same", fmt.Sprintf(" in the job %s%s", name, advice))
		}
	}
	return tier.Note{}
}
