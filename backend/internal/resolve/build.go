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

// tenantHeaders are the request headers that tell a tier whose data is asked
// for. They come from a saved datasource, never from a request.
var tenantHeaders = []string{"X-Scope-Orgid", "Thanos-Tenant"}

// buildOwn makes the default datasource: see Own.
func (r *Resolver) buildOwn() (*Resolved, error) {
	own := &Resolved{
		Label: "default datasource", Rule: r.rules.own,
		WantsNamespace: r.config.Hot.Tenancy.Parameter != "" || r.config.Cold.Tenancy.Parameter != "",
	}
	own.Datasource = &engine.Datasource{
		Name: own.Label, Threshold: time.Duration(r.config.Routing.Threshold), Strategy: tier.Strategy(r.config.Routing.Strategy),
		ReplicasAccepted: r.config.Routing.SplitAcrossReplicas, Cached: r.config.Cache.Enabled, Detailed: own.ShowsConfiguration(),
	}
	hotAt, coldAt := r.ownLocation(tier.Hot), r.ownLocation(tier.Cold)
	hot, err := r.tiersAt(hotAt, tierUse{own: true}, own)
	if err != nil {
		return nil, err
	}
	cold, err := r.tiersAt(coldAt, tierUse{own: true}, own)
	if err != nil {
		return nil, err
	}
	r.join(own, hotAt, coldAt, hot, cold)
	own.Datasource.Scope = r.scopeOf(own.Label, "", hotAt, coldAt)
	return own, nil
}

// ownConfigured is what the configuration says of the gateway's own tier.
func (r *Resolver) ownConfigured(name tier.Name) destination {
	at := destination{name: name, access: r.transports.own[name]}
	if name == tier.Hot {
		at.url, at.retention, at.tenancy, at.tenant = r.config.Hot.URL, time.Duration(r.config.Hot.Retention), r.config.Hot.Tenancy, r.config.Hot.Tenant
	} else {
		at.url, at.lag, at.tenancy = r.config.Cold.URL, time.Duration(r.config.Cold.Lag), r.config.Cold.Tenancy
	}
	return at
}

// buildSaved makes a saved datasource: see Saved.
func (r *Resolver) buildSaved(saved *perses.Datasource) (*Resolved, error) {
	made := &Resolved{Label: saved.Reference.String(), IsSaved: true}
	var err error
	if made.Rule, err = r.rules.of(saved.Reference); err != nil {
		return nil, err
	}
	made.Datasource = &engine.Datasource{
		Name:             made.Label,
		Threshold:        cmp.Or(time.Duration(saved.Spec.Threshold), time.Duration(r.config.Routing.Threshold)),
		Strategy:         cmp.Or(tier.Strategy(saved.Spec.Strategy), tier.Strategy(r.config.Routing.Strategy)),
		ReplicasAccepted: valueOr(saved.Spec.SplitAcrossReplicas, r.config.Routing.SplitAcrossReplicas),
		Cached:           valueOr(saved.Spec.Cache, r.config.Cache.Enabled),
		QueryParams:      saved.Spec.QueryParams,
		ScrapeInterval:   time.Duration(saved.Spec.ScrapeInterval),
		Detailed:         made.ShowsConfiguration(),
	}
	tenant := tenantOf(saved)
	hotAt, hot, err := r.tiersOf(saved, tier.Hot, saved.Spec.Hot, tenant, made)
	if err != nil {
		return nil, err
	}
	coldAt, cold, err := r.tiersOf(saved, tier.Cold, saved.Spec.Cold, tenant, made)
	if err != nil {
		return nil, err
	}
	r.join(made, hotAt, coldAt, hot, cold)
	made.Datasource.Scope = r.scopeOf(made.Label, saved.Generation, hotAt, coldAt)
	return made, nil
}

func valueOr(value *bool, otherwise bool) bool {
	if value == nil {
		return otherwise
	}
	return *value
}

// tiersOf returns the tier of a datasource, or its replicas, and where it is. It
// notes in made what such a tier wants of requests.
func (r *Resolver) tiersOf(saved *perses.Datasource, name tier.Name, named *perses.TierSpec, tenant http.Header, made *Resolved) (location, []*catalog.Tier, error) {
	at, own, err := r.destinationOf(saved.Reference, name, named, tenant)
	if err != nil {
		return at, nil, err
	}
	if made.HotUnused = hotUnused(at, tenant, made.HotUnused); at.name == tier.Hot && made.HotUnused != "" {
		return location{destination: destination{name: name}}, nil, nil
	}
	made.WantsNamespace = made.WantsNamespace || at.tenancy.Parameter != ""
	if !own {
		at.scrapeInterval = time.Duration(saved.Spec.ScrapeInterval)
	}
	list, err := r.tiersAt(at, tierUse{header: tenant, own: own && len(tenant) == 0, project: saved.Reference.Project}, made)
	return at, list, err
}

// destinationOf returns where a tier of a datasource is, and whether it is the
// gateway's own; without a URL where the datasource has no such tier, or where
// it is missing for a reason. named is
// what its spec says of the tier, or nil. It returns the errors of sourceOf.
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
			"the %s tier of %s names %s, which the gateway does not call: ask the operator to list it in the gateway's destinations", name, reference, named.URL.Host)}
	}
	return at, false, r.mayChooseTenant(reference, name, tenant, r.isOwnServer(&named.URL.URL) || at.access.HoldsSecrets())
}

// tenantOf returns the tenant headers of the saved datasource.
func tenantOf(saved *perses.Datasource) http.Header {
	header := make(http.Header)
	for name, value := range saved.Spec.Proxy.Headers {
		if slices.Contains(tenantHeaders, http.CanonicalHeaderKey(name)) {
			header.Set(name, value)
		}
	}
	return header
}

func canonical(header http.Header) string {
	lines := make([]string, 0, len(header))
	for name, values := range header {
		lines = append(lines, name+": "+strings.Join(values, ","))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// scopeOf returns everything that can change what cold answers to a datasource, and
// is not part of a request: the operator's configuration, the datasource and its
// generation, where its tiers are and which tenant they are asked for. Which
// credential goes out, and where it may go, follows from these.
func (r *Resolver) scopeOf(label, generation string, locations ...location) string {
	parts := []string{r.fingerprint, label, generation}
	for _, each := range locations {
		at := each.destination
		parts = append(parts, fmt.Sprintf("%q %q %s %s %s %+v %q %q %q %q",
			at.name, at.url, at.retention, at.lag, at.scrapeInterval, at.tenancy, at.headers, at.service, at.address, at.replica))
	}
	return strings.Join(parts, "\n")
}
