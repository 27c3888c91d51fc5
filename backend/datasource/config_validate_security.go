package datasource

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/enforcement"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// validateSecurity checks what says who may ask, whose credential goes out and
// who sees what.
func (c *Config) validateSecurity(add func(key string, err error)) {
	add("hot.http_config", c.Hot.HTTPConfig.validate())
	add("cold.http_config", c.Cold.HTTPConfig.validate())
	add("hot.tenancy", c.Hot.Tenancy.validate())
	add("cold.tenancy", c.Cold.Tenancy.validate())
	add("hot.tenant", validTenant(c.Hot.Tenant))
	for i, destination := range c.Destinations {
		key := fmt.Sprintf("destinations[%d]", i)
		add(key+".http_config", destination.HTTPConfig.validate())
		add(key+".tenant", validTenant(destination.Tenant))
		if destination.HTTPConfig.validate() == nil {
			add(key, destination.destination(upstream.DescribeTransportConfig(destination.HTTPConfig.client())).Validate())
		}
		if upstream.DescribeTransportConfig(destination.HTTPConfig.client()).UsesProxy() {
			// The addresses that no datasource may lead to cannot be told from others:
			// it is the proxy that resolves the name and connects.
			add(key+".http_config", errors.New("proxy_url and proxy_from_environment are for hot, cold and perses.service: what a datasource names is called without a proxy, so that the address it leads to is checked"))
		}
	}
	c.validateCallers(add)
	c.validateEnforcement(add)
}

// validTenant checks the name of one tenant.
func validTenant(tenant string) error {
	if strings.Contains(tenant, "|") || tenant != strings.TrimSpace(tenant) {
		return fmt.Errorf("%q is not the name of one tenant: write it without '|' and without spaces around it", tenant)
	}
	return nil
}

func (t TenancyConfig) validate() error {
	if (t.Parameter == "") != (t.ProbeNamespace == "") {
		return errors.New("set both parameter and probe_namespace, or neither")
	}
	return nil
}

func (c *Config) validateCallers(add func(key string, err error)) {
	own := c.DefaultDatasource
	add("default_datasource.token_file", absolute(own.TokenFile))
	add("admin.token_file", absolute(c.Admin.TokenFile))
	if own.Enabled && c.Perses.URL != "" && own.TokenFile == "" && len(own.ClientNames) == 0 {
		add("default_datasource.enabled", errors.New("with Perses the default datasource takes token_file or client_names: Perses does not check its callers, and any datasource can lead Perses to it"))
	}
	service := c.Perses.Service
	add("perses.service.http_config", service.HTTPConfig.validate())
	if service.HTTPConfig == nil && len(service.ClientNames) == 0 && len(service.Datasources) == 0 {
		return
	}
	if c.Perses.URL == "" {
		add("perses.service", errors.New("has no effect without perses.url"))
	}
	if service.HTTPConfig.validate() == nil && !upstream.DescribeTransportConfig(service.HTTPConfig.client()).HoldsSecrets() {
		add("perses.service.http_config", errors.New("names no credential: set basic_auth, authorization or oauth2"))
	}
	if len(service.ClientNames) == 0 {
		add("perses.service.client_names", errors.New("is empty: list the names in the client certificate that Perses shows, so that nobody else can use this credential"))
	}
	if len(service.Datasources) == 0 {
		add("perses.service.datasources", errors.New("is empty: list the datasources that this credential is good for"))
	}
	for i, each := range service.Datasources {
		add(fmt.Sprintf("perses.service.datasources[%d]", i), each.reference().Validate())
	}
}

func (c *Config) validateEnforcement(add func(key string, err error)) {
	onConflict := enforcement.OnConflict(c.Enforcement.OnConflict)
	_, err := enforcement.New(c.Enforcement.Label, []string{"any"}, onConflict)
	add("enforcement", err)
	if err != nil {
		onConflict = enforcement.ConflictEmpty // Said once.
	}
	// A rule is a list of namespaces, or an explicit exemption: an entry that
	// was left half-written must not open everything.
	rule := func(key, label string, namespaces []string, all bool) {
		switch {
		case all && len(namespaces) > 0:
			add(key, errors.New("set either namespaces or all_namespaces, not both"))
		case all:
		case len(namespaces) == 0:
			add(key+".namespaces", errors.New("is empty: list the namespaces that are seen, or set all_namespaces to true"))
		default:
			_, err := enforcement.New(label, namespaces, onConflict)
			add(key, err)
		}
	}
	seenProjects := map[string]bool{}
	for i, project := range c.Projects {
		key := fmt.Sprintf("projects[%d]", i)
		if !projectName.MatchString(project.Name) {
			add(key+".name", fmt.Errorf("%q is not the name of a Perses project", project.Name))
			continue
		}
		if seenProjects[project.Name] {
			add(key+".name", fmt.Errorf("project %q is listed twice", project.Name))
		}
		seenProjects[project.Name] = true
		rule(key, "namespace", project.Namespaces, project.AllNamespaces)
	}
	seen := map[perses.Reference]bool{}
	for i, each := range c.Enforcement.Datasources {
		key := fmt.Sprintf("enforcement.datasources[%d]", i)
		reference := perses.Reference{Project: each.Project, Name: each.Name}
		if err := reference.Validate(); err != nil {
			add(key, err)
			continue
		}
		if seen[reference] {
			add(key, fmt.Errorf("%s is listed twice", reference))
		}
		seen[reference] = true
		rule(key, firstOf(each.Label, "namespace"), each.Namespaces, each.AllNamespaces)
	}
	if len(c.DefaultDatasource.Namespaces) > 0 {
		rule("default_datasource.namespaces", "namespace", c.DefaultDatasource.Namespaces, false)
	}
}

// firstOf returns the first text that is not empty.
func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

func absolute(path string) error {
	if path != "" && !filepath.IsAbs(path) {
		return fmt.Errorf("%q is not an absolute path", path)
	}
	return nil
}
