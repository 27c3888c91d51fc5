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

// report is the result of checking a spec.
type report struct {
	// OK is set if the spec is valid, and every tier can be used and would get queries.
	OK bool `json:"ok"`
	// Mistakes are the mistakes in the spec.
	Mistakes perses.SpecErrors `json:"mistakes"`
	// Tiers holds the report on each tier by its name.
	Tiers map[tier.Name]resolve.TierReport `json:"tiers"`
	// HotTiers are the reports on several hot tiers, in the order of the spec. The report on hot
	// in Tiers then summarizes them. It is absent for one hot tier.
	HotTiers []resolve.HotTierReport `json:"hot_tiers,omitempty"`
}

// serveCheck responds with a report on the spec in the body, as if it were the spec of the
// datasource in the path. That datasource need not exist, but Perses has to allow the caller
// to read datasources of its project. reference is nil for the default datasource, whose
// callers serveDefault has checked.
func (g *Gateway) serveCheck(w http.ResponseWriter, incoming *http.Request, reference *perses.Reference) {
	checked, rule := perses.Reference{Name: resolve.DefaultName}, g.core.Resolver.DefaultRule()
	var err error
	if reference != nil {
		checked = *reference
		if err = g.core.Perses.CheckMayList(incoming.Context(), checked, perses.CallerOf(incoming)); err == nil {
			err = checkMethod(incoming, route{path: checkPath})
		}
		if err == nil {
			rule, err = g.core.Resolver.RuleOf(checked)
		}
	}
	var body []byte
	if err == nil {
		body, err = readBody(incoming, "spec")
	}
	if err != nil {
		g.fail(w, incoming, err)
		return
	}
	result := g.check(incoming.Context(), checked, body)
	if rule != nil {
		result.hideConfiguration()
	}
	promapi.WriteData(w, result)
}

// hideConfiguration removes the details that callers confined to namespaces may not see.
func (r *report) hideConfiguration() {
	hide := func(seen *resolve.TierReport) {
		seen.ExternalLabels = nil
		if seen.Source != resolve.SourceDatasource {
			seen.Address = seen.Server
		}
	}
	for name, seen := range r.Tiers {
		hide(&seen)
		r.Tiers[name] = seen
	}
	for i := range r.HotTiers {
		hide(&r.HotTiers[i].TierReport)
	}
}

// check validates a spec and inspects its tiers.
func (g *Gateway) check(ctx context.Context, reference perses.Reference, raw []byte) report {
	result := report{OK: true, Mistakes: perses.SpecErrors{}, Tiers: map[tier.Name]resolve.TierReport{}}
	spec, err := perses.ParseSpec(raw, g.core.Config.TenantHeaders)
	if err != nil {
		result.OK = false
		result.Mistakes, _ = errors.AsType[perses.SpecErrors](err) // ParseSpec returns no other.
		return result
	}
	seen := g.core.Resolver.Inspect(ctx, &perses.Datasource{Reference: reference, Spec: *spec})
	result.Tiers, result.HotTiers = map[tier.Name]resolve.TierReport{tier.Hot: seen.Hot, tier.Cold: seen.Cold}, seen.HotTiers
	seen.Each(func(each *resolve.TierReport) {
		// That the gateway's own hot tier holds another tenant than that of the datasource is no mistake.
		isOfOthers := each.State == resolve.StateNone && each.Source != resolve.SourceDatasource
		result.OK = result.OK && (each.State == resolve.StateOK || each.State == resolve.StateNone) && (each.Unused == "" || isOfOthers)
	})
	if result.Tiers[tier.Hot].State == resolve.StateNone && result.Tiers[tier.Cold].State == resolve.StateNone {
		result.OK = false
		result.Mistakes = append(result.Mistakes, perses.SpecError{Field: "spec", Message: tier.ErrNoTier.Error()})
	}
	return result
}
