package resolve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// location is the destination of a tier, the Service that leads to it, and who uses it.
type location struct {
	destination
	// service is the state of the tier's Service, and reference its name. service is nil
	// if the tier has a URL.
	service   *discovery.Service
	reference discovery.Reference
	use       tierUse
	// isOwn is set for a tier of the gateway.
	isOwn bool
	// title names the location among several of hot.
	title string
	// declared is what the operator says about the series of hot.
	declared declaration
	// unused says why the datasource does not use the tier, or is empty.
	unused string
}

// newDiscovery returns nil if discovery is off or there is no cluster. It returns an error
// if it cannot read the configured kubeconfig.
func (r *Resolver) newDiscovery() (*discovery.Discovery, error) {
	if !r.config.Discovery.Enabled {
		r.noDiscovery = "discovery.enabled is false"
		return nil, nil //nolint:nilnil // A nil Discovery means that discovery is off.
	}
	services, err := discovery.New(discovery.Options{Kubeconfig: r.config.Discovery.Kubeconfig, OnChange: r.serviceChanged})
	switch {
	case err == nil:
		return services, nil
	case r.config.Discovery.Kubeconfig != "" && !errors.Is(err, discovery.ErrNoCluster):
		return nil, fmt.Errorf("discovery.kubeconfig: %w", err)
	}
	if !errors.Is(err, discovery.ErrNoCluster) {
		r.logger.WithError(err).Warn("service discovery is off, although tierproxy runs in a cluster")
	}
	r.noDiscovery = err.Error()
	return nil, nil //nolint:nilnil // A nil Discovery means that discovery is off.
}

// startDiscovery starts to look for the tiers that are not configured.
func (r *Resolver) startDiscovery(ctx context.Context) {
	if r.discovery == nil {
		r.logger.WithField("cause", r.noDiscovery).Info("service discovery is off: tierproxy uses the tiers of the configuration and of datasources")
		return
	}
	r.discovery.Start(ctx)
	for _, own := range r.own {
		if r.isDiscovered(own) {
			r.locationsOf(own)
		}
	}
}

// tiersAt returns the tiers at a location: none, one, or its replicas. It adds their usages
// to resolved. isOneOfSeveral is set for a hot tier beside others. tiersAt returns the errors of
// tierPool.get.
func (r *Resolver) tiersAt(at location, isOneOfSeveral bool, resolved *Resolved) ([]*catalog.Tier, error) {
	servers := r.serversAt(at)
	tiers := make([]*catalog.Tier, 0, len(servers))
	for _, server := range servers {
		if isOneOfSeveral && at.name == tier.Hot {
			server.Title = strings.TrimSuffix(at.title+"/"+server.replica, "/")
		}
		pooled, usages, err := r.pool.get(server, at.use)
		if err != nil {
			return nil, err
		}
		tiers, resolved.usages = append(tiers, pooled), append(resolved.usages, usages...)
	}
	return tiers, nil
}

// serversAt returns the servers at a location: none, the URL or Service itself, or each
// replica behind the Service.
func (r *Resolver) serversAt(at location) []destination {
	if at.url == "" && at.missing == "" {
		return nil
	}
	// A proxy connects to the name of the Service, so tierproxy cannot choose a replica.
	whole := at.name == tier.Cold || at.service == nil || at.service.Endpoints == nil || !r.config.Discovery.Replicas || at.Transport.UsesProxy()
	if !whole && at.missing == "" && len(at.service.Endpoints) == 0 {
		at.missing = at.service.Message
	}
	if whole || at.missing != "" {
		return []destination{at.destination}
	}
	servers := make([]destination, 0, len(at.service.Endpoints))
	for _, endpoint := range at.service.Endpoints {
		server := at.destination
		server.address, server.replica = endpoint.Address, endpoint.Name
		servers = append(servers, server)
	}
	return servers
}

// pending reports whether the first lookup of a Service is still in progress.
func pending(service *discovery.Service) bool {
	return service != nil && service.State == discovery.StateUnknown && !service.Stale
}

// serviceChanged handles a new state of a Service. It drops the servers that are no longer
// behind the Service, and starts to probe new servers of the gateway's own tiers at once.
func (r *Resolver) serviceChanged(reference discovery.Reference, service *discovery.Service) {
	entry := r.logger.WithFields(logrus.Fields{"service": reference.String(), "state": string(service.State), "endpoints": len(service.Endpoints)})
	switch {
	case service.Message == "":
		entry.Info("the state of a Service has changed")
	case service.URL() == "" && r.isDefault(reference):
		entry.WithField("cause", service.Message).Info("the default Service of a tier does not exist: this is normal if you did not configure one")
	default:
		entry.WithField("cause", service.Message).Warn("a Service has a problem")
	}
	r.warnOfWithheld(reference, service)
	r.generation.Add(1)
	r.pool.dropService(reference.String(), func(at destination) bool {
		if at.url != service.URL() || (at.missing != "" && at.missing != service.Message) {
			return false
		}
		return at.address == "" || slices.ContainsFunc(service.Endpoints, func(endpoint discovery.Endpoint) bool {
			return endpoint.Address == at.address && endpoint.Name == at.replica
		})
	})
	_, _ = r.Default() // It fails only while the gateway stops.
}
