package catalog

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// replicaLabels are the usual labels by which replicas differ: those of the
// Prometheus operator and of the documentation of Thanos and Mimir.
var replicaLabels = []string{"prometheus_replica", "replica", "__replica__"}

// Identity is what tells replicas of one Prometheus from Prometheus servers
// that hold different series.
type Identity struct {
	// ExternalLabels are those of the configuration, replica labels included.
	ExternalLabels map[string]string
	// Sharding is which part of the targets is scraped, in the words of the
	// configuration; empty where it is all of them.
	Sharding string

	configured string // the Status.configured it belongs to
}

// Replica returns the name of the server among those behind one service.
func (t *Tier) Replica() string { return t.options.Replica }

// Identity returns the identity of a replica, or nil while it is unknown.
func (t *Tier) Identity() *Identity { return t.identity.Load() }

// identify reads the identity of the tier, unless its process and its configuration are still
// the same. If it fails, the next probe tries again.
func (t *Tier) identify(ctx context.Context, status *Status) {
	known := t.identity.Load()
	if known != nil && status.configured != "" && known.configured == status.configured {
		return
	}
	if config, err := t.api.configuration(ctx); err == nil {
		t.identity.Store(&Identity{ExternalLabels: config.Global.ExternalLabels, Sharding: config.sharding(), configured: status.configured})
	}
}

// ordinal is the end of the name of a StatefulSet's pod.
var ordinal = regexp.MustCompile(`-[0-9]+$`)

// NoReplicas returns why the servers behind one service must not be asked as one
// Prometheus: they are not replicas of each other, or one of them is a shard. It
// returns the zero Note if they are replicas. certain is false if a server has not
// told its configuration. removed are the labels that cold removes by deduplication.
//
// A server without a known identity counts as a replica if its pod belongs to the
// StatefulSet of a known one: it is down, or has just started. It must not be asked
// before its identity is known.
func NoReplicas(servers []*Tier, removed []string) (reason tier.Note, certain bool) {
	aside := append(slices.Clone(replicaLabels), removed...)
	var known *Tier
	sets := map[string]bool{}
	for _, server := range servers {
		identity := server.Identity()
		if identity == nil {
			continue
		}
		if identity.Sharding != "" {
			text := server.Replica() + " behind the service is a shard: it scrapes a part of the targets only"
			return tier.Note{Detail: fmt.Sprintf("%s (%s)", text, identity.Sharding), Public: text}, true
		}
		sets[ordinal.ReplaceAllString(server.Replica(), "")] = true
		if known == nil {
			known = server
			continue
		}
		first, other := without(known.Identity().ExternalLabels, aside), without(identity.ExternalLabels, aside)
		if !maps.Equal(first, other) {
			text := fmt.Sprintf("%s and %s behind the service are no replicas of one Prometheus: their external labels", known.Replica(), server.Replica())
			return tier.Note{
				Detail: fmt.Sprintf("%s are %s and %s", text, promql.FormatLabels(first), promql.FormatLabels(other)), Public: text + " differ",
			}, true
		}
	}
	for _, server := range servers {
		if len(servers) > 1 && server.Identity() == nil && !sets[ordinal.ReplaceAllString(server.Replica(), "")] {
			return tier.PublicNote(fmt.Sprintf("whether %s is a replica is not known: it has not told its configuration; let it answer /api/v1/status/config, or switch the addressing of replicas off", server.Replica())), false
		}
	}
	return tier.Note{}, false
}
