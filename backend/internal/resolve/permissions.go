package resolve

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// permit adds the operator's settings and credentials for a destination that a datasource
// names. It returns an error if the operator does not allow the host.
//
// Trusted datasources (global ones and those of listed projects) may use the URLs of the
// gateway's own tiers and the paths below them. If the operator configured such a URL, its
// host may resolve to any address. Another path on the same server may be another tenant, so
// it needs an entry in destinations. Other datasources may use the listed destinations, but
// tierproxy sends no credential for them.
func (r *Resolver) permit(reference perses.Reference, named *url.URL, at *destination) error {
	if err := upstream.CheckPath(named); err != nil {
		return err
	}
	trusted := r.trusts(reference)
	gateway := r.gatewayTierWhere(func(base *url.URL) bool {
		return base.Scheme == named.Scheme && upstream.SameServer(base, named) && upstream.UnderPath(base.Path, named.Path)
	})
	if gateway != nil && trusted {
		at.Permission, at.tenancy = gateway.Permission, gateway.tenancy
		return nil
	}
	permission, err := upstream.Allow(r.transports.destinations, named)
	if err != nil {
		return err
	}
	if !trusted {
		permission.Transport = nil
	}
	at.Permission = permission
	return nil
}

// gatewayTierWhere returns the first of the gateway's own tiers whose URL matches, or nil.
func (r *Resolver) gatewayTierWhere(matches func(*url.URL) bool) *destination {
	for _, own := range r.own {
		for _, location := range r.locationsOf(own) {
			at := location.destination
			if base, err := url.Parse(at.url); err == nil && at.url != "" && matches(base) {
				return &at
			}
		}
	}
	return nil
}

// mayUseGatewayTiers returns an error unless the datasource may use the gateway's own tiers.
func (r *Resolver) mayUseGatewayTiers(reference perses.Reference, name tier.Name, tenant http.Header) error {
	if !r.trusts(reference) {
		return promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
			"%s may not use the gateway's own %s tier: name a %s tier in the datasource, or ask the operator to list project %q in the gateway's configuration",
			reference, name, name, reference.Project)
	}
	return r.mayChooseTenant(reference, name, tenant, true)
}

// mayChooseTenant returns an error if a project's datasource selects a tenant that it must not
// select. ours is set if the request goes to the gateway's own server or with its credential:
// then the project must not choose whose data the credential reads. A project that is confined
// to namespaces must not select any tenant.
func (r *Resolver) mayChooseTenant(reference perses.Reference, name tier.Name, tenant http.Header, ours bool) error {
	if reference.Project == "" || len(tenant) == 0 {
		return nil
	}
	rule, err := r.RuleOf(reference)
	if err != nil || (rule == nil && !ours) {
		return err
	}
	return promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
		"%s may not choose the tenant of the gateway's own %s tier: remove the tenant header from its proxy", reference, name)
}

// hotUnused returns why a datasource with tenant headers does not use its hot tier, or an
// empty string. A hot tier that ignores the headers would return data of another tenant.
// Therefore the operator has to declare that the tier holds this tenant.
func hotUnused(at location, tenant http.Header) string {
	if at.name != tier.Hot || len(tenant) == 0 || (at.url == "" && at.missing == "") {
		return ""
	}
	for _, values := range tenant {
		if at.Tenant == "" || !slices.Equal(values, []string{at.Tenant}) {
			return "hot is not used: the proxy of the datasource sends a tenant header, and the operator has not declared that hot holds this tenant (hot.tenant, or tenant of an entry in destinations)"
		}
	}
	return ""
}
