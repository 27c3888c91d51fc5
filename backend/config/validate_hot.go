package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// maxHotTiers is the maximum number of tiers in the list of hot.
const maxHotTiers = 200

// EntryName returns the name by which datasources refer to a hot tier: the configured
// name, the host and port of the URL, or namespace/name of the Service. It is empty for
// a tier that discovery has to find, and for a selector, whose Services have names of
// their own.
func (c *HotConfig) EntryName() string {
	switch service := c.Service; {
	case c.Name != "":
		return c.Name
	case c.URL != "":
		parsed, err := url.Parse(c.URL)
		if err != nil || parsed.Host == "" {
			return ""
		}
		return hostPort(parsed)
	case service.Selector == "" && service.Name != "":
		return service.Namespace + "/" + service.Name
	default:
		return ""
	}
}

// hostPort returns the host and port of a URL. The port of a URL without one is that of
// its scheme.
func hostPort(address *url.URL) string {
	port := address.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[address.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(address.Hostname()), port)
}

// validateHot checks the hot tiers, each by itself and all together.
func (c *Config) validateHot(m *mistakes) {
	if c.Hot.List == nil {
		c.validateHotTier("hot", &c.Hot, m)
		return
	}
	m.addIf(len(c.Hot.List) == 0, "hot", "is an empty list: list at least one tier, or remove the key")
	m.addIf(len(c.Hot.List) > maxHotTiers, "hot", "lists %d tiers, and must list at most %d", len(c.Hot.List), maxHotTiers)
	single := c.Hot
	single.List = nil
	m.addIf(!reflect.ValueOf(single).IsZero(), "hot", "is a list, but also has the settings of one tier: move them into the list")
	names, addresses := map[string]string{}, map[hotAddress]string{}
	for i := range c.Hot.List {
		entry, key := &c.Hot.List[i], fmt.Sprintf("hot[%d]", i)
		m.addIf(entry.List != nil, key, "is a list in a list: write one list")
		m.addIf(entry.URL == "" && entry.Service == ServiceConfig{}, key, "set url or service")
		c.validateHotTier(key, entry, m)
		address := entry.address()
		if other, isTwice := addresses[address]; isTwice && address != (hotAddress{}) {
			m.addIf(entry.URL != "", key+".url", "is the URL of %s too, with the same tenant: remove one of them", other)
			m.addIf(entry.URL == "", key+".service", "is the Service of %s too, with the same tenant: remove one of them", other)
			continue
		}
		name := entry.EntryName()
		if other, isTwice := names[name]; isTwice && name != "" {
			m.addIf(true, key+".name", "%q is also the name of %s: set another name", name, other)
		}
		addresses[address], names[name] = key, key
	}
}

// validateHotTier checks one hot tier.
func (c *Config) validateHotTier(key string, entry *HotConfig, m *mistakes) {
	m.add(key+".name", validTierName(entry.Name))
	m.add(key+".url", validHotURL(entry.URL))
	if entry.Service != (ServiceConfig{}) {
		m.addIf(entry.URL != "", key, "set either url or service, not both")
		m.addIf(!c.Discovery.Enabled, key+".service", "has no effect without discovery.enabled")
		entry.Service.validate(key+".service", m)
	}
	m.addIf(entry.Retention < 0, key+".retention", "must not be negative")
	m.add(key+".http_config", entry.HTTPConfig.validate())
	m.add(key+".tenancy", entry.Tenancy.validate())
	m.add(key+".tenant", validTenant(entry.Tenant))
}

// validTierName checks the name of a tier. An empty one is valid.
func validTierName(name string) error {
	if name == "" || isPersesName(name) || len(validation.IsDNS1123Subdomain(name)) == 0 {
		return nil
	}
	return fmt.Errorf("%q is not the name of a tier: write 1 to 75 letters, digits, '_', '.' and '-', or a DNS name", name)
}

// validHotURL checks the base URL of one hot tier. An empty URL is valid.
func validHotURL(text string) error {
	if len(splitURLs(text)) > 1 {
		return errors.New("has several URLs: write hot as a list, with one URL in each entry")
	}
	return validURL(text)
}

// hotAddress tells hot tiers apart. The tenant is part of it: one URL may serve several.
type hotAddress struct {
	url, tenant string
	service     ServiceConfig
}

// address returns what tells the tier apart from others. It is empty if the tier has
// neither a valid URL nor a Service.
func (c *HotConfig) address() hotAddress {
	parsed, err := url.Parse(c.URL)
	switch {
	case c.URL == "" && c.Service != ServiceConfig{}:
		return hotAddress{tenant: c.Tenant, service: c.Service}
	case err != nil || parsed.Host == "":
		return hotAddress{}
	default:
		return hotAddress{tenant: c.Tenant, url: parsed.Scheme + "://" + hostPort(parsed) + strings.TrimRight(parsed.EscapedPath(), "/")}
	}
}

// hasTier reports whether the configuration names a hot tier by URL or Service.
func (c *HotConfig) hasTier() bool {
	return slices.ContainsFunc(c.Entries(), func(entry HotConfig) bool {
		return entry.URL != "" || entry.Service != ServiceConfig{}
	})
}
