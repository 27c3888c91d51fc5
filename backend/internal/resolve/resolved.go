package resolve

import (
	"slices"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/enforcement"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
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
	// Catalog is the catalog of Hot and Cold, or nil without both.
	Catalog *catalog.Catalog
	// Services are the Services of the tiers, by cold, hot or, if hot has several tiers, hot and the
	// title of the tier. A tier with a URL has none.
	Services map[string]*discovery.Service
	// Datasource is the datasource as the engine sees it.
	Datasource *engine.Datasource

	// references are the names of the Services.
	references []discovery.Reference
	// pending are the locations whose Services are being looked up for the first time.
	pending []location
	// discovers is set if discovery is on.
	discovers bool

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

// SpeaksMetricsQL reports whether a tier is known to evaluate MetricsQL instead of PromQL.
func (r *Resolved) SpeaksMetricsQL() bool {
	if r.Cold != nil && r.Cold.SpeaksMetricsQL() {
		return true
	}
	return r.Datasource != nil && slices.ContainsFunc(r.Datasource.Hot, func(replica engine.Replica) bool { return replica.Hot.SpeaksMetricsQL() })
}
