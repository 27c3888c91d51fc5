package resolve

import (
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/enforcement"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// Resolved is a datasource with its tiers and its policy. Tiers that the datasource does not
// name are the gateway's own. A Resolved is immutable, but its tiers have a changing state.
type Resolved struct {
	// Label names the datasource in logs, errors and metrics.
	Label string
	// IsSaved is set for a datasource of Perses.
	IsSaved bool
	// Rule confines requests to namespaces, or is nil.
	Rule *enforcement.Rule
	// WantsNamespace is set if a tier answers only requests that are confined to namespaces.
	WantsNamespace bool
	// HotUnused says why the datasource does not use an existing hot tier, or is empty.
	HotUnused string

	// Hot and Cold are the tiers, or nil. If hot has several replicas, Hot is one of them.
	Hot, Cold *catalog.Tier
	// Pair is the catalog of both tiers, or nil without two tiers.
	Pair *catalog.Pair
	// Services are the Services of the tiers. A tier with a URL has none.
	Services map[tier.Name]*discovery.Service
	// Threshold is the span from which cold is preferred.
	Threshold time.Duration
	// Strategy says whether tierproxy may split a query.
	Strategy tier.Strategy

	// replicas are the replicas of hot, including Hot. They are empty if queries go to a URL
	// or to the Service itself.
	replicas []replica
	// references are the names of the Services.
	references []discovery.Reference
	// pending are the Services whose first lookup is in progress.
	pending []discovery.Reference
	// discovers is set if discovery is on.
	discovers bool

	// splitAcrossReplicas splits queries even if hot has several replicas.
	splitAcrossReplicas bool
	// cache enables the cache, and scope separates its entries from other datasources.
	cache       bool
	scope       string
	queryParams map[string]string
	// scrapeInterval is zero if the datasource sets none.
	scrapeInterval time.Duration

	// generation is the Resolver's generation, and specGeneration the spec's.
	generation     uint64
	specGeneration string
	usages         []*usage // of its tiers
}

// ShowsConfiguration reports whether callers of the datasource may see the configuration of
// its tiers. Callers that are confined to namespaces may not.
func (r *Resolved) ShowsConfiguration() bool { return r.Rule == nil }

// touch marks the tiers as used.
func (r *Resolved) touch(now time.Time) {
	for _, usage := range r.usages {
		usage.touch(now)
	}
}

func (r *Resolved) usedSince(since time.Time) bool {
	return len(r.usages) > 0 && r.usages[0].last().After(since)
}

// UsesCache reports whether the cache is on for the datasource.
func (r *Resolved) UsesCache() bool { return r.cache }

// CacheScope returns the key that separates its cached answers from those of other
// datasources: see scopeOf.
func (r *Resolved) CacheScope() string { return r.scope }

// Query returns the engine's query for a request, with the settings of the datasource. The
// caller adds the settings that all datasources share.
func (r *Resolved) Query(request *promapi.Request) engine.Query {
	query := engine.Query{
		Request: request, Hot: r.Hot, Cold: r.Cold, Pair: r.Pair,
		Threshold: r.Threshold, ScrapeInterval: r.scrapeInterval, Strategy: r.Strategy,
		QueryParams: r.queryParams, Datasource: r.Label, Detailed: r.ShowsConfiguration(), ReplicasAccepted: r.splitAcrossReplicas,
	}
	if replicas := r.replicasFor(request); len(replicas) > 0 {
		query.Hot, query.Pair, query.Others = replicas[0].Hot, replicas[0].Pair, replicas[1:]
		query.Replicated = len(replicas) > 1
	}
	return query
}
