package resolve

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// buildDefault returns the default datasource: see Default.
func (r *Resolver) buildDefault() (*Resolved, error) {
	resolved := &Resolved{Label: "default datasource", Rule: r.defaultRule}
	resolved.Datasource = &engine.Datasource{
		Name: resolved.Label, Threshold: time.Duration(r.config.Routing.Threshold), Strategy: tier.Strategy(r.config.Routing.Strategy),
		ReplicasAccepted: r.config.Routing.SplitAcrossReplicas, Cached: r.config.Cache.Enabled, Detailed: resolved.ShowsConfiguration(),
	}
	return r.complete(resolved, "", r.ownLocations(tier.Hot), r.coldLocation())
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
	hotAt, err := r.hotLocations(saved)
	if err != nil {
		return nil, err
	}
	coldAt, err := r.coldLocationOf(saved)
	if err != nil {
		return nil, err
	}
	used := slices.DeleteFunc(slices.Clone(hotAt), func(at location) bool { return at.unused != "" })
	if len(used) < len(hotAt) && len(used) == 0 {
		resolved.HotUnused = hotAt[0].unused
	}
	return r.complete(resolved, saved.Generation, used, coldAt)
}

// complete adds the tiers at locations to a datasource. generation identifies the spec.
func (r *Resolver) complete(resolved *Resolved, generation string, hotAt []location, coldAt location) (*Resolved, error) {
	distinguish(hotAt)
	locations := append(slices.Clone(hotAt), coldAt)
	tiers := make([][]*catalog.Tier, len(locations))
	for i, at := range locations {
		var err error
		if tiers[i], err = r.tiersAt(at, len(hotAt) > 1, resolved); err != nil {
			return nil, err
		}
		resolved.WantsNamespace = resolved.WantsNamespace || at.tenancy.Parameter != ""
	}
	resolved.Datasource.Scope = r.scopeOf(resolved.Label, generation, locations...)
	r.join(resolved, locations, tiers)
	return resolved, nil
}

func valueOr(value *bool, otherwise bool) bool {
	if value == nil {
		return otherwise
	}
	return *value
}

// hotLocations returns the locations of the hot tiers of a datasource. A tier that is missing for a
// reason has a location without URL. hotLocations returns the errors of Saved.
func (r *Resolver) hotLocations(saved *perses.Datasource) (list []location, err error) {
	if saved.Spec.Hot == nil {
		return r.ownLocationsFor(saved, tier.Hot, r.ownLocations(tier.Hot))
	}
	for i := range saved.Spec.Hot {
		named := &saved.Spec.Hot[i]
		of, err := r.locationsNamed(saved, tier.Hot, named)
		if err != nil {
			return nil, err
		}
		list = append(list, of...)
	}
	return list, nil
}

// coldLocationOf returns the location of the cold tier of a datasource: see hotLocations.
func (r *Resolver) coldLocationOf(saved *perses.Datasource) (location, error) {
	var list []location
	var err error
	if named := saved.Spec.Cold; named != nil {
		list, err = r.locationsNamed(saved, tier.Cold, named)
	} else {
		list, err = r.ownLocationsFor(saved, tier.Cold, r.ownLocations(tier.Cold))
	}
	if err != nil {
		return location{}, err
	}
	return list[0], nil
}

// ownLocationsFor returns locations of the gateway's own tiers for a datasource that may use them.
func (r *Resolver) ownLocationsFor(saved *perses.Datasource, name tier.Name, own []location) ([]location, error) {
	tenant := r.tenantOf(saved)
	exists := slices.ContainsFunc(own, func(at location) bool { return at.url != "" || at.missing != "" })
	if !exists {
		return own, nil
	}
	if err := r.mayUseGatewayTiers(saved.Reference, name, tenant); err != nil {
		return nil, err
	}
	for i := range own {
		own[i].use.isGateway = len(tenant) == 0
		own[i].usedBy(saved, tenant)
	}
	return own, nil
}

// locationsNamed returns the locations of a tier that a datasource names.
func (r *Resolver) locationsNamed(saved *perses.Datasource, name tier.Name, named *perses.TierSpec) (list []location, err error) {
	tenant := r.tenantOf(saved)
	var at location
	switch {
	case named.Service != nil:
		at, err = r.locationOfService(saved.Reference, name, named, tenant)
	case named.URL != nil:
		at, err = r.locationOfURL(saved.Reference, name, &named.URL.URL, tenant)
	default:
		if err = r.mayUseGatewayTiers(saved.Reference, name, tenant); err == nil {
			list, err = r.ownLocationsFor(saved, name, r.ownLocationsNamed(named.Name))
		}
		if err == nil && len(list) == 0 {
			missing := location{destination: destination{name: name, missing: fmt.Sprintf("the gateway has no hot tier named %q: use one of %s", named.Name, r.ownNames())}, title: named.Name}
			missing.usedBy(saved, tenant)
			list = []location{missing}
		}
		for i := range list {
			list[i].Retention = cmp.Or(time.Duration(named.Retention), list[i].Retention)
		}
		return list, err
	}
	if err != nil {
		return nil, err
	}
	at.Retention, at.Lag, at.ScrapeInterval = time.Duration(named.Retention), time.Duration(named.Lag), time.Duration(saved.Spec.ScrapeInterval)
	at.title = titleOf(named)
	at.usedBy(saved, tenant)
	return []location{at}, nil
}

// titleOf returns the name of a tier that a datasource names.
func titleOf(named *perses.TierSpec) string {
	switch {
	case named.Name != "":
		return named.Name
	case named.Service != nil:
		return named.Service.Namespace + "/" + named.Service.Name
	case named.URL != nil:
		return named.URL.Host
	}
	return ""
}

// distinguish gives each of several hot tiers a title of its own.
func distinguish(hotAt []location) {
	count := map[string]int{}
	for i := range hotAt {
		title := hotAt[i].title
		if count[title]++; count[title] > 1 {
			hotAt[i].title = fmt.Sprintf("%s (%d)", title, count[title])
		}
	}
}

// usedBy records which datasource uses the tier at the location.
func (l *location) usedBy(saved *perses.Datasource, tenant http.Header) {
	l.headers, l.use.header, l.use.project = canonical(tenant), tenant, saved.Reference.Project
	l.unused = hotUnused(*l, tenant)
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

// tenantOf returns the headers that select the tenant at a tier.
func (r *Resolver) tenantOf(saved *perses.Datasource) http.Header {
	return perses.TenantHeaders(r.config.TenantHeaders).Of(&saved.Spec)
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
	key := promql.KeyOf(parts...)
	return hex.EncodeToString(key[:]) // There may be many locations.
}
