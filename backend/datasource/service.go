package datasource

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// placeOfService returns where the Service is that a datasource names as its
// tier. It returns an Error with status 403 when the operator does not allow
// the datasource to name it, and 501 when there is no discovery.
func (m *Manager) placeOfService(reference perses.Reference, name tier.Name, named *perses.TierSpec, tenant http.Header) (place, error) {
	service := discovery.Reference{Namespace: named.Service.Namespace, Name: named.Service.Name, Port: named.Service.Port, Scheme: named.Service.Scheme}
	if m.discovery == nil {
		return place{}, promapi.Errorf(http.StatusNotImplemented, promapi.ErrorUnavailable,
			"the %s tier of %s is the Service %s, which the gateway cannot look up: %s; set url instead", name, reference, service, m.noDiscovery)
	}
	own, unsure, atRoot := m.isOwnService(service)
	trusted, listed := m.trusts(reference), slices.Contains(m.config.Discovery.Namespaces, service.Namespace)
	switch {
	case (own || (unsure && listed)) && !trusted:
		return place{}, promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
			"the %s tier of %s is the Service %s, which is one of the gateway's own: ask the operator to list project %q in the gateway's configuration",
			name, reference, service, reference.Project)
	case !atRoot && !listed:
		return place{}, promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
			"the %s tier of %s is the Service %s, which it may not name: ask the operator to list namespace %s in the gateway's discovery.namespaces",
			name, reference, service, service.Namespace)
	}
	found := m.discovery.Resolve(service)
	at := destination{
		name: name, url: found.URL(), retention: named.Retention, lag: named.Lag, headers: canonical(tenant), service: service.String(),
	}
	if at.url == "" {
		at.missing = found.Message
		return place{destination: at, service: found, reference: service}, nil
	}
	if err := m.permitService(found, service, trusted, &at); err != nil {
		return place{}, fmt.Errorf("reach the Service %s: %w", service, err)
	}
	return place{destination: at, service: found, reference: service}, m.mayChooseTenant(reference, name, tenant, own || at.access.HoldsSecrets())
}

// permitService completes the destination of a Service that a datasource names.
// Where it is trusted, a Service that is a tier of the gateway's own gets what
// that tier gets, and one that the operator describes in destinations what is
// said there. Any other gets nothing, the token of the ServiceAccount included:
// whoever may write Services, pods or EndpointSlices in its namespace decides who
// answers there, and that may be the author of the datasource.
func (m *Manager) permitService(found *discovery.Service, service discovery.Reference, trusted bool, at *destination) error {
	permission, err := permissionFor(found, "", m.access.services)
	if err != nil {
		return err
	}
	at.guard, at.access = permission.Guard, permission.Transport
	base, err := url.Parse(found.URL())
	if err != nil {
		return err
	}
	described, notDescribed := upstream.Allow(m.access.destinations, base)
	if notDescribed == nil {
		at.tenant = described.Tenant
	}
	if !trusted {
		return nil
	}
	if own := m.ownBehind(base, service); own != nil {
		at.access, at.tenancy, at.tenant = own.access, own.tenancy, own.tenant
	} else if notDescribed == nil && described.Transport.IsConfigured() {
		at.access = described.Transport
	}
	return nil
}

// ownBehind returns the gateway's own tier at the scheme and port of a Service,
// whichever of the names of the Service it is configured by, or nil. A Service
// is asked without a path: an own tier that has one is another tier.
func (m *Manager) ownBehind(base *url.URL, service discovery.Reference) *destination {
	return m.ownWhere(func(own *url.URL) bool {
		return own.Scheme == base.Scheme && isHostOf(own.Hostname(), service) && upstream.SamePort(own, base) && upstream.UnderPath(own.Path, base.Path)
	})
}

// isOwnService tells whether a Service is one of the gateway's own tiers: the one
// that discovery looks for, or the one at the configured URL, whatever the
// port. It is unsure while a tier that is found by labels in that namespace is
// not known. atRoot is set where that tier has no path: Services are asked
// without one.
func (m *Manager) isOwnService(service discovery.Reference) (own, unsure, atRoot bool) {
	for _, name := range tier.Names() {
		configured := m.ownConfigured(name).url
		if m.isDiscovered(name) {
			reference := m.ownReference(name)
			found := reference.Name
			if reference.Selector != "" {
				found = m.discovery.Resolve(reference).Name
			}
			isThere := reference.Namespace == service.Namespace
			own = own || (isThere && found == service.Name)
			atRoot = atRoot || (isThere && found == service.Name)
			unsure = unsure || (isThere && found == "")
			if !m.isDefaultReference(name) {
				continue // The default URL counts only where nobody has said anything.
			}
		}
		if base, err := url.Parse(configured); err == nil && isHostOf(base.Hostname(), service) {
			own, atRoot = true, atRoot || upstream.UnderPath(base.Path, "/")
		}
	}
	return own, unsure, atRoot
}

// isHostOf tells whether a host name is that of a Service in the cluster's DNS.
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
func (m *Manager) warnOfWithheld(reference discovery.Reference, service *discovery.Service) {
	for _, name := range tier.Names() {
		if !m.isDiscovered(name) || m.ownReference(name) != reference || service.Scheme != "http" || reference.Scheme != "" {
			continue
		}
		if m.access.found[name].withoutToken.HoldsSecrets() {
			m.logger.Warnf("the credential of %[1]s.http_config is not sent to the Service %[2]s, because it speaks plain HTTP: set discovery.%[1]s.scheme to http if it shall be", name, reference)
		}
	}
}
