package resolve

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// location is where a tier is.
type location struct {
	destination
	// service is the Service that the tier was found by, or should have been, and
	// reference what it was looked up by; nil where the tier is named by its URL.
	service   *discovery.Service
	reference discovery.Reference
}

// newDiscovery returns nil where discovery is off or there is no cluster. It
// returns an error when the kubeconfig that is named cannot be read.
func (r *Resolver) newDiscovery() (*discovery.Discovery, error) {
	if !r.config.Discovery.Enabled {
		r.noDiscovery = "discovery.enabled is false"
		return nil, nil //nolint:nilnil // No discovery is nil throughout.
	}
	found, err := discovery.New(discovery.Options{Kubeconfig: r.config.Discovery.Kubeconfig, OnChange: r.serviceChanged})
	switch {
	case err == nil:
		return found, nil
	case r.config.Discovery.Kubeconfig != "" && !errors.Is(err, discovery.ErrNoCluster):
		return nil, fmt.Errorf("discovery.kubeconfig: %w", err)
	}
	if !errors.Is(err, discovery.ErrNoCluster) {
		r.logger.WithError(err).Warn("services are not discovered although this is a pod of a cluster")
	}
	r.noDiscovery = err.Error()
	return nil, nil //nolint:nilnil // No discovery is nil throughout.
}

// startDiscovery begins to look for the tiers that are not configured.
func (r *Resolver) startDiscovery(ctx context.Context) {
	if r.discovery == nil {
		r.logger.WithField("cause", r.noDiscovery).Info("services are not discovered: tiers are those of the configuration and of the datasources")
		return
	}
	r.discovery.Start(ctx)
	for _, name := range tier.Names() {
		if r.isDiscovered(name) {
			r.discovery.Resolve(r.ownReference(name))
		}
	}
}

// isDiscovered tells whether the gateway's own tier is the one that discovery
// finds: its URL is not configured, or left at its default.
func (r *Resolver) isDiscovered(name tier.Name) bool {
	if r.discovery == nil {
		return false
	}
	if name == tier.Hot {
		return r.config.Hot.URL == ""
	}
	return r.config.Cold.URL == "" || r.config.Cold.URL == config.Default().Cold.URL
}

func (r *Resolver) ownReference(name tier.Name) discovery.Reference {
	if name == tier.Hot {
		return discovery.Reference(r.config.Discovery.Hot)
	}
	return discovery.Reference(r.config.Discovery.Cold)
}

// isDefaultReference tells whether nobody has said which Service a tier is.
func (r *Resolver) isDefaultReference(name tier.Name) bool {
	if name == tier.Hot {
		return r.config.Discovery.Hot == config.Default().Discovery.Hot
	}
	return r.config.Discovery.Cold == config.Default().Discovery.Cold
}

// isDefault tells whether a reference is one that nobody has said.
func (r *Resolver) isDefault(reference discovery.Reference) bool {
	return slices.ContainsFunc(tier.Names(), func(name tier.Name) bool {
		return r.isDefaultReference(name) && r.ownReference(name) == reference
	})
}

// ownLocation returns where the gateway's own tier is: by the configuration, by
// discovery, or by the default, in that order.
func (r *Resolver) ownLocation(name tier.Name) location {
	configured := r.ownConfigured(name)
	if !r.isDiscovered(name) {
		return location{destination: configured}
	}
	reference := r.ownReference(name)
	service := r.discovery.Resolve(reference)
	found := configured
	found.url, found.service = service.URL(), reference.String()
	switch {
	case found.url != "":
		permission, err := permissionFor(service, reference.Scheme, r.transports.found[name].over(service.Scheme))
		if err != nil {
			found.url, found.missing = "", err.Error()
		}
		found.guard, found.access = permission.Guard, permission.Transport
	case r.isDefaultReference(name) && !pending(service):
		// Nobody has said that there is such a Service.
		return location{destination: configured, service: service, reference: reference}
	default:
		found.missing = service.Message
	}
	return location{destination: found, service: service, reference: reference}
}

// tiersAt returns the tier at a location: none, one, or its replicas. user is who
// keeps them. It returns the errors of the pool.
func (r *Resolver) tiersAt(at location, use tierUse, user *Resolved) ([]*catalog.Tier, error) {
	servers := r.serversAt(at)
	list := make([]*catalog.Tier, 0, len(servers))
	for _, each := range servers {
		one, usages, err := r.pool.get(each, use)
		if err != nil {
			return nil, err
		}
		list, user.usages = append(list, one), append(user.usages, usages...)
	}
	return list, nil
}

// serversAt returns what is asked at a place: nothing, the tier as a whole, or
// each server behind its Service.
func (r *Resolver) serversAt(at location) []destination {
	if at.url == "" && at.missing == "" {
		return nil
	}
	// A proxy connects by the name of the Service: it cannot be told a replica.
	whole := at.name == tier.Cold || at.service == nil || at.service.Endpoints == nil || !r.config.Discovery.Replicas || at.access.UsesProxy()
	if whole || at.missing != "" {
		return []destination{at.destination}
	}
	if len(at.service.Endpoints) == 0 {
		nowhere := at.destination
		nowhere.missing = at.service.Message
		return []destination{nowhere}
	}
	list := make([]destination, 0, len(at.service.Endpoints))
	for _, endpoint := range at.service.Endpoints {
		each := at.destination
		each.address, each.replica = endpoint.Address, endpoint.Name
		list = append(list, each)
	}
	return list
}

// pending tells whether nothing is known of a Service yet, and it is looked up.
func pending(service *discovery.Service) bool {
	return service != nil && service.State == discovery.StateUnknown && !service.Stale
}

// serviceChanged notes a new state of a Service: what is no longer behind it is
// dropped, and what is new is probed before anybody asks for it.
func (r *Resolver) serviceChanged(reference discovery.Reference, service *discovery.Service) {
	entry := r.logger.WithFields(logrus.Fields{"service": reference.String(), "state": string(service.State), "endpoints": len(service.Endpoints)})
	switch {
	case service.Message == "":
		entry.Info("the state of a Service is a new one")
	case service.URL() == "" && r.isDefault(reference):
		entry.WithField("cause", service.Message).Info("the Service of a tier that nobody has configured is not there")
	default:
		entry.WithField("cause", service.Message).Warn("the state of a Service is not as it should be")
	}
	r.warnOfWithheld(reference, service)
	r.generation.Add(1)
	r.pool.dropService(reference.String(), func(at destination) bool {
		if at.url != service.URL() || (at.missing != "" && at.missing != service.Message) {
			return false
		}
		return at.address == "" || slices.ContainsFunc(service.Endpoints, func(each discovery.Endpoint) bool {
			return each.Address == at.address && each.Name == at.replica
		})
	})
	_, _ = r.Own() // It fails only while the Manager stops.
}
