package resolve

import (
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/enforcement"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// Resolved is a datasource that can be queried: its tiers and its policy, with
// the gateway's own where the datasource names none. It is immutable; what the
// probes find is read through its tiers.
type Resolved struct {
	// Label names the datasource in logs, errors and metrics.
	Label string
	// IsSaved is set for a datasource of Perses.
	IsSaved bool
	// Rule confines the requests to namespaces; nil where they are not confined.
	Rule *enforcement.Rule
	// WantsNamespace is set when a tier answers confined requests only.
	WantsNamespace bool
	// HotUnused says why the datasource is queried without a hot tier although
	// there is one; empty where it is not.
	HotUnused string

	// Hot and Cold are the tiers; nil where there is none. Where hot is several
	// servers, Hot is one of them.
	Hot, Cold *catalog.Tier
	// Pair is what is known of both together; nil unless there are both.
	Pair *catalog.Catalog
	// Services are those that the tiers were found by, or should have been; nil
	// for the others.
	Services map[tier.Name]*discovery.Service
	// Datasource is the same to the engine.
	Datasource *engine.Datasource

	// replicas are the servers that hold hot, hot itself among them; empty where
	// it is asked as a whole.
	replicas []engine.Replica
	// references are what the Services are looked up by.
	references []discovery.Reference
	// pending are the Services that are still looked up.
	pending []discovery.Reference
	// discovers is set where the gateway looks up Services.
	discovers bool

	// generation is that of the Resolver, and specGeneration that of the spec.
	generation     uint64
	specGeneration string
	usages         []*usage // of its tiers
}

// ShowsConfiguration reports whether callers of the datasource may see how the
// tiers are configured. Those who are confined to namespaces may not.
func (r *Resolved) ShowsConfiguration() bool { return r.Rule == nil }

// touch notes that the tiers are in use.
func (r *Resolved) touch(now time.Time) {
	for _, each := range r.usages {
		each.touch(now)
	}
}

func (r *Resolved) usedSince(since time.Time) bool {
	return len(r.usages) > 0 && r.usages[0].last().After(since)
}
