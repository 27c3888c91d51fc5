package config

// HotConfig is the gateway's own hot tier, or the list of its hot tiers.
type HotConfig struct {
	// Name is the name by which datasources refer to this tier. Empty: the host and
	// port of the URL, or namespace/name of the Service.
	Name string `yaml:"name"`
	// URL is the base URL of the Prometheus API. The variable takes several URLs,
	// separated by commas. Empty: tierproxy uses the Service, or the tier that discovery
	// finds, if any.
	URL string `yaml:"url" contract:"PROMETHEUS_URL"`
	// Service is the Service of this tier in the cluster of the gateway, in place of a
	// URL. It overrides discovery.hot.
	Service ServiceConfig `yaml:"service,omitempty"`
	// Retention limits how far back tierproxy queries hot. tierproxy measures where
	// hot's data really starts, and uses the later of both. It does not replace that
	// measurement, with one exception: if hot has no series to follow, but reports when
	// it was started, its coverage starts there, and at most this long ago. 0s: no limit,
	// and such a tier is not used.
	Retention Duration `yaml:"retention"`
	// ExternalLabels are the external labels of this Prometheus, including replica
	// labels. Write a map in the file, and cluster="lab",region="eu" in the variable.
	// Empty: tierproxy reads them from the tier.
	ExternalLabels LabelSet `yaml:"external_labels,omitempty"`
	// Complete declares that hot has every series that a query can match. Without it,
	// tierproxy compares the series of both tiers to find out.
	Complete bool `yaml:"complete"`
	// HTTPConfig is the credential and the TLS configuration for the tier, in the
	// format of Prometheus' http_config.
	HTTPConfig *HTTPConfig `yaml:"http_config,omitempty"`
	// Tenancy is for a tier that takes namespaces as a URL parameter.
	Tenancy TenancyConfig `yaml:"tenancy"`
	// Tenant is the tenant that the data of this tier belongs to. A datasource with a
	// tenant header (X-Scope-OrgID, THANOS-TENANT, tenant_headers) uses hot only if the header has
	// this value; otherwise it uses cold alone. Empty: no such datasource uses hot.
	Tenant string `yaml:"tenant"`
	// List are the hot tiers, if the configuration has a list of them. All other fields
	// are then empty. The entries have no list of their own. Nil: one hot tier.
	List []HotConfig `yaml:"-"`
}

// Entries returns the hot tiers: those of the list, or the single one, which may have
// neither a URL nor a Service.
func (c *HotConfig) Entries() []HotConfig {
	if c.List != nil {
		return c.List
	}
	return []HotConfig{*c}
}

// ColdConfig is the gateway's own cold tier.
type ColdConfig struct {
	// URL is the base URL of the Prometheus API. Empty, or equal to its default:
	// tierproxy uses the tier that discovery finds, if any.
	URL string `yaml:"url" contract:"THANOS_QUERIER_URL"`
	// Lag is how far the newest data of the tier is behind the present. If tierproxy
	// can measure the lag, it uses the longer of both. Nothing newer is cached.
	Lag Duration `yaml:"lag"`
	// ReplicaLabels are labels that the tier removes by deduplication, in addition to
	// the replica labels that the tier reports.
	ReplicaLabels []string `yaml:"replica_labels,omitempty"`
	// HTTPConfig is the credential and the TLS configuration for the tier, in the
	// format of Prometheus' http_config.
	HTTPConfig *HTTPConfig `yaml:"http_config,omitempty"`
	// Tenancy is for a tier that takes namespaces as a URL parameter.
	Tenancy TenancyConfig `yaml:"tenancy"`
}

// DestinationConfig is one host that datasources may name as a tier.
type DestinationConfig struct {
	// Host is a host name, an IP address without brackets, or *.DOMAIN for all
	// hosts below a domain.
	Host string `yaml:"host"`
	// Port is the allowed port. 0: every port.
	Port int `yaml:"port"`
	// Scheme is http or https. Empty: both, but tierproxy sends a credential over
	// https only.
	Scheme string `yaml:"scheme"`
	// PathPrefix is a path prefix of the allowed URLs, such as /select/0/prometheus.
	// It matches whole path segments. Empty: every path. If the server selects the
	// tenant by the path, set it: otherwise the credential gives access to every tenant
	// that it is valid for.
	PathPrefix string `yaml:"path_prefix"`
	// HTTPConfig is the credential and the TLS configuration for the host, in the
	// format of Prometheus' http_config without a proxy. tierproxy uses it for global
	// datasources and those of listed projects. A credential requires a port and a host
	// without *.
	HTTPConfig *HTTPConfig `yaml:"http_config,omitempty"`
	// Tenant is the tenant that the data of this host belongs to. A datasource with a
	// tenant header uses a hot tier on this host only if the header has this value.
	// Empty: no such datasource uses a hot tier on this host.
	Tenant string `yaml:"tenant"`
}

// ServiceAccountConfig is the credential for tiers in the cluster.
type ServiceAccountConfig struct {
	// TokenPath is the absolute path of the token file. tierproxy reads it for every
	// request. It sends the token, over https only, to the discovered tiers of the
	// gateway, and to hot.url and cold.url if they are cluster URLs (*.svc,
	// *.svc.cluster.local). It does not send the token if http_config has a credential.
	// It never sends the token to another Service or URL that a datasource names.
	// Empty: no token.
	TokenPath string `yaml:"token_path" contract:"SERVICE_ACCOUNT_TOKEN_PATH"`
}

// TenancyConfig configures a tier that takes namespaces as a URL parameter, such as
// the tenancy ports (9092) of OpenShift monitoring. tierproxy sends such a tier only
// requests that are confined to namespaces.
type TenancyConfig struct {
	// Parameter is the URL parameter for the namespaces of a request, such as
	// namespace. Empty: the tier takes no such parameter.
	Parameter string `yaml:"parameter"`
	// ProbeNamespace is the namespace that the gateway's own probes query. The gateway
	// needs permission to read metrics there.
	ProbeNamespace string `yaml:"probe_namespace"`
}
