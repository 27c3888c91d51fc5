// Package config holds every setting of the gateway: its default, where it is
// read from, and what is wrong with it. It knows no other package of this
// project.
package config

import (
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"

	"github.com/prometheus/common/model"
	"gopkg.in/yaml.v3"
)

// Duration is a length of time in configuration files and environment
// variables, in Prometheus' notation: 500ms, 30s, 15m, 1h30m, 15d.
type Duration time.Duration

// String returns the duration in Prometheus' notation.
func (d Duration) String() string { return model.Duration(d).String() }

// UnmarshalText reads Prometheus' notation. It returns an error that names
// examples.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := model.ParseDuration(string(text))
	if err != nil {
		return &malformedError{value: string(text), want: "a duration such as 500ms, 30s, 15m or 1h30m"}
	}
	*d = Duration(parsed)
	return nil
}

// UnmarshalYAML reads the same from a file. Its error has the form that lets
// the decoder go on and list the other mistakes too.
func (d *Duration) UnmarshalYAML(node *yaml.Node) error {
	if err := d.UnmarshalText([]byte(node.Value)); err != nil || node.Kind != yaml.ScalarNode {
		return lineError(node, "a duration such as 500ms, 30s, 15m or 1h30m")
	}
	return nil
}

// MarshalText writes Prometheus' notation.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Config is the configuration of the gateway. The YAML file of tierproxy has
// the same shape, and every key of it is also an environment variable:
// perses.url is TIERPROXY_PERSES_URL.
type Config struct {
	// Perses is where saved datasources are read.
	Perses PersesConfig `yaml:"perses"`
	// Hot is the gateway's own hot tier: Prometheus, with recent data.
	Hot HotConfig `yaml:"hot"`
	// Cold is the gateway's own cold tier: the store that holds everything.
	Cold ColdConfig `yaml:"cold"`
	// Routing says how a tier is chosen.
	Routing RoutingConfig `yaml:"routing"`
	// Query bounds one query.
	Query QueryConfig `yaml:"query"`
	// Cache keeps answers of cold that can no longer change.
	Cache CacheConfig `yaml:"cache"`
	// Pool bounds the connections to a tier.
	Pool PoolConfig `yaml:"pool"`
	// Limits bound how much is asked of a tier at a time, and the memory that
	// answers take.
	Limits LimitsConfig `yaml:"limits"`
	// Probe says how the health of the tiers is watched.
	Probe ProbeConfig `yaml:"probe"`
	// DefaultDatasource says who may ask the datasource at the root.
	DefaultDatasource DefaultDatasourceConfig `yaml:"default_datasource"`
	// Admin says who may ask for /metrics and, on the admin address, for
	// everything else there.
	Admin AdminConfig `yaml:"admin"`
	// Enforcement confines datasources to namespaces.
	Enforcement EnforcementConfig `yaml:"enforcement"`
	// Projects are the Perses projects whose datasources may use the
	// gateway's own tiers and credentials. A project that is not listed has to
	// name its own tiers among the destinations; it is not served at all once
	// projects are confined to namespaces.
	Projects []ProjectConfig `yaml:"projects,omitempty"`
	// Destinations are the hosts that datasources may name as their tiers,
	// beside those of hot.url and cold.url. Hosts that resolve to loopback,
	// link-local or cloud metadata addresses are refused, unless it is the
	// address itself, or localhost, that is listed.
	Destinations []DestinationConfig `yaml:"destinations,omitempty"`
	// Discovery finds the tiers in the cluster that the gateway runs in. A
	// tier that is configured by its URL is not looked for.
	Discovery DiscoveryConfig `yaml:"discovery"`
	// ServiceAccount is the credential for tiers in the cluster.
	ServiceAccount ServiceAccountConfig `yaml:"service_account"`
	// Log says what is told of queries in the log.
	Log LogConfig `yaml:"log"`
	// Tracing says where the steps of requests are told as spans.
	Tracing TracingConfig `yaml:"tracing"`
}

// LogConfig says what is told of queries in the log. Each query has one line, at
// level debug or warning, with its datasource, tier, reason, replica, duration,
// request id and a fingerprint of its text.
type LogConfig struct {
	// QueryText writes the text of queries too. It may hold what not every reader
	// of the log is meant to see.
	QueryText bool `yaml:"query_text"`
	// SlowQueries is the duration from which on a query has a line at level
	// warning, also when it fails or its caller leaves. A query that is refused
	// because a tier has too many has none. 0s: no query has one.
	SlowQueries Duration `yaml:"slow_queries"`
}

// TracingConfig says where the steps of requests are told as spans. It counts
// when tierproxy starts; a program hands its own provider to WithTracerProvider.
type TracingConfig struct {
	// Endpoint is the URL of an OpenTelemetry collector that takes OTLP over HTTP,
	// such as http://collector:4318. Empty: nothing is traced.
	Endpoint string `yaml:"endpoint"`
	// SamplePercent is the share of requests that are traced, from 0 to 100 percent,
	// of those whose caller has not decided it already.
	SamplePercent int `yaml:"sample_percent"`
}

// PersesConfig says where Perses is.
type PersesConfig struct {
	// URL is the base URL of Perses, with its path prefix if it has one.
	// Empty: there is no Perses, and the default datasource is served at the
	// root.
	URL string `yaml:"url"`
	// Timeout bounds one request to Perses.
	Timeout Duration `yaml:"timeout"`
	// DashboardDatasources serves datasources that live inside a dashboard too.
	// Whoever may write a dashboard of a project can then make the gateway call
	// any of the allowed destinations.
	DashboardDatasources bool `yaml:"dashboard_datasources"`
	// CAFile is a PEM file with the authorities that may sign the certificate
	// of Perses. It is read anew when it changes. Empty: those of the system.
	CAFile string `yaml:"ca_file"`
	// Service is a credential of tierproxy's own for Perses. It takes http_config,
	// client_names and datasources.
	Service PersesServiceConfig `yaml:"service"`
}

// HotConfig is the gateway's own hot tier.
type HotConfig struct {
	// URL is the base URL of the Prometheus API. Empty: the tier is the one that
	// discovery finds, if any.
	URL string `yaml:"url" contract:"PROMETHEUS_URL"`
	// Retention is an upper bound of how far back hot is asked; how far it
	// really reaches is measured. 0s: no bound.
	Retention Duration `yaml:"retention"`
	// ExternalLabels are the external labels of this Prometheus, replica labels
	// included: a map in the file, cluster="lab",region="eu" in the variable. Empty:
	// they are read from the tier itself.
	ExternalLabels LabelSet `yaml:"external_labels,omitempty"`
	// Complete declares that no series outside of hot can match a query.
	// Without it, that is learned from the tiers.
	Complete bool `yaml:"complete"`
	// HTTPConfig is the credential for the tier and how its certificate is
	// verified, in the form of Prometheus' http_config.
	HTTPConfig *HTTPConfig `yaml:"http_config,omitempty"`
	// Tenancy is for a tier that takes namespaces as a URL parameter, as the tenancy
	// ports (9092) of OpenShift's monitoring do. Such a tier gets only requests that
	// are confined to namespaces.
	Tenancy TenancyConfig `yaml:"tenancy"`
	// Tenant is the tenant whose data this tier holds. A datasource with a tenant
	// header (X-Scope-OrgID, THANOS-TENANT) uses hot only if the header has this
	// value, and cold alone otherwise. Empty: no such datasource uses hot.
	Tenant string `yaml:"tenant"`
}

// ColdConfig is the gateway's own cold tier.
type ColdConfig struct {
	// URL is the base URL of the Prometheus API. Empty, or left at its default:
	// the tier is the one that discovery finds, if any.
	URL string `yaml:"url" contract:"THANOS_QUERIER_URL"`
	// Lag is how far the newest data of the tier is behind the present. Where
	// that can be measured, the longer of both counts.
	Lag Duration `yaml:"lag"`
	// ReplicaLabels are labels that the tier removes by deduplication, besides
	// those it tells itself.
	ReplicaLabels []string `yaml:"replica_labels,omitempty"`
	// HTTPConfig is the credential for the tier and how its certificate is
	// verified, in the form of Prometheus' http_config.
	HTTPConfig *HTTPConfig `yaml:"http_config,omitempty"`
	// Tenancy is for a tier that takes namespaces as a URL parameter, as the tenancy
	// ports (9092) of OpenShift's monitoring do. Such a tier gets only requests that
	// are confined to namespaces.
	Tenancy TenancyConfig `yaml:"tenancy"`
}

// The values of RoutingConfig.Strategy.
const (
	// StrategyRoute sends each query to one tier.
	StrategyRoute = "route"
	// StrategySplit lets a range query be cut between the tiers.
	StrategySplit = "split"
)

// RoutingConfig says how a tier is chosen.
type RoutingConfig struct {
	// Threshold is the span from which on a query goes to cold although hot
	// covers it. A datasource may set its own.
	Threshold Duration `yaml:"threshold" contract:"QUERY_ROUTING_THRESHOLD"`
	// Strategy is route, where each query goes to one tier, or split, where a
	// range query may be cut: hot answers its newest steps and cold the older
	// ones. A datasource may set its own.
	Strategy string `yaml:"strategy"`
	// Freshness is how far back from now samples may still come in or change. A
	// query is cut no later than that, and nothing so new is kept in the cache.
	// Where hot or cold take samples out of order for a longer time, that counts.
	Freshness Duration `yaml:"freshness"`
	// SplitAcrossReplicas cuts queries although hot has several replicas. The
	// values of one of them differ a little from those that cold makes of all.
	// A datasource may set its own.
	SplitAcrossReplicas bool `yaml:"split_across_replicas"`
}

// QueryConfig bounds one query.
type QueryConfig struct {
	// Timeout bounds a query, all tries and the answer's body together.
	Timeout Duration `yaml:"timeout" contract:"DATASOURCE_QUERY_TIMEOUT"`
	// MaxRange is the longest time range, from start to end, that a query of a
	// program (POST /api/v1/metrics/query, ExecuteQuery) may ask for. 0s: no
	// bound.
	MaxRange Duration `yaml:"max_range"`
	// MaxLength is the length, in bytes, that the PromQL of a request may have:
	// its query, or its match[] parameters together. At most 1048576 (1 MiB).
	MaxLength int `yaml:"max_length"`
	// SpliceBytes is the number of bytes of memory that answers which are put
	// together from pieces take at most, of all queries at a time. One datasource
	// may take as much of it as it leaves free: half while no other takes any. A
	// query that would take more is not cut. At least 1048576 (1 MiB).
	SpliceBytes int `yaml:"splice_bytes"`
}

// BodyMemoryFactor is how many bytes of memory a request body takes for each
// byte of its length: it is read, decoded, and written again.
const BodyMemoryFactor = 4

const (
	// minBodyBytes is the smallest bound of a request body, in bytes.
	minBodyBytes = 256 << 10
	// bodyBytesPerQueryByte is the bound of a request body as a multiple of
	// query.max_length.
	bodyBytesPerQueryByte = 4
)

// MaxBodyBytes returns the largest request body that is read, in bytes.
func (c QueryConfig) MaxBodyBytes() int {
	return max(minBodyBytes, bodyBytesPerQueryByte*c.MaxLength)
}

// PoolConfig bounds the connections to a tier.
type PoolConfig struct {
	// Size is the largest number of connections to one tier for queries. Four
	// more are for the gateway's own probes.
	Size int `yaml:"size" contract:"DATASOURCE_POOL_SIZE"`
	// HTTP2 allows HTTP/2 towards tiers that offer it over TLS, unless the
	// enable_http2 of their http_config is false. It takes one connection where
	// HTTP/1.1 takes as many as there are queries, and more computing.
	HTTP2 bool `yaml:"http2"`
}

// LimitsConfig bounds how much is asked of a tier at a time, and the memory
// that answers take.
type LimitsConfig struct {
	// Concurrent is the number of queries that one tier answers at a time; a
	// replica is a tier of its own. 0: as many as pool.size.
	Concurrent int `yaml:"concurrent"`
	// Queue is the number of further queries that wait for one tier. The callers
	// take turns, so that one who asks for much waits for it alone. What does
	// not fit is answered with status 503 and Retry-After. Four times as many
	// may wait for the answer to an identical query that is under way.
	Queue int `yaml:"queue"`
	// QueueWait is the longest that a query waits for its turn, before it is
	// answered with status 503 and Retry-After.
	QueueWait Duration `yaml:"queue_wait"`
	// SharedBytes is the size, in bytes, up to which identical queries get the
	// answer to the one of them that is under way. 0: every query is asked.
	SharedBytes int `yaml:"shared_bytes"`
	// SharedMemory is the number of bytes that such answers take together.
	// Where they would take more, queries are asked one by one.
	SharedMemory int `yaml:"shared_memory"`
	// RequestMemory is the number of bytes that the bodies and query strings of all
	// requests take at a time, four times their size. One datasource gets at most a
	// half of it, all callers whom Perses knows a half together, and one of them a
	// quarter. What does not fit is answered with status 503 and Retry-After.
	RequestMemory int `yaml:"request_memory"`
	// DecodedMemory is the number of bytes that all the answers together take in
	// memory that are read as a whole at a time: unions of both tiers, labels that
	// are added to metadata, limits, and the answers of ExecuteQuery. What is
	// decoded counts, not what was read: the union of series takes about three
	// times its bytes. One datasource may take as much as it leaves free: half
	// while no other takes any, a third while another takes as much. What does
	// not fit is answered with status 503 and Retry-After. Other answers pass
	// through in small pieces.
	DecodedMemory int `yaml:"decoded_memory"`
	// ProjectTiers is the number of tiers that the datasources of one Perses
	// project use at a time, the gateway's own not counted; a replica is a tier of
	// its own. A further one takes the place of the one that the project used
	// longest ago, or is answered with status 503 and Retry-After while all are in
	// use.
	ProjectTiers int `yaml:"project_tiers"`
}

// ProbeConfig says how the health of the tiers is watched.
type ProbeConfig struct {
	// Interval is the time between two probes of a tier.
	Interval Duration `yaml:"interval"`
	// LearnInterval is the time between two times that the gateway learns
	// which metrics and sources the tiers have, and what their defaults are.
	LearnInterval Duration `yaml:"learn_interval"`
}

// LabelSet is a set of labels: a map in the file, and name="value" pairs with
// commas between them in an environment variable.
type LabelSet map[string]string

// UnmarshalText reads name="value" pairs. It returns an error that shows an
// example.
func (l *LabelSet) UnmarshalText(text []byte) error {
	if strings.TrimSpace(string(text)) == "" {
		return nil
	}
	set, err := promql.ParseLabels(string(text))
	if err != nil {
		return &malformedError{value: string(text), want: `a list of labels such as cluster="lab",region="eu"`}
	}
	*l = set
	return nil
}

// UnmarshalYAML reads a map. Its error has the form that lets the decoder go
// on and list the other mistakes too.
func (l *LabelSet) UnmarshalYAML(node *yaml.Node) error {
	set := map[string]string{}
	if node.Kind != yaml.MappingNode || node.Decode(&set) != nil {
		return lineError(node, `a map of label names to values such as {cluster: lab}`)
	}
	*l = set
	return nil
}

// ProjectConfig is one Perses project whose datasources may use the gateway's
// own tiers.
type ProjectConfig struct {
	// Name is the name of the project in Perses.
	Name string `yaml:"name"`
	// Namespaces are those that all datasources of the project are confined to.
	Namespaces []string `yaml:"namespaces,omitempty"`
	// AllNamespaces lets the datasources of the project read everything. It
	// stands in the place of namespaces.
	AllNamespaces bool `yaml:"all_namespaces"`
}

// DestinationConfig is one host that datasources may name as a tier.
type DestinationConfig struct {
	// Host is a host name, an IP address without brackets, or *.DOMAIN for all
	// hosts below a domain.
	Host string `yaml:"host"`
	// Port is the port that may be named. 0: every port.
	Port int `yaml:"port"`
	// Scheme is http or https. Empty: both, but a credential goes out over
	// https only.
	Scheme string `yaml:"scheme"`
	// PathPrefix is the path that a URL has to be at or below, such as
	// /select/0/prometheus. Whole segments count. Empty: every path. Where the
	// server picks the tenant by the path, a credential then reaches every tenant
	// that it is good for.
	PathPrefix string `yaml:"path_prefix"`
	// HTTPConfig is what the gateway shows there to global datasources and those
	// of listed projects, in the form of Prometheus' http_config without a proxy.
	// A credential takes a host without * and a port.
	HTTPConfig *HTTPConfig `yaml:"http_config,omitempty"`
	// Tenant is the tenant whose data is there. A datasource with a tenant header
	// uses a hot tier that it names there only if the header has this value.
	// Empty: it is asked without a hot tier.
	Tenant string `yaml:"tenant"`
}

// DiscoveryConfig finds the tiers in the cluster that the gateway runs in. A
// tier that is configured by its URL is not looked for.
type DiscoveryConfig struct {
	// Enabled switches discovery on. Outside of a cluster it does nothing.
	Enabled bool `yaml:"enabled" contract:"DATASOURCE_DISCOVERY_ENABLED"`
	// Kubeconfig is the path of a kubeconfig file, for development outside of
	// a cluster. Empty: the cluster of the pod.
	Kubeconfig string `yaml:"kubeconfig"`
	// Namespaces are those whose Services datasources may name as their tiers,
	// without a credential unless destinations has one for the Service. Global
	// datasources and those of listed projects may name the gateway's own
	// Services too, wherever they are.
	Namespaces []string `yaml:"namespaces,omitempty"`
	// Replicas lets the gateway ask the replicas behind the Service of a hot
	// tier itself, each query at one of them, so that a panel does not flip
	// between their answers. Off, or where there are no EndpointSlices, the
	// Service is asked as a whole.
	Replicas bool `yaml:"replicas"`
	// Hot is the Service of the hot tier.
	Hot ServiceConfig `yaml:"hot"`
	// Cold is the Service of the cold tier.
	Cold ServiceConfig `yaml:"cold"`
}

// ServiceConfig names a Service and one of its ports.
type ServiceConfig struct {
	// Namespace is where the Service is.
	Namespace string `yaml:"namespace"`
	// Name is that of the Service.
	Name string `yaml:"name"`
	// Selector is a label selector that exactly one Service matches. Where it
	// is set, the name does not count.
	Selector string `yaml:"selector"`
	// Port is the number or the name of the port. Empty: the only port, or the
	// one that is named as web ports are: web, http, https and the like.
	Port string `yaml:"port"`
	// Scheme is http or https. Empty: what the Service says, by the
	// appProtocol or the name of the port, or by a serving certificate of
	// OpenShift; otherwise http.
	Scheme string `yaml:"scheme"`
}

// ServiceAccountConfig is the credential for tiers in the cluster.
type ServiceAccountConfig struct {
	// TokenPath is the absolute path of the token's file, which is read for
	// every request. The token goes, over https only, to the tiers of the gateway
	// that were discovered, and to hot.url and cold.url if they are URLs of the
	// cluster (*.svc, *.svc.cluster.local), unless http_config names a
	// credential. It never goes to another Service or URL that merely stands in
	// a datasource. Empty: no token is sent.
	TokenPath string `yaml:"token_path" contract:"SERVICE_ACCOUNT_TOKEN_PATH"`
}

// Default returns the configuration that holds where nothing else is
// said: Thanos Query of OpenShift's monitoring as cold tier, no hot tier, no
// Perses.
func Default() Config {
	//nolint:gosec // G101 takes the path of the token for a token.
	return Config{
		Perses: PersesConfig{Timeout: Duration(5 * time.Second)},
		Cold:   ColdConfig{URL: "https://thanos-querier.openshift-monitoring.svc:9091"},
		Routing: RoutingConfig{
			Threshold: Duration(15 * time.Minute), Strategy: StrategyRoute, Freshness: Duration(10 * time.Minute),
		},
		Query:       QueryConfig{Timeout: Duration(30 * time.Second), MaxLength: 64 << 10, SpliceBytes: 64 << 20},
		Cache:       CacheConfig{MaxBytes: 64 << 20, Redis: RedisConfig{Prefix: "tierproxy:"}},
		Pool:        PoolConfig{Size: 50},
		Limits:      LimitsConfig{Queue: 500, QueueWait: Duration(5 * time.Second), SharedBytes: 1 << 20, SharedMemory: 16 << 20, RequestMemory: 16 << 20, DecodedMemory: 64 << 20, ProjectTiers: 32},
		Probe:       ProbeConfig{Interval: Duration(5 * time.Second), LearnInterval: Duration(time.Minute)},
		Tracing:     TracingConfig{SamplePercent: 100},
		Enforcement: EnforcementConfig{Label: "namespace", OnConflict: ConflictEmpty},
		Discovery: DiscoveryConfig{
			Enabled: true, Replicas: true,
			Hot:  ServiceConfig{Namespace: "openshift-monitoring", Name: "prometheus-k8s"},
			Cold: ServiceConfig{Namespace: "openshift-monitoring", Name: "thanos-querier"},
		},
		ServiceAccount: ServiceAccountConfig{TokenPath: "/var/run/secrets/kubernetes.io/serviceaccount/token"},
	}
}
