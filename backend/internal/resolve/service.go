package resolve

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// locationOfService returns where the Service is that a datasource names as its
// tier. It returns an Error with status 403 when the operator does not allow
// the datasource to name it, and 501 when there is no discovery.
func (r *Resolver) locationOfService(reference perses.Reference, name tier.Name, named *perses.TierSpec, tenant http.Header) (location, error) {
	service := discovery.Reference{Namespace: named.Service.Namespace, Name: named.Service.Name, Port: string(named.Service.Port), Scheme: named.Service.Scheme}
	if r.discovery == nil {
		return location{}, promapi.Errorf(http.StatusNotImplemented, promapi.ErrorUnavailable,
			"the %s tier of %s is the Service %s, which the gateway cannot look up: %s; set url instead", name, reference, service, r.noDiscovery)
	}
	own, unsure, atRoot := r.isOwnService(service)
	trusted, listed := r.trusts(reference), slices.Contains(r.config.Discovery.Namespaces, service.Namespace)
	switch {
	case (own || (unsure && listed)) && !trusted:
		return location{}, promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
			"the %s tier of %s is the Service %s, which is one of the gateway's own: ask the operator to list project %q in the gateway's configuration",
			name, reference, service, reference.Project)
	case !atRoot && !listed:
		return location{}, promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
			"the %s tier of %s is the Service %s, which it may not name: ask the operator to list namespace %s in the gateway's discovery.namespaces",
			name, reference, service, service.Namespace)
	}
	found := r.discovery.Resolve(service)
	at := destination{
		name: name, url: found.URL(), retention: time.Duration(named.Retention), lag: time.Duration(named.Lag), headers: canonical(tenant), service: service.String(),
	}
	if at.url == "" {
		at.missing = found.Message
		return location{destination: at, service: found, reference: service}, nil
	}
	if err := r.permitService(found, service, trusted, &at); err != nil {
		return location{}, fmt.Errorf("reach the Service %s: %w", service, err)
	}
	return location{destination: at, service: found, reference: service}, r.mayChooseTenant(reference, name, tenant, own || at.access.HoldsSecrets())
}

// permitService completes the destination of a Service that a datasource names.
// Where it is trusted, a Service that is a tier of the gateway's own gets what
// that tier gets, and one that the operator describes in destinations what is
// said there. Any other gets nothing, the token of the ServiceAccount included:
// whoever may write Services, pods or EndpointSlices in its namespace decides who
// answers there, and that may be the author of the datasource.
func (r *Resolver) permitService(found *discovery.Service, service discovery.Reference, trusted bool, at *destination) error {
	permission, err := permissionFor(found, "", r.transports.services)
	if err != nil {
		return err
	}
	at.guard, at.access = permission.Guard, permission.Transport
	base, err := url.Parse(found.URL())
	if err != nil {
		return err
	}
	described, notDescribed := upstream.Allow(r.transports.destinations, base)
	if notDescribed == nil {
		at.tenant = described.Tenant
	}
	if !trusted {
		return nil
	}
	if own := r.ownBehind(base, service); own != nil {
		at.access, at.tenancy, at.tenant = own.access, own.tenancy, own.tenant
	} else if notDescribed == nil && described.Transport.IsConfigured() {
		at.access = described.Transport
	}
	return nil
}

// ownBehind returns the gateway's own tier at the scheme and port of a Service,
// whichever of the names of the Service it is configured by, or nil. A Service
// is asked without a path: an own tier that has one is another tier.
func (r *Resolver) ownBehind(base *url.URL, service discovery.Reference) *destination {
	return r.ownWhere(func(own *url.URL) bool {
		return own.Scheme == base.Scheme && isHostOf(own.Hostname(), service) && upstream.SamePort(own, base) && upstream.UnderPath(own.Path, base.Path)
	})
}

// isOwnService tells whether a Service is one of the gateway's own tiers: the one
// that discovery looks for, or the one at the configured URL, whatever the
// port. It is unsure while a tier that is found by labels in that namespace is
// not known. atRoot is set where that tier has no path: Services are asked
// without one.
func (r *Resolver) isOwnService(service discovery.Reference) (own, unsure, atRoot bool) {
	for _, name := range tier.Names() {
		configured := r.ownConfigured(name).url
		if r.isDiscovered(name) {
			reference := r.ownReference(name)
			found := reference.Name
			if reference.Selector != "" {
				found = r.discovery.Resolve(reference).Name
			}
			isThere := reference.Namespace == service.Namespace
			own = own || (isThere && found == service.Name)
			atRoot = atRoot || (isThere && found == service.Name)
			unsure = unsure || (isThere && found == "")
			if !r.isDefaultReference(name) {
				continue // The default URL counts only where nobody has said anything.
			}
		}
		if base, err := url.Parse(configured); err == nil && isHostOf(base.Hostname(), service) {
			own, atRoot = true, atRoot || upstream.UnderPath(base.Path, "/")
		}
	}
	return own, unsure, atRoot
}

// isHostOf reports whether a host name is that of a Service in the cluster's DNS.
func isHostOf(host string, service discovery.Reference) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	of := service.Name + "." + service.Namespace
	return inCluster(host) && strings.TrimSuffix(strings.TrimSuffix(host, ".cluster.local"), ".svc") == of
}

// permissionFor lets connections go to a Service, and through it to no address
// that nobody but the operator may name. What is secret goes over https, or
// over the scheme that the operator names; empty where none is named.
func permissionFor(service *discovery.Service, scheme string, access *upstream.TransportConfig) (upstream.Permission, error) {
	base, err := url.Parse(service.URL())
	if err != nil {
		return upstream.Permission{}, fmt.Errorf("parse the URL of a Service: %w", err)
	}
	return upstream.Allow([]upstream.Destination{{Host: service.Host, Port: service.Port, Scheme: scheme, Transport: access}}, base)
}

// warnOfWithheld says that a credential of the configuration does not go out,
// because the Service of the tier speaks plain HTTP and only it says so.
func (r *Resolver) warnOfWithheld(reference discovery.Reference, service *discovery.Service) {
	for _, name := range tier.Names() {
		if !r.isDiscovered(name) || r.ownReference(name) != reference || service.Scheme != "http" || reference.Scheme != "" {
			continue
		}
		if r.transports.found[name].withoutToken.HoldsSecrets() {
			r.logger.Warnf("the credential of %[1]s.http_config is not sent to the Service %[2]s, because it speaks plain HTTP: set discovery.%[1]s.scheme to http if it shall be", name, reference)
		}
	}
}
