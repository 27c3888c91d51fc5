package config

// PersesServiceConfig is tierproxy's own credential for Perses. Use it if the headers
// Authorization and Cookie do not reach tierproxy. Perses alone then checks the caller.
// Therefore tierproxy uses the credential only for the listed datasources, and only on
// connections with a client certificate of Perses (--web.tls-client-ca-file).
type PersesServiceConfig struct {
	// HTTPConfig is the credential, in the format of Prometheus' http_config.
	HTTPConfig *HTTPConfig `yaml:"http_config,omitempty"`
	// ClientNames are the DNS names or URIs in the client certificate of Perses.
	ClientNames []string `yaml:"client_names,omitempty"`
	// Datasources are the datasources that tierproxy looks up with this credential. For
	// all others it uses the caller's credential.
	Datasources []ServedDatasource `yaml:"datasources,omitempty"`
}

// ServedDatasource is a datasource that tierproxy looks up with its own credential.
type ServedDatasource struct {
	// Project is the Perses project of the datasource. Empty: a global datasource.
	Project string `yaml:"project"`
	// Name is the name of the datasource.
	Name string `yaml:"name"`
}

// DefaultDatasourceConfig configures who may query the default datasource, which is
// served at the root. Perses does not check its callers.
type DefaultDatasourceConfig struct {
	// Enabled serves the default datasource even if Perses is configured. It requires
	// token_file or client_names. Without Perses, tierproxy always serves it.
	Enabled bool `yaml:"enabled"`
	// TokenFile is the absolute path of a file with the bearer token that callers send.
	// tierproxy reads it for every request. Empty: tierproxy accepts no token.
	TokenFile string `yaml:"token_file"`
	// ClientNames are the DNS names or URIs in the client certificates of callers
	// (--web.tls-client-ca-file). Do not list the certificate of Perses: any
	// datasource can direct Perses to this address.
	ClientNames []string `yaml:"client_names,omitempty"`
	// Namespaces are the namespaces that the default datasource may read. Empty: all.
	Namespaces []string `yaml:"namespaces,omitempty"`
}

// AdminConfig configures who may read /metrics and use the admin address
// (--web.admin-address). /-/healthy is open to every caller.
type AdminConfig struct {
	// TokenFile is the absolute path of a file with the bearer token that callers send.
	// tierproxy reads it for every request, and rejects all callers while it cannot.
	// Empty: every caller that reaches the address is allowed. Set it if Perses runs in
	// the same pod, because any datasource can direct Perses to the addresses of its
	// pod.
	TokenFile string `yaml:"token_file"`
}

// The values of EnforcementConfig.OnConflict.
const (
	// ConflictEmpty answers as if no series matched.
	ConflictEmpty = "empty"
	// ConflictError rejects the query with status 403.
	ConflictError = "error"
)

// EnforcementConfig confines datasources to namespaces.
type EnforcementConfig struct {
	// Label is the label that holds the namespace of a series.
	Label string `yaml:"label"`
	// OnConflict is the answer to a query that names a namespace it may not read: empty
	// (no series match) or error (status 403).
	OnConflict string `yaml:"on_conflict"`
	// ProjectIsNamespace confines every project that projects does not list to the
	// namespace of the same name, and lets its datasources use the gateway's own tiers.
	// Anyone who may create a project in Perses can then read the namespace of that
	// name.
	ProjectIsNamespace bool `yaml:"project_is_namespace"`
	// Datasources are rules for single datasources. They override the rule of the
	// project. If any project is confined, tierproxy serves a global datasource only if
	// it is listed here.
	Datasources []ConfinedDatasource `yaml:"datasources,omitempty"`
}

// ConfinedDatasource is the rule for one datasource.
type ConfinedDatasource struct {
	// Project is the Perses project of the datasource. Empty: a global datasource.
	Project string `yaml:"project"`
	// Name is the name of the datasource.
	Name string `yaml:"name"`
	// Label is the label of this rule. Empty: enforcement.label.
	Label string `yaml:"label"`
	// Namespaces are the allowed values of the label.
	Namespaces []string `yaml:"namespaces,omitempty"`
	// AllNamespaces exempts the datasource: anyone who may read it in Perses sees every
	// namespace.
	AllNamespaces bool `yaml:"all_namespaces"`
}
