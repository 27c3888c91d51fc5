package datasource

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// place is where a tier is.
type place struct {
	destination
	// service is the Service that the tier was found by, or should have been, and
	// reference what it was looked up by; nil where the tier is named by its URL.
	service   *discovery.Service
	reference discovery.Reference
}

// newDiscovery returns nil where discovery is off or there is no cluster. It
// returns an error when the kubeconfig that is named cannot be read.
func (m *Manager) newDiscovery() (*discovery.Discovery, error) {
	if !m.config.Discovery.Enabled {
		m.noDiscovery = "discovery.enabled is false"
		return nil, nil //nolint:nilnil // No discovery is nil throughout.
	}
	found, err := discovery.New(discovery.Options{Kubeconfig: m.config.Discovery.Kubeconfig, OnChange: m.serviceChanged})
	switch {
	case err == nil:
		return found, nil
	case m.config.Discovery.Kubeconfig != "" && !errors.Is(err, discovery.ErrNoCluster):
		return nil, fmt.Errorf("discovery.kubeconfig: %w", err)
	}
	if !errors.Is(err, discovery.ErrNoCluster) {
		m.logger.WithError(err).Warn("services are not discovered although this is a pod of a cluster")
	}
	m.noDiscovery = err.Error()
	return nil, nil //nolint:nilnil // No discovery is nil throughout.
}

// startDiscovery begins to look for the tiers that are not configured.
func (m *Manager) startDiscovery(ctx context.Context) {
	if m.discovery == nil {
		m.logger.WithField("cause", m.noDiscovery).Info("services are not discovered: tiers are those of the configuration and of the datasources")
		return
	}
	m.discovery.Start(ctx)
	for _, name := range tier.Names() {
		if m.isDiscovered(name) {
			m.discovery.Resolve(m.ownReference(name))
		}
	}
}

// isDiscovered tells whether the gateway's own tier is the one that discovery
// finds: its URL is not configured, or left at its default.
func (m *Manager) isDiscovered(name tier.Name) bool {
	if m.discovery == nil {
		return false
	}
	if name == tier.Hot {
		return m.config.Hot.URL == ""
	}
	return m.config.Cold.URL == "" || m.config.Cold.URL == DefaultConfig().Cold.URL
}

func (m *Manager) ownReference(name tier.Name) discovery.Reference {
	if name == tier.Hot {
		return discovery.Reference(m.config.Discovery.Hot)
	}
	return discovery.Reference(m.config.Discovery.Cold)
}

// isDefaultReference tells whether nobody has said which Service a tier is.
func (m *Manager) isDefaultReference(name tier.Name) bool {
	if name == tier.Hot {
		return m.config.Discovery.Hot == DefaultConfig().Discovery.Hot
	}
	return m.config.Discovery.Cold == DefaultConfig().Discovery.Cold
}

// isDefault tells whether a reference is one that nobody has said.
func (m *Manager) isDefault(reference discovery.Reference) bool {
	return slices.ContainsFunc(tier.Names(), func(name tier.Name) bool {
		return m.isDefaultReference(name) && m.ownReference(name) == reference
	})
}

// ownPlace returns where the gateway's own tier is: by the configuration, by
// discovery, or by the default, in that order.
func (m *Manager) ownPlace(name tier.Name) place {
	configured := m.ownConfigured(name)
	if !m.isDiscovered(name) {
		return place{destination: configured}
	}
	reference := m.ownReference(name)
	service := m.discovery.Resolve(reference)
	found := configured
	found.url, found.service = service.URL(), reference.String()
	switch {
	case found.url != "":
		permission, err := permissionFor(service, reference.Scheme, m.access.found[name].over(service.Scheme))
		if err != nil {
			found.url, found.missing = "", err.Error()
		}
		found.guard, found.access = permission.Guard, permission.Transport
	case m.isDefaultReference(name) && !pending(service):
		// Nobody has said that there is such a Service.
		return place{destination: configured, service: service, reference: reference}
	default:
		found.missing = service.Message
	}
	return place{destination: found, service: service, reference: reference}
}

// settled returns a source whose Services are known: those that are looked up
// for the first time are waited for, for a part of the time of a query.
func (m *Manager) settled(ctx context.Context, of func() (*source, error)) (*source, error) {
	found, err := of()
	if err != nil || len(found.pending) == 0 {
		return found, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(m.config.Query.Timeout)/4)
	defer cancel()
	for _, reference := range found.pending {
		m.discovery.Wait(ctx, reference)
	}
	return of()
}

// tiersAt returns the tier at a place: none, one, or its replicas. It returns
// the errors of the pool.
func (m *Manager) tiersAt(at place, use tierUse) ([]*catalog.Tier, error) {
	servers := m.serversAt(at)
	list := make([]*catalog.Tier, 0, len(servers))
	for _, each := range servers {
		one, err := m.pool.get(each, use)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

// serversAt returns what is asked at a place: nothing, the tier as a whole, or
// each server behind its Service.
func (m *Manager) serversAt(at place) []destination {
	if at.url == "" && at.missing == "" {
		return nil
	}
	// A proxy connects by the name of the Service: it cannot be told a replica.
	whole := at.name == tier.Cold || at.service == nil || at.service.Endpoints == nil || !m.config.Discovery.Replicas || at.access.UsesProxy()
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
func (m *Manager) serviceChanged(reference discovery.Reference, service *discovery.Service) {
	entry := m.logger.WithFields(logrus.Fields{"service": reference.String(), "state": string(service.State), "endpoints": len(service.Endpoints)})
	switch {
	case service.Message == "":
		entry.Info("the state of a Service is a new one")
	case service.URL() == "" && m.isDefault(reference):
		entry.WithField("cause", service.Message).Info("the Service of a tier that nobody has configured is not there")
	default:
		entry.WithField("cause", service.Message).Warn("the state of a Service is not as it should be")
	}
	m.warnOfWithheld(reference, service)
	m.pool.dropService(reference.String(), func(at destination) bool {
		if at.url != service.URL() || (at.missing != "" && at.missing != service.Message) {
			return false
		}
		return at.address == "" || slices.ContainsFunc(service.Endpoints, func(each discovery.Endpoint) bool {
			return each.Address == at.address && each.Name == at.replica
		})
	})
	_, _ = m.ownSource() // It fails only while the Manager stops.
}
