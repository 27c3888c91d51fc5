package resolve

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// tenantHeaders are the headers that select the tenant at a tier. They come from a saved
// datasource, never from a request.
var tenantHeaders = []string{"X-Scope-Orgid", "Thanos-Tenant"}

// buildDefault returns the default datasource: see Default.
func (r *Resolver) buildDefault() (*Resolved, error) {
	resolved := &Resolved{
		Label: "default datasource", Rule: r.rules.defaultRule,
		WantsNamespace: r.config.Hot.Tenancy.Parameter != "" || r.config.Cold.Tenancy.Parameter != "",
	}
	resolved.Datasource = &engine.Datasource{
		Name: resolved.Label, Threshold: time.Duration(r.config.Routing.Threshold), Strategy: tier.Strategy(r.config.Routing.Strategy),
		ReplicasAccepted: r.config.Routing.SplitAcrossReplicas, Cached: r.config.Cache.Enabled, Detailed: resolved.ShowsConfiguration(),
	}
	hotAt, coldAt := r.ownLocation(tier.Hot), r.ownLocation(tier.Cold)
	hot, err := r.tiersAt(hotAt, tierUse{own: true}, resolved)
	if err != nil {
		return nil, err
	}
	cold, err := r.tiersAt(coldAt, tierUse{own: true}, resolved)
	if err != nil {
		return nil, err
	}
	r.join(resolved, hotAt, coldAt, hot, cold)
	resolved.Datasource.Scope = r.scopeOf(resolved.Label, "", hotAt, coldAt)
	return resolved, nil
}

// ownConfigured returns the destination of the gateway's own tier as configured.
func (r *Resolver) ownConfigured(name tier.Name) destination {
	at := destination{name: name, transport: r.transports.own[name]}
	if name == tier.Hot {
		at.url, at.retention, at.tenancy, at.tenant = r.config.Hot.URL, time.Duration(r.config.Hot.Retention), r.config.Hot.Tenancy, r.config.Hot.Tenant
	} else {
		at.url, at.lag, at.tenancy = r.config.Cold.URL, time.Duration(r.config.Cold.Lag), r.config.Cold.Tenancy
	}
	return at
}

// buildSaved returns a saved datasource: see Saved.
func (r *Resolver) buildSaved(saved *perses.Datasource) (*Resolved, error) {
	resolved := &Resolved{Label: saved.Reference.String(), IsSaved: true}
	var err error
	if resolved.Rule, err = r.rules.of(saved.Reference); err != nil {
		return nil, err
	}
	resolved.Datasource = &engine.Datasource{
		Name:             resolved.Label,
		Threshold:        cmp.Or(time.Duration(saved.Spec.Threshold), time.Duration(r.config.Routing.Threshold)),
		Strategy:         cmp.Or(tier.Strategy(saved.Spec.Strategy), tier.Strategy(r.config.Routing.Strategy)),
		ReplicasAccepted: valueOr(saved.Spec.SplitAcrossReplicas, r.config.Routing.SplitAcrossReplicas),
		Cached:           valueOr(saved.Spec.Cache, r.config.Cache.Enabled),
		QueryParams:      saved.Spec.QueryParams,
		ScrapeInterval:   time.Duration(saved.Spec.ScrapeInterval),
		Detailed:         resolved.ShowsConfiguration(),
	}
	tenant := tenantOf(saved)
	hotAt, hot, err := r.tiersOf(saved, tier.Hot, saved.Spec.Hot, tenant, resolved)
	if err != nil {
		return nil, err
	}
	coldAt, cold, err := r.tiersOf(saved, tier.Cold, saved.Spec.Cold, tenant, resolved)
	if err != nil {
		return nil, err
	}
	r.join(resolved, hotAt, coldAt, hot, cold)
	resolved.Datasource.Scope = r.scopeOf(resolved.Label, saved.Generation, hotAt, coldAt)
	return resolved, nil
}

func valueOr(value *bool, otherwise bool) bool {
	if value == nil {
		return otherwise
	}
	return *value
}

// tiersOf returns the location of a tier of a datasource, and the tier or its replicas. It
// sets HotUnused and WantsNamespace of resolved.
func (r *Resolver) tiersOf(saved *perses.Datasource, name tier.Name, named *perses.TierSpec, tenant http.Header, resolved *Resolved) (location, []*catalog.Tier, error) {
	at, own, err := r.destinationOf(saved.Reference, name, named, tenant)
	if err != nil {
		return at, nil, err
	}
	if resolved.HotUnused = hotUnused(at, tenant, resolved.HotUnused); at.name == tier.Hot && resolved.HotUnused != "" {
		return location{destination: destination{name: name}}, nil, nil
	}
	resolved.WantsNamespace = resolved.WantsNamespace || at.tenancy.Parameter != ""
	if !own {
		at.scrapeInterval = time.Duration(saved.Spec.ScrapeInterval)
	}
	tiers, err := r.tiersAt(at, tierUse{header: tenant, own: own && len(tenant) == 0, project: saved.Reference.Project}, resolved)
	return at, tiers, err
}

// destinationOf returns the location of a tier of a datasource, and whether the tier is the
// gateway's own. named is the tier in the datasource's spec, or nil. The location has no URL
// if there is no such tier, or if the tier is missing for a reason. destinationOf returns the
// errors of Saved.
func (r *Resolver) destinationOf(reference perses.Reference, name tier.Name, named *perses.TierSpec, tenant http.Header) (at location, own bool, err error) {
	if named == nil {
		at = r.ownLocation(name)
		if at.url == "" && at.missing == "" {
			return at, true, nil
		}
		at.headers = canonical(tenant)
		return at, true, r.mayUseOwnTiers(reference, name, tenant)
	}
	if named.Service != nil {
		at, err = r.locationOfService(reference, name, named, tenant)
		return at, false, err
	}
	at.destination = destination{name: name, url: named.URL.String(), retention: time.Duration(named.Retention), lag: time.Duration(named.Lag), headers: canonical(tenant)}
	if err := r.permit(reference, &named.URL.URL, &at.destination); err != nil {
		return at, false, &promapi.Error{Status: http.StatusForbidden, Type: promapi.ErrorForbidden, Cause: err, Message: fmt.Sprintf(
			"the %s tier of %s is at %s, which is not an allowed destination: ask the operator to list the host in the gateway's destinations", name, reference, named.URL.Host)}
	}
	return at, false, r.mayChooseTenant(reference, name, tenant, r.isOwnServer(&named.URL.URL) || at.transport.HoldsSecrets())
}

// tenantOf returns the tenant headers of a saved datasource.
func tenantOf(saved *perses.Datasource) http.Header {
	header := make(http.Header)
	for name, value := range saved.Spec.Proxy.Spec.Headers {
		if slices.Contains(tenantHeaders, http.CanonicalHeaderKey(name)) {
			header.Set(name, value)
		}
	}
	return header
}

// canonical returns the headers as sorted lines, so that equal headers give equal strings.
func canonical(header http.Header) string {
	lines := make([]string, 0, len(header))
	for name, values := range header {
		lines = append(lines, name+": "+strings.Join(values, ","))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// scopeOf returns the cache scope of a datasource: everything outside of a request that can
// change cold's answer. This is the operator's configuration, the datasource and its
// generation, the locations of its tiers, and the tenant. These also determine the
// credentials.
func (r *Resolver) scopeOf(label, generation string, locations ...location) string {
	parts := []string{r.fingerprint, label, generation}
	for _, location := range locations {
		at := location.destination
		parts = append(parts, fmt.Sprintf("%q %q %s %s %s %+v %q %q %q %q",
			at.name, at.url, at.retention, at.lag, at.scrapeInterval, at.tenancy, at.headers, at.service, at.address, at.replica))
	}
	return strings.Join(parts, "\n")
}
