package datasource

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"

	"github.com/nexucis/lamenv"
	promconfig "github.com/prometheus/common/config"
	"gopkg.in/yaml.v3"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// HTTPConfig is the credential for a destination and how its certificate is
// verified, in the standard form of Prometheus' http_config: basic_auth,
// authorization, oauth2, tls_config, proxy_url, http_headers. Files are read
// anew when they are needed. Redirects are never followed. It never shows its
// secrets, however it is printed.
type HTTPConfig struct {
	promconfig.HTTPClientConfig
}

// plainHTTPConfig is the same without the methods of Prometheus.
type plainHTTPConfig promconfig.HTTPClientConfig

// quotedValue is a value in an error of the YAML decoder.
var quotedValue = regexp.MustCompile("`[^`]*`")

// UnmarshalYAML reads what stands in the file. Its error has the form that lets
// the decoder go on and list the other mistakes too, and repeats no value: it
// could be a secret in the wrong place.
func (c *HTTPConfig) UnmarshalYAML(unmarshal func(any) error) error {
	c.HTTPClientConfig = promconfig.DefaultHTTPClientConfig
	err := unmarshal((*plainHTTPConfig)(&c.HTTPClientConfig))
	if err == nil {
		return nil
	}
	mistakes := []string{err.Error()}
	var typeError *yaml.TypeError
	if errors.As(err, &typeError) {
		mistakes = typeError.Errors
	}
	hidden := make([]string, 0, len(mistakes))
	for _, mistake := range mistakes {
		hidden = append(hidden, "http_config: "+quotedValue.ReplaceAllString(mistake, "a value"))
	}
	return &yaml.TypeError{Errors: hidden}
}

// UnmarshalEnv reads environment variables with the given parts in their names.
func (c *HTTPConfig) UnmarshalEnv(parts []string) error {
	if reflect.ValueOf(c.HTTPClientConfig).IsZero() {
		c.HTTPClientConfig = promconfig.DefaultHTTPClientConfig
	}
	return lamenv.Unmarshal(&c.HTTPClientConfig, parts)
}

// MarshalYAML writes what can be read in again, with <secret> in the place of
// secrets.
func (c HTTPConfig) MarshalYAML() (any, error) { return c.HTTPClientConfig, nil }

// Format implements fmt.Formatter: secrets are not printed, whatever the verb.
func (c HTTPConfig) Format(state fmt.State, _ rune) {
	text, err := yaml.Marshal(c.HTTPClientConfig) //nolint:gosec // It writes <secret> in their place, which a test holds it to.
	if err != nil {
		text = []byte("http_config")
	}
	_, _ = fmt.Fprintf(state, "{%s}", text) // The state of a printer never fails.
}

// validate returns what is wrong, or nil for no configuration at all.
func (c *HTTPConfig) validate() error {
	return upstream.CheckTransportConfig(c.client())
}

// client returns the configuration as Prometheus has it; nil where there is
// none.
func (c *HTTPConfig) client() *promconfig.HTTPClientConfig {
	if c == nil {
		return nil
	}
	return &c.HTTPClientConfig
}

// TenancyConfig is for a tier that wants to be told in the URL whose data is
// asked for, as the tenancy ports (9092) of OpenShift's monitoring do. Only
// requests that are confined to namespaces are sent to such a tier.
type TenancyConfig struct {
	// Parameter is the name of the URL parameter that gets the namespaces of a
	// request, such as namespace. Empty: the tier is an ordinary one.
	Parameter string `yaml:"parameter"`
	// ProbeNamespace is the namespace that the gateway's own probes ask for. The
	// gateway needs the right to read metrics there.
	ProbeNamespace string `yaml:"probe_namespace"`
}

// PersesServiceConfig is a credential of tierproxy's own for Perses. It is
// used where the headers Authorization and Cookie do not arrive. Perses alone
// then decides who may ask, so it is used only on connections on which Perses
// shows a client certificate (--web.tls-client-ca-file), and only for the
// datasources that are listed.
type PersesServiceConfig struct {
	// HTTPConfig holds the credential, in the form of Prometheus' http_config.
	HTTPConfig *HTTPConfig `yaml:"http_config,omitempty"`
	// ClientNames are the DNS names or URIs of the client certificates that
	// Perses shows.
	ClientNames []string `yaml:"client_names,omitempty"`
	// Datasources are the only ones that are looked up with this credential.
	Datasources []ServedDatasource `yaml:"datasources,omitempty"`
}

// ServedDatasource names a datasource that is looked up with the credential of
// the gateway.
type ServedDatasource struct {
	// Project is the Perses project of the datasource. Empty: a global one.
	Project string `yaml:"project"`
	// Name is the name of the datasource.
	Name string `yaml:"name"`
}

// reference is the same name as Perses has it.
func (d ServedDatasource) reference() perses.Reference {
	return perses.Reference{Project: d.Project, Name: d.Name}
}

// DefaultDatasourceConfig says who may ask the default datasource, the one at
// the root, whose callers Perses does not check.
type DefaultDatasourceConfig struct {
	// Enabled serves the default datasource although Perses is configured. It
	// takes token_file or client_names. Without Perses it is served anyway.
	Enabled bool `yaml:"enabled"`
	// TokenFile is the absolute path of a file with a bearer token that callers
	// have to send. It is read for every request. Empty: no token is accepted.
	TokenFile string `yaml:"token_file"`
	// ClientNames are the DNS names or URIs of client certificates
	// (--web.tls-client-ca-file) that may ask. Do not list those that Perses
	// shows: a datasource can lead Perses here.
	ClientNames []string `yaml:"client_names,omitempty"`
	// Namespaces are those that the default datasource is confined to. Empty:
	// it is not confined.
	Namespaces []string `yaml:"namespaces,omitempty"`
}

// AdminConfig says who may ask for /metrics and, on the admin address
// (--web.admin-address), for everything else there but /-/healthy.
type AdminConfig struct {
	// TokenFile is the absolute path of a file with a bearer token that callers
	// have to send. It is read for every request; while it cannot be read, nobody
	// is let in. Empty: whoever reaches the address is. Set it where Perses runs
	// in the same pod: any datasource can lead Perses to the addresses of its
	// pod.
	TokenFile string `yaml:"token_file"`
}

// EnforcementConfig confines datasources to namespaces.
type EnforcementConfig struct {
	// Label is the label by which series belong to a namespace.
	Label string `yaml:"label"`
	// OnConflict says what a query gets that names a namespace which it may not
	// read: empty, as if nothing were there, or error.
	OnConflict string `yaml:"on_conflict"`
	// ProjectIsNamespace confines the datasources of every project that is not
	// listed under projects to the namespace with the name of the project, and
	// lets them use the gateway's own tiers. Whoever may create a project in
	// Perses may then read the namespace of that name.
	ProjectIsNamespace bool `yaml:"project_is_namespace"`
	// Datasources are rules for single datasources; they win over those of
	// their project. Once projects are confined, a global datasource is served
	// only if it is listed here.
	Datasources []ConfinedDatasource `yaml:"datasources,omitempty"`
}

// ConfinedDatasource is the rule for one datasource.
type ConfinedDatasource struct {
	// Project is the Perses project of the datasource. Empty: a global one.
	Project string `yaml:"project"`
	// Name is the name of the datasource.
	Name string `yaml:"name"`
	// Label is the label of this rule. Empty: enforcement.label.
	Label string `yaml:"label"`
	// Namespaces are the values that the label may have.
	Namespaces []string `yaml:"namespaces,omitempty"`
	// AllNamespaces exempts the datasource: everybody who may read it in Perses
	// sees everything.
	AllNamespaces bool `yaml:"all_namespaces"`
}
