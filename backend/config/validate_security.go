package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/common/model"
)

// validateSecurity checks the settings for callers, credentials and confinement.
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
			add(key, destination.validate())
		}
		if destination.HTTPConfig.usesProxy() {
			// The proxy resolves the host name, so tierproxy cannot check the address.
			add(key+".http_config", errors.New("proxy_url and proxy_from_environment are for hot, cold and perses.service only: tierproxy connects to destinations of datasources without a proxy, so that it can check their addresses"))
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
	root := c.DefaultDatasource
	add("default_datasource.token_file", absolute(root.TokenFile))
	add("admin.token_file", absolute(c.Admin.TokenFile))
	if root.Enabled && c.Perses.URL != "" && root.TokenFile == "" && len(root.ClientNames) == 0 {
		add("default_datasource.enabled", errors.New("with Perses, the default datasource requires token_file or client_names: Perses does not check its callers, and any datasource can direct Perses to it"))
	}
	service := c.Perses.Service
	add("perses.service.http_config", service.HTTPConfig.validate())
	if service.HTTPConfig == nil && len(service.ClientNames) == 0 && len(service.Datasources) == 0 {
		return
	}
	if c.Perses.URL == "" {
		add("perses.service", errors.New("has no effect without perses.url"))
	}
	if service.HTTPConfig.validate() == nil && !service.HTTPConfig.holdsSecrets() {
		add("perses.service.http_config", errors.New("has no credential: set basic_auth, authorization or oauth2"))
	}
	if len(service.ClientNames) == 0 {
		add("perses.service.client_names", errors.New("is empty: list the names in the client certificate of Perses, so that no other client can use this credential"))
	}
	if len(service.Datasources) == 0 {
		add("perses.service.datasources", errors.New("is empty: list the datasources to look up with this credential"))
	}
	for i, datasource := range service.Datasources {
		add(fmt.Sprintf("perses.service.datasources[%d]", i), validReference(datasource.Project, datasource.Name))
	}
}

func (c *Config) validateEnforcement(add func(key string, err error)) {
	add("enforcement", validLabel(c.Enforcement.Label))
	if answer := c.Enforcement.OnConflict; answer != ConflictEmpty && answer != ConflictError {
		add("enforcement", fmt.Errorf("%q is neither %s nor %s", answer, ConflictEmpty, ConflictError))
	}
	// A rule needs namespaces or an explicit exemption, so that an incomplete entry does
	// not allow every namespace.
	rule := func(key, label string, namespaces []string, all bool) {
		switch {
		case all && len(namespaces) > 0:
			add(key, errors.New("set either namespaces or all_namespaces, not both"))
		case all:
		case len(namespaces) == 0:
			add(key+".namespaces", errors.New("is empty: list the allowed namespaces, or set all_namespaces to true"))
		default:
			add(key, errors.Join(validLabel(label), validValues(namespaces)))
		}
	}
	seenProjects := map[string]bool{}
	for i, project := range c.Projects {
		key := fmt.Sprintf("projects[%d]", i)
		if !IsPersesName(project.Name) {
			add(key+".name", fmt.Errorf("%q is not the name of a Perses project", project.Name))
			continue
		}
		if seenProjects[project.Name] {
			add(key+".name", fmt.Errorf("project %q is listed twice", project.Name))
		}
		seenProjects[project.Name] = true
		rule(key, "namespace", project.Namespaces, project.AllNamespaces)
	}
	seen := map[ServedDatasource]bool{}
	for i, datasource := range c.Enforcement.Datasources {
		key := fmt.Sprintf("enforcement.datasources[%d]", i)
		reference := ServedDatasource{Project: datasource.Project, Name: datasource.Name}
		if err := validReference(datasource.Project, datasource.Name); err != nil {
			add(key, err)
			continue
		}
		if seen[reference] {
			add(key, fmt.Errorf("%s is listed twice", reference.describe()))
		}
		seen[reference] = true
		rule(key, cmp.Or(datasource.Label, "namespace"), datasource.Namespaces, datasource.AllNamespaces)
	}
	if len(c.DefaultDatasource.Namespaces) > 0 {
		rule("default_datasource.namespaces", "namespace", c.DefaultDatasource.Namespaces, false)
	}
}

// describe returns the datasource's name for error messages.
func (d ServedDatasource) describe() string {
	if d.Project == "" {
		return fmt.Sprintf("global datasource %q", d.Name)
	}
	return fmt.Sprintf("datasource %q of project %q", d.Name, d.Project)
}

// validReference checks the names of a saved datasource; project is empty for a
// global one.
func validReference(project, name string) error {
	for _, part := range []string{name, project} {
		if (part != "" || name == "") && !IsPersesName(part) {
			return fmt.Errorf("%q cannot be the name of a datasource, dashboard or project: Perses names have 1 to 75 letters, digits, '_', '.' and '-'", part)
		}
	}
	return nil
}

func validLabel(name string) error {
	if !model.UTF8Validation.IsValidLabelName(name) || name == model.MetricNameLabel {
		return fmt.Errorf("%q is not a label name that can confine requests", name)
	}
	return nil
}

func validValues(values []string) error {
	var errs []error
	for _, value := range values {
		// An empty value matches all series without the label.
		if value == "" || !utf8.ValidString(value) {
			errs = append(errs, fmt.Errorf("%q is not a label value that can confine requests", value))
		}
	}
	return errors.Join(errs...)
}

// validate returns an error for a destination that can never match, or whose
// credential would go to more than one server.
func (d DestinationConfig) validate() error {
	var errs []error
	name := strings.TrimPrefix(d.Host, "*.")
	if _, err := netip.ParseAddr(d.Host); err != nil && (name == "" || strings.ContainsAny(name, "*/:@ []?#%\\")) {
		errs = append(errs, fmt.Errorf("%q is not a host: write a host name, an IP address without brackets, or *.DOMAIN", d.Host))
	}
	if d.Port < 0 || d.Port > 65535 {
		errs = append(errs, fmt.Errorf("the port %d is not from 1 to 65535, or 0 for every port", d.Port))
	}
	if d.Scheme != "" && d.Scheme != "http" && d.Scheme != "https" {
		errs = append(errs, fmt.Errorf("the scheme %q is neither http nor https", d.Scheme))
	}
	if isPlain := path.Clean(d.PathPrefix) == cmp.Or(strings.TrimSuffix(d.PathPrefix, "/"), "/"); d.PathPrefix != "" &&
		(!isPlain || !strings.HasPrefix(d.PathPrefix, "/") || strings.Contains(d.PathPrefix, "//") || strings.ContainsAny(d.PathPrefix, "%\\\x00?#;")) {
		errs = append(errs, fmt.Errorf("the path_prefix %q is not a plain path: start it with a slash, without empty, '.' or '..' segments and escapes", d.PathPrefix))
	}
	if d.HTTPConfig.holdsSecrets() && (d.Port == 0 || strings.HasPrefix(d.Host, "*")) {
		errs = append(errs, errors.New("a credential goes to one server only: set a port, and a host without *"))
	}
	return errors.Join(errs...)
}

func absolute(file string) error {
	if file != "" && !filepath.IsAbs(file) {
		return fmt.Errorf("%q is not an absolute path", file)
	}
	return nil
}
