package resolve

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// tenantHeaders are the headers that select the tenant at a tier. They come from a saved
// datasource, never from a request.
var tenantHeaders = []string{"X-Scope-Orgid", "Thanos-Tenant"}

// buildDefault returns the default datasource: see Default.
func (r *Resolver) buildDefault() (*Resolved, error) {
	resolved := &Resolved{Label: "default datasource", Rule: r.defaultRule}
	resolved.Datasource = &engine.Datasource{
		Name: resolved.Label, Threshold: time.Duration(r.config.Routing.Threshold), Strategy: tier.Strategy(r.config.Routing.Strategy),
		ReplicasAccepted: r.config.Routing.SplitAcrossReplicas, Cached: r.config.Cache.Enabled, Detailed: resolved.ShowsConfiguration(),
	}
	return r.complete(resolved, "", r.gatewayLocation(tier.Hot), r.gatewayLocation(tier.Cold))
}

// configuredDestination returns the destination of the gateway's own tier as configured.
func (r *Resolver) configuredDestination(name tier.Name) destination {
	at := destination{name: name, Permission: upstream.Permission{Transport: r.transports.configured[name]}}
	if name == tier.Hot {
		at.url, at.Retention, at.tenancy, at.Tenant = r.config.Hot.URL, time.Duration(r.config.Hot.Retention), r.config.Hot.Tenancy, r.config.Hot.Tenant
	} else {
		at.url, at.Lag, at.tenancy = r.config.Cold.URL, time.Duration(r.config.Cold.Lag), r.config.Cold.Tenancy
	}
	return at
}

// buildSaved returns a saved datasource: see Saved.
func (r *Resolver) buildSaved(saved *perses.Datasource) (*Resolved, error) {
	resolved := &Resolved{Label: saved.Reference.String(), IsSaved: true}
	var err error
	if resolved.Rule, err = r.RuleOf(saved.Reference); err != nil {
		return nil, err
	}
	resolved.Datasource = &engine.Datasource{
		Name:             resolved.Label,
		Threshold:        cmp.Or(time.Duration(saved.Spec.Threshold), time.Duration(r.config.Routing.Threshold)),
		Strategy:         cmp.Or(tier.Strategy(saved.Spec.Strategy), tier.Strategy(r.config.Routing.Strategy)),
		ReplicasAccepted: valueOr(saved.Spec.SplitAcrossReplicas, r.config.Routing.SplitAcrossReplicas),
		Cached:           valueOr(saved.Spec.Cache, r.config.Cache.Enabled),
		QueryParams:      saved.Spec.QueryParams,
		Detailed:         resolved.ShowsConfiguration(),
	}
	hotAt, err := r.locationOf(saved, tier.Hot)
	if err != nil {
		return nil, err
	}
	coldAt, err := r.locationOf(saved, tier.Cold)
	if err != nil {
		return nil, err
	}
	if resolved.HotUnused = hotAt.unused; hotAt.unused != "" {
		hotAt = location{destination: destination{name: tier.Hot}}
	}
	return r.complete(resolved, saved.Generation, hotAt, coldAt)
}

// complete adds the tiers at two locations to a datasource. generation identifies the spec.
func (r *Resolver) complete(resolved *Resolved, generation string, hotAt, coldAt location) (*Resolved, error) {
	hot, err := r.tiersAt(hotAt, resolved)
	if err != nil {
		return nil, err
	}
	cold, err := r.tiersAt(coldAt, resolved)
	if err != nil {
		return nil, err
	}
	resolved.WantsNamespace = hotAt.tenancy.Parameter != "" || coldAt.tenancy.Parameter != ""
	resolved.Datasource.Scope = r.scopeOf(resolved.Label, generation, hotAt, coldAt)
	r.join(resolved, hotAt, coldAt, hot, cold)
	return resolved, nil
}

func valueOr(value *bool, otherwise bool) bool {
	if value == nil {
		return otherwise
	}
	return *value
}

// locationOf returns the location of a tier of a datasource. The location has no URL if there
// is no such tier, or if the tier is missing for a reason. locationOf returns the errors of
// Saved.
func (r *Resolver) locationOf(saved *perses.Datasource, name tier.Name) (at location, err error) {
	named, tenant := namedTier(saved, name), tenantOf(saved)
	switch {
	case named == nil || (named.URL == nil && named.Service == nil):
		if at = r.gatewayLocation(name); at.url == "" && at.missing == "" {
			return at, nil
		}
		at.use.isGateway, err = len(tenant) == 0, r.mayUseGatewayTiers(saved.Reference, name, tenant)
	case named.Service != nil:
		at, err = r.locationOfService(saved.Reference, name, named, tenant)
	default:
		at, err = r.locationOfURL(saved.Reference, name, &named.URL.URL, tenant)
	}
	if err != nil {
		return location{}, err
	}
	if named != nil {
		at.Retention, at.Lag, at.ScrapeInterval = time.Duration(named.Retention), time.Duration(named.Lag), time.Duration(saved.Spec.ScrapeInterval)
	}
	at.headers, at.use.header, at.use.project = canonical(tenant), tenant, saved.Reference.Project
	at.unused = hotUnused(at, tenant)
	return at, nil
}

// namedTier returns the tier that a datasource names, or nil. Of several hot tiers, it
// returns the first.
func namedTier(saved *perses.Datasource, name tier.Name) *perses.TierSpec {
	if name == tier.Cold {
		return saved.Spec.Cold
	}
	if len(saved.Spec.Hot) == 0 {
		return nil
	}
	return &saved.Spec.Hot[0]
}

// locationOfURL returns the location of a URL that a datasource names as its tier. It returns
// an Error with status 403 if the datasource may not use the URL.
func (r *Resolver) locationOfURL(reference perses.Reference, name tier.Name, named *url.URL, tenant http.Header) (location, error) {
	at := destination{name: name, url: named.String()}
	if err := r.permit(reference, named, &at); err != nil {
		return location{}, &promapi.Error{Status: http.StatusForbidden, Type: promapi.ErrorForbidden, Cause: err, Message: fmt.Sprintf(
			"the %s tier of %s is at %s, which is not an allowed destination: ask the operator to list the host in the gateway's destinations", name, reference, named.Host)}
	}
	onGatewayServer := r.gatewayTierWhere(func(base *url.URL) bool { return upstream.SameServer(base, named) }) != nil
	return location{destination: at}, r.mayChooseTenant(reference, name, tenant, onGatewayServer || at.Transport.HoldsSecrets(named.Scheme))
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
	var lines strings.Builder
	_ = header.Write(&lines) // A Builder returns no error.
	return lines.String()
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
			at.name, at.url, at.Retention, at.Lag, at.ScrapeInterval, at.tenancy, at.headers, at.service, at.address, at.replica))
	}
	return strings.Join(parts, "\n")
}
