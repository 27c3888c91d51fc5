package resolve

import (
	"cmp"
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

// locationOfService returns the location of a Service that a datasource names as its tier. It
// returns an Error with status 403 if the datasource may not use the Service, and with status
// 501 if discovery is off.
func (r *Resolver) locationOfService(reference perses.Reference, name tier.Name, named *perses.TierSpec, tenant http.Header) (location, error) {
	service := discovery.Reference{Namespace: named.Service.Namespace, Name: named.Service.Name, Port: string(named.Service.Port), Scheme: named.Service.Scheme}
	if r.discovery == nil {
		return location{}, promapi.Errorf(http.StatusNotImplemented, promapi.ErrorUnavailable,
			"the %s tier of %s is the Service %s, which the gateway cannot look up: %s; set url instead", name, reference, service, r.noDiscovery)
	}
	isGateway, unsure, atRoot := r.isGatewayService(service)
	trusted, listed := r.trusts(reference), slices.Contains(r.config.Discovery.Namespaces, service.Namespace)
	switch {
	case (isGateway || (unsure && listed)) && !trusted:
		return location{}, promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
			"the %s tier of %s is the Service %s, which is a tier of the gateway itself: ask the operator to list project %q in the gateway's configuration",
			name, reference, service, reference.Project)
	case !atRoot && !listed:
		return location{}, promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
			"the %s tier of %s is the Service %s, which the datasource may not use: ask the operator to list namespace %s in the gateway's discovery.namespaces",
			name, reference, service, service.Namespace)
	}
	state := r.discovery.Resolve(service)
	at := location{destination: destination{name: name, url: state.URL(), service: service.String()}, service: state, reference: service}
	if at.url == "" {
		at.missing = state.Message
		return at, nil
	}
	if err := r.permitService(state, service, trusted, &at.destination); err != nil {
		return location{}, fmt.Errorf("reach the Service %s: %w", service, err)
	}
	return at, r.mayChooseTenant(reference, name, tenant, isGateway || at.Transport.HoldsSecrets(state.Scheme))
}

// permitService adds the operator's settings and credentials for a Service that a datasource
// names. For a trusted datasource, a Service of the gateway's own tier gets the settings of
// that tier, and a listed destination those of its entry.
//
// All other Services get no credential, not even the token of the ServiceAccount. Anyone who
// may write Services, pods or EndpointSlices in the namespace controls the server, and may be
// the author of the datasource.
func (r *Resolver) permitService(state *discovery.Service, service discovery.Reference, trusted bool, at *destination) error {
	var err error
	if at.Permission, err = permissionFor(state, "", r.transports.services); err != nil {
		return err
	}
	base := state.Base()
	listed, _ := upstream.Allow(r.transports.destinations, base) // Zero if the Service is not listed.
	at.Tenant = listed.Tenant
	if !trusted {
		return nil
	}
	// The URL of the gateway's own tier may have any of the Service's DNS names. A tier whose URL
	// has a path does not match, because the URL of a Service has none.
	gateway := r.gatewayTierWhere(func(at *url.URL) bool {
		return at.Scheme == base.Scheme && isHostOf(at.Hostname(), service) && upstream.SamePort(at, base) && upstream.UnderPath(at.Path, base.Path)
	})
	if gateway != nil {
		at.Transport, at.tenancy, at.Tenant = gateway.Transport, gateway.tenancy, gateway.Tenant
	} else if listed.Transport.IsConfigured() {
		at.Transport = listed.Transport
	}
	return nil
}

// isGatewayService reports whether a Service is one of the gateway's own tiers: the one that
// discovery looks for, or the one at the configured URL. The port does not matter. unsure is
// set while discovery has not found a tier by its labels in that namespace.
// atRoot is set if the tier's URL has no path, as the URL of a Service has none.
func (r *Resolver) isGatewayService(service discovery.Reference) (isGateway, unsure, atRoot bool) {
	for _, own := range r.own {
		if r.isDiscovered(own) {
			for _, at := range r.locationsOf(own) {
				namespace, serviceName := cmp.Or(at.reference.Namespace, at.service.Namespace), at.reference.Name
				if at.reference.Selector != "" {
					serviceName = at.service.Name
				}
				sameNamespace := namespace == service.Namespace || at.reference.AllNamespaces
				if sameNamespace && serviceName == service.Name {
					isGateway, atRoot = true, true
				}
				unsure = unsure || (sameNamespace && serviceName == "")
			}
			if !own.isDefault {
				continue // The default URL applies only to the default Service.
			}
		}
		if base, err := url.Parse(own.configured.url); err == nil && isHostOf(base.Hostname(), service) {
			isGateway, atRoot = true, atRoot || upstream.UnderPath(base.Path, "/")
		}
	}
	return isGateway, unsure, atRoot
}

// isHostOf reports whether host is a cluster DNS name of a Service.
func isHostOf(host string, service discovery.Reference) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	of := service.Name + "." + service.Namespace
	return inCluster(host) && strings.TrimSuffix(strings.TrimSuffix(host, ".cluster.local"), ".svc") == of
}

// permissionFor returns the permission to connect to a Service, but not to loopback,
// link-local or cloud metadata addresses behind it. Credentials go over https, or over scheme
// if the operator sets it.
func permissionFor(service *discovery.Service, scheme string, access *upstream.TransportConfig) (upstream.Permission, error) {
	return upstream.Allow([]upstream.Destination{{Host: service.Host, Port: service.Port, Scheme: scheme, Transport: access}}, service.Base())
}

// warnOfWithheld logs that tierproxy does not send a configured credential, because the tier's
// Service uses plain HTTP and the operator did not set the scheme.
func (r *Resolver) warnOfWithheld(reference discovery.Reference, service *discovery.Service) {
	for _, own := range r.own {
		isItsService := func(at location) bool { return at.reference == reference }
		if service.Scheme == "http" && reference.Scheme == "" && r.isDiscovered(own) && own.discovered.HoldsSecrets("http") && slices.ContainsFunc(r.locationsOf(own), isItsService) {
			r.logger.Warnf("tierproxy does not send the credential of %s.http_config to the Service %s, because the Service uses plain HTTP: to send it anyway, set %s.scheme to http", own.key, reference, own.serviceKey)
		}
	}
}
