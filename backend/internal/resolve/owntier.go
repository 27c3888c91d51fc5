package resolve

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// ownTier is one of the gateway's own tiers as configured: cold, or an entry of hot.
type ownTier struct {
	// key is its key in the configuration: cold, hot, or hot[1] in a list.
	key string
	// title is the name by which datasources refer to it: see config.HotConfig.Name.
	title string
	// configured has the settings of the tier and its URL, if any.
	configured destination
	// reference is the Service that discovery looks for in place of the URL, or the zero Reference.
	// serviceKey is its key in the configuration, and isDefault is set if it is not configured.
	reference  discovery.Reference
	serviceKey string
	isDefault  bool
	// discovered is for requests to that Service.
	discovered *upstream.TransportConfig
	// declared is what the operator says about the series of hot.
	declared declaration
}

// declaration is what the operator declares about a hot tier.
type declaration struct {
	complete       bool
	externalLabels map[string]string
}

// ownTiers returns the gateway's own tiers, hot ones first.
func ownTiers(settings config.Config, access *transports) (list []ownTier) {
	defaults := config.Default()
	for i, entry := range settings.Hot.Entries() {
		key := hotKey(settings, i)
		own := ownTier{
			key: key, title: entry.Name, discovered: access.discovered[key], declared: declaration{entry.Complete, entry.ExternalLabels},
			configured: destination{
				name: tier.Hot, url: entry.URL, tenancy: entry.Tenancy, TierSettings: catalog.TierSettings{Retention: time.Duration(entry.Retention)},
				Permission: upstream.Permission{Transport: access.configured[key], Tenant: entry.Tenant},
			},
		}
		switch {
		case entry.Service != config.ServiceConfig{}:
			own.reference, own.serviceKey = referenceOf(entry.Service), key+".service"
		case entry.URL == "":
			own.reference, own.serviceKey = referenceOf(settings.Discovery.Hot), "discovery.hot"
			own.isDefault = settings.Discovery.Hot == defaults.Discovery.Hot
		}
		if base, err := url.Parse(entry.URL); err == nil && own.title == "" {
			own.title = base.Host
		}
		list = append(list, own)
	}
	cold := ownTier{
		key: "cold", discovered: access.discovered["cold"],
		configured: destination{
			name: tier.Cold, url: settings.Cold.URL, tenancy: settings.Cold.Tenancy, TierSettings: catalog.TierSettings{Lag: time.Duration(settings.Cold.Lag)},
			Permission: upstream.Permission{Transport: access.configured["cold"]},
		},
	}
	if settings.Cold.URL == "" || settings.Cold.URL == defaults.Cold.URL {
		cold.reference, cold.serviceKey = referenceOf(settings.Discovery.Cold), "discovery.cold"
		cold.isDefault = settings.Discovery.Cold == defaults.Discovery.Cold
	}
	return append(list, cold)
}

// hotKey returns the key of an entry of hot in the configuration.
func hotKey(settings config.Config, i int) string {
	if settings.Hot.List == nil {
		return "hot"
	}
	return fmt.Sprintf("hot[%d]", i)
}

func referenceOf(service config.ServiceConfig) discovery.Reference {
	return discovery.Reference(service)
}

// isDiscovered reports whether discovery has to find the tier, because its URL is not configured
// or is the default.
func (r *Resolver) isDiscovered(own ownTier) bool {
	return r.discovery != nil && own.reference != discovery.Reference{}
}

// isDefault reports whether a reference is the default Service of a tier.
func (r *Resolver) isDefault(reference discovery.Reference) bool {
	return slices.ContainsFunc(r.own, func(own ownTier) bool { return own.isDefault && own.reference == reference })
}

// ownLocations returns the locations of the gateway's own tiers with a name. A selector may lead
// to several Services, or to none.
func (r *Resolver) ownLocations(name tier.Name) (list []location) {
	for _, own := range r.own {
		if own.configured.name == name {
			list = append(list, r.locationsOf(own)...)
		}
	}
	return list
}

// ownLocationsNamed returns the locations of the gateway's own hot tiers with a name.
func (r *Resolver) ownLocationsNamed(title string) (list []location) {
	for _, own := range r.own {
		for _, at := range r.locationsOf(own) {
			if own.configured.name == tier.Hot && (own.title == title || at.title == title) {
				list = append(list, at)
			}
		}
	}
	return list
}

// ownNames lists the names of the gateway's own hot tiers.
func (r *Resolver) ownNames() string {
	var names []string
	for _, own := range r.own {
		if own.configured.name == tier.Hot && own.title != "" {
			names = append(names, own.title)
		}
	}
	return cmp.Or(strings.Join(names, ", "), "those of the datasource, with url or service")
}

// coldLocation returns the location of cold.
func (r *Resolver) coldLocation() location { return r.ownLocations(tier.Cold)[0] }

// locationsOf returns the locations of one of the gateway's own tiers: from the configuration,
// from discovery, or the default URL, in this order.
func (r *Resolver) locationsOf(own ownTier) []location {
	if !r.isDiscovered(own) {
		return []location{own.location()}
	}
	if own.configured.name == tier.Cold || own.reference.Selector == "" {
		return []location{r.discoveredLocation(own, own.reference)}
	}
	found := r.discovery.ResolveAll(own.reference)
	if len(found.Services) == 0 {
		at := own.location()
		at.service = &discovery.Service{State: found.State, Message: found.Message, Stale: found.Stale}
		at.reference, at.destination.service, at.missing = own.reference, own.reference.String(), found.Message
		return []location{at}
	}
	list := make([]location, 0, len(found.Services))
	for _, reference := range found.Services {
		list = append(list, r.discoveredLocation(own, reference))
	}
	if first := &list[0]; first.service.Message == "" && found.Message != "" {
		service := *first.service
		service.Message, first.service = found.Message, &service // What is left out has no location.
	}
	return list
}

// location returns the location of a tier with a URL.
func (o ownTier) location() location {
	return location{destination: o.configured, title: o.title, isOwn: true, declared: o.declared, use: tierUse{isGateway: true}}
}

// discoveredLocation returns the location of a tier that is a Service.
func (r *Resolver) discoveredLocation(own ownTier, reference discovery.Reference) location {
	at := own.location()
	service := r.discovery.Resolve(reference)
	at.service, at.reference, at.title = service, reference, reference.Namespace+"/"+reference.Name
	if service.URL() == "" && own.isDefault && !pending(service) {
		return at // The default Service does not exist, which is normal.
	}
	at.url, at.destination.service = service.URL(), reference.String()
	if at.url == "" {
		at.missing = service.Message
		return at
	}
	permission, err := permissionFor(service, reference.Scheme, own.discovered)
	if err != nil {
		at.url, at.missing = "", err.Error()
	}
	at.Guard, at.Transport = permission.Guard, permission.Transport
	return at
}
