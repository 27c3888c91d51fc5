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

// trusts tells whether the operator lets a datasource use what is the gateway's
// own: tiers and credentials.
func (r *Resolver) trusts(reference perses.Reference) bool {
	return reference.Project == "" || r.rules.listed(reference.Project)
}

// permit completes the destination that a datasource names with what the
// operator's configuration says of its host: settings and credentials belong to
// destinations, and a spec only names one. It returns an error when the
// operator does not allow the host.
//
// The URLs of the gateway's own tiers, and what lies below them, are open to
// global datasources and those of listed projects, whatever their hosts resolve
// to where the operator named them. Another path on the same server may be
// another tenant: it takes an entry in destinations.
// Other projects reach what is listed in destinations, with no credential.
func (r *Resolver) permit(reference perses.Reference, named *url.URL, at *destination) error {
	if err := upstream.CheckPath(named); err != nil {
		return err
	}
	trusted := r.trusts(reference)
	if own := r.ownTierAt(named); own != nil && trusted {
		at.access, at.tenancy, at.guard, at.tenant = own.access, own.tenancy, own.guard, own.tenant
		return nil
	}
	permission, err := upstream.Allow(r.transports.destinations, named)
	if err != nil {
		return err
	}
	at.guard, at.tenant = permission.Guard, permission.Tenant
	if trusted {
		at.access = permission.Transport
	}
	return nil
}

// ownAt returns the gateway's own tier whose scheme, host and port are those of
// a URL and whose path is the URL's or above it, or nil.
func (r *Resolver) ownTierAt(named *url.URL) *destination {
	return r.ownWhere(func(own *url.URL) bool {
		return own.Scheme == named.Scheme && upstream.SameServer(own, named) && upstream.UnderPath(own.Path, named.Path)
	})
}

// isOwnServer reports whether a URL leads to the server of one of the gateway's
// own tiers, whatever the path.
func (r *Resolver) isOwnServer(named *url.URL) bool {
	return r.ownWhere(func(own *url.URL) bool { return upstream.SameServer(own, named) }) != nil
}

// ownWhere returns the first of the gateway's own tiers whose URL is one that is
// asked for, or nil.
func (r *Resolver) ownWhere(is func(*url.URL) bool) *destination {
	for _, name := range tier.Names() {
		own := r.ownLocation(name).destination
		if at, err := url.Parse(own.url); err == nil && own.url != "" && is(at) {
			return &own
		}
	}
	return nil
}

// mayUseOwnTiers checks that the operator lets a datasource use the gateway's
// own tiers: every global one, and those of the listed projects.
func (r *Resolver) mayUseOwnTiers(reference perses.Reference, name tier.Name, tenant http.Header) error {
	if !r.trusts(reference) {
		return promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
			"%s may not use the gateway's own %s tier: name a %s tier in the datasource, or ask the operator to list project %q in the gateway's configuration",
			reference, name, name, reference.Project)
	}
	return r.mayChooseTenant(reference, name, tenant, true)
}

// mayChooseTenant checks that no project chooses whose data it sees with the
// gateway's credential, or past the namespaces that it is confined to.
func (r *Resolver) mayChooseTenant(reference perses.Reference, name tier.Name, tenant http.Header, ours bool) error {
	if reference.Project == "" || len(tenant) == 0 {
		return nil
	}
	rule, err := r.rules.of(reference)
	if err != nil || (rule == nil && !ours) {
		return err
	}
	return promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
		"%s may not choose the tenant of the gateway's own %s tier: remove the tenant header from its proxy", reference, name)
}

// hotUnused returns why a hot tier is not used by a datasource with tenant
// headers: a tier that ignores them would answer with the data of another
// tenant. It is used where the operator says that it holds that tenant. For
// another tier it returns what is known already.
func hotUnused(at location, tenant http.Header, known string) string {
	if at.name != tier.Hot || len(tenant) == 0 || (at.url == "" && at.missing == "") {
		return known
	}
	for _, values := range tenant {
		if at.tenant == "" || !slices.Equal(values, []string{at.tenant}) {
			return "hot is not used: the proxy of the datasource sends a tenant header, and the operator has not declared that hot holds this tenant (hot.tenant, or tenant of an entry in destinations)"
		}
	}
	return known
}
