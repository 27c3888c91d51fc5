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
func (c *Config) validateSecurity(m *mistakes) {
	m.add("cold.http_config", c.Cold.HTTPConfig.validate())
	m.add("cold.tenancy", c.Cold.Tenancy.validate())
	m.add("service_account.token_path", absolute(c.ServiceAccount.TokenPath))
	for i, destination := range c.Destinations {
		key := fmt.Sprintf("destinations[%d]", i)
		err := destination.HTTPConfig.validate()
		m.add(key+".http_config", err)
		m.add(key+".tenant", validTenant(destination.Tenant))
		if err == nil {
			destination.validate(key, m)
		}
		// The proxy resolves the host name, so tierproxy cannot check the address.
		m.addIf(destination.HTTPConfig.usesProxy(), key+".http_config",
			"proxy_url and proxy_from_environment are for hot, cold and perses.service only: tierproxy connects to destinations of datasources without a proxy, so that it can check their addresses")
	}
	c.validateTenantHeaders(m)
	c.validateCallers(m)
	c.validateEnforcement(m)
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

func (c *Config) validateCallers(m *mistakes) {
	root, service := c.DefaultDatasource, c.Perses.Service
	m.add("default_datasource.token_file", absolute(root.TokenFile))
	m.add("admin.token_file", absolute(c.Admin.TokenFile))
	m.addIf(root.Enabled && c.Perses.URL != "" && root.TokenFile == "" && len(root.ClientNames) == 0, "default_datasource.enabled",
		"with Perses, the default datasource requires token_file or client_names: Perses does not check its callers, and any datasource can direct Perses to it")
	err := service.HTTPConfig.validate()
	m.add("perses.service.http_config", err)
	if service.HTTPConfig == nil && len(service.ClientNames) == 0 && len(service.Datasources) == 0 {
		return
	}
	m.addIf(c.Perses.URL == "", "perses.service", "has no effect without perses.url")
	m.addIf(err == nil && !service.HTTPConfig.holdsSecrets(), "perses.service.http_config", "has no credential: set basic_auth, authorization or oauth2")
	m.addIf(len(service.ClientNames) == 0, "perses.service.client_names",
		"is empty: list the names in the client certificate of Perses, so that no other client can use this credential")
	m.addIf(len(service.Datasources) == 0, "perses.service.datasources", "is empty: list the datasources to look up with this credential")
	for i, datasource := range service.Datasources {
		m.add(fmt.Sprintf("perses.service.datasources[%d]", i), CheckPersesNames(datasource.Name, datasource.Project))
	}
}

func (c *Config) validateEnforcement(m *mistakes) {
	m.add("enforcement", validLabel(c.Enforcement.Label))
	answer := c.Enforcement.OnConflict
	m.addIf(answer != ConflictEmpty && answer != ConflictError, "enforcement", "%q is neither %s nor %s", answer, ConflictEmpty, ConflictError)
	// A rule needs namespaces or an explicit exemption, so that an incomplete entry does
	// not allow every namespace.
	rule := func(key, label string, namespaces []string, all bool) {
		m.addIf(all && len(namespaces) > 0, key, "set either namespaces or all_namespaces, not both")
		m.addIf(!all && len(namespaces) == 0, key+".namespaces", "is empty: list the allowed namespaces, or set all_namespaces to true")
		if !all && len(namespaces) > 0 {
			m.add(key, errors.Join(validLabel(label), validValues(namespaces)))
		}
	}
	seenProjects := map[string]bool{}
	for i, project := range c.Projects {
		key := fmt.Sprintf("projects[%d]", i)
		if !isPersesName(project.Name) {
			m.addIf(true, key+".name", "%q is not the name of a Perses project", project.Name)
			continue
		}
		m.addIf(seenProjects[project.Name], key+".name", "project %q is listed twice", project.Name)
		seenProjects[project.Name] = true
		rule(key, "namespace", project.Namespaces, project.AllNamespaces)
	}
	seen := map[ServedDatasource]bool{}
	for i, datasource := range c.Enforcement.Datasources {
		key := fmt.Sprintf("enforcement.datasources[%d]", i)
		reference := ServedDatasource{Project: datasource.Project, Name: datasource.Name}
		if err := CheckPersesNames(datasource.Name, datasource.Project); err != nil {
			m.add(key, err)
			continue
		}
		m.addIf(seen[reference], key, "%s is listed twice", reference.describe())
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

// validate reports what is wrong with a destination that can never match, or whose
// credential would go to more than one server.
func (d DestinationConfig) validate(key string, m *mistakes) {
	name := strings.TrimPrefix(d.Host, "*.")
	_, err := netip.ParseAddr(d.Host)
	m.addIf(err != nil && (name == "" || strings.ContainsAny(name, "*/:@ []?#%\\")), key+".host",
		"%s is not a host: write a host name, an IP address without brackets, or *.DOMAIN", shown(d.Host))
	m.addIf(d.Port < 0 || d.Port > 65535, key+".port", "%d is not from 1 to 65535, or 0 for every port", d.Port)
	m.addIf(!isScheme(d.Scheme), key+".scheme", "%q is neither http nor https", d.Scheme)
	isPlain := path.Clean(d.PathPrefix) == cmp.Or(strings.TrimSuffix(d.PathPrefix, "/"), "/")
	m.addIf(d.PathPrefix != "" && (!isPlain || !strings.HasPrefix(d.PathPrefix, "/") || strings.Contains(d.PathPrefix, "//") || strings.ContainsAny(d.PathPrefix, "%\\\x00?#;")),
		key+".path_prefix", "%q is not a plain path: start it with a slash, without empty, '.' or '..' segments and escapes", d.PathPrefix)
	m.addIf(d.HTTPConfig.holdsSecrets() && (d.Port == 0 || strings.HasPrefix(d.Host, "*")), key,
		"a credential goes to one server only: set a port, and a host without *")
}

func absolute(file string) error {
	if file != "" && !filepath.IsAbs(file) {
		return fmt.Errorf("%q is not an absolute path", file)
	}
	return nil
}
