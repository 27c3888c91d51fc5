package gateway

import (
	"context"
	"errors"
	"net/http"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

const checkPath = "/api/v1/datasources/check"

// report is what a check of a spec found.
type report struct {
	// OK is set when the spec is valid and every tier can be used.
	OK bool `json:"ok"`
	// Mistakes are those of the spec, each with its field.
	Mistakes []mistakeView `json:"mistakes"`
	// Tiers holds what was found at each tier by its name.
	Tiers map[tier.Name]resolve.TierReport `json:"tiers"`
}

type mistakeView struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// serveCheck answers with a report on the spec in the body, as the datasource
// that the path names would have it. That datasource need not exist yet, but
// the caller has to be one who may read its like. A nil reference is the default
// datasource, whose callers were checked before: what they show is not for
// Perses.
func (g *Gateway) serveCheck(w http.ResponseWriter, incoming *http.Request, reference *perses.Reference) {
	if reference != nil {
		if err := g.core.Perses.CheckMayList(incoming.Context(), *reference, perses.CallerOf(incoming)); err != nil {
			g.fail(w, incoming, err)
			return
		}
		if err := checkMethod(incoming, route{path: checkPath}); err != nil {
			g.fail(w, incoming, err)
			return
		}
	}
	body, err := readBody(incoming, "spec")
	if err != nil {
		g.fail(w, incoming, err)
		return
	}
	checked, rule := perses.Reference{Name: resolve.DefaultName}, g.core.Resolver.OwnRule()
	if reference != nil {
		checked = *reference
		if rule, err = g.core.Resolver.RuleOf(checked); err != nil {
			g.fail(w, incoming, err)
			return
		}
	}
	found := g.check(incoming.Context(), checked, body)
	if rule != nil {
		found.hideConfiguration()
	}
	promapi.WriteData(w, found)
}

// hideConfiguration takes out what callers who are confined to namespaces may
// not see of the tiers.
func (r *report) hideConfiguration() {
	for name, seen := range r.Tiers {
		seen.ExternalLabels = nil
		if seen.Source != resolve.SourceDatasource {
			seen.Address = seen.Server
		}
		r.Tiers[name] = seen
	}
}

// check reads a spec and looks at its tiers.
func (g *Gateway) check(ctx context.Context, reference perses.Reference, raw []byte) report {
	found := report{OK: true, Mistakes: []mistakeView{}, Tiers: map[tier.Name]resolve.TierReport{}}
	spec, err := perses.ParseSpec(raw)
	if err != nil {
		found.OK = false
		mistakes, _ := errors.AsType[perses.SpecErrors](err) // ParseSpec returns no other.
		for _, mistake := range mistakes {
			found.Mistakes = append(found.Mistakes, mistakeView(mistake))
		}
		return found
	}
	found.Tiers = g.core.Resolver.Inspect(ctx, &perses.Datasource{Reference: reference, Spec: *spec})
	for _, seen := range found.Tiers {
		found.OK = found.OK && (seen.State == resolve.StateOK || seen.State == resolve.StateNone)
	}
	if found.Tiers[tier.Hot].State == resolve.StateNone && found.Tiers[tier.Cold].State == resolve.StateNone {
		found.OK = false
		found.Mistakes = append(found.Mistakes, mistakeView{Field: "spec", Message: tier.ErrNoTier.Error()})
	}
	return found
}
