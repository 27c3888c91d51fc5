// Package config defines every setting of the gateway with its default, loads
// the settings from a file and the environment, and validates them. Of this project, it
// imports promql only.
package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"gopkg.in/yaml.v3"
	"k8s.io/utils/dump"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
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
		return fmt.Errorf("%q is not a duration such as 500ms, 30s, 15m or 1h30m", text)
	}
	*d = Duration(parsed)
	return nil
}

// UnmarshalYAML reads Prometheus' notation from a file. It returns a
// *yaml.TypeError, so that the decoder continues and lists all errors.
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
	// Perses is the server that tierproxy reads saved datasources from.
	Perses PersesConfig `yaml:"perses"`
	// Hot is the gateway's own hot tier: Prometheus, with recent data. It may also be a
	// list of hot tiers.
	Hot HotConfig `yaml:"hot"`
	// Cold is the gateway's own cold tier: the long-term store, such as Thanos Query.
	Cold ColdConfig `yaml:"cold"`
	// Routing configures how tierproxy chooses a tier.
	Routing RoutingConfig `yaml:"routing"`
	// Query limits a single query.
	Query QueryConfig `yaml:"query"`
	// Cache keeps answers of cold that can no longer change.
	Cache CacheConfig `yaml:"cache"`
	// Live limits the streams of live queries.
	Live LiveConfig `yaml:"live"`
	// Pool limits the connections to a tier.
	Pool PoolConfig `yaml:"pool"`
	// Limits limit the concurrent queries of a tier, and the memory for answers.
	Limits LimitsConfig `yaml:"limits"`
	// Probe configures the health checks of the tiers.
	Probe ProbeConfig `yaml:"probe"`
	// DefaultDatasource configures who may query the datasource at the root.
	DefaultDatasource DefaultDatasourceConfig `yaml:"default_datasource"`
	// Admin configures who may read /metrics and use the admin address.
	Admin AdminConfig `yaml:"admin"`
	// Enforcement confines datasources to namespaces.
	Enforcement EnforcementConfig `yaml:"enforcement"`
	// Projects are the Perses projects whose datasources may use the gateway's own
	// tiers and credentials. Datasources of other projects have to name tiers that
	// destinations lists. If any project is confined to namespaces, tierproxy does not
	// serve projects that are not listed.
	Projects []ProjectConfig `yaml:"projects,omitempty"`
	// Destinations are the hosts that datasources may name as their tiers, in addition
	// to the hosts of hot.url and cold.url. tierproxy refuses hosts that resolve to
	// loopback, link-local or cloud metadata addresses. To allow such an address, list
	// the address itself, or localhost.
	Destinations []DestinationConfig `yaml:"destinations,omitempty"`
	// TenantHeaders are headers that select the tenant at a tier, in addition to
	// X-Scope-OrgID and THANOS-TENANT, such as that of --query.tenant-header of a Thanos.
	// tierproxy sends them as they are in the proxy of a saved datasource, never from a
	// request. Their values must not contain dashboard variables, and a datasource that
	// has one uses a hot tier only if the tenant of that tier is the same.
	TenantHeaders []string `yaml:"tenant_headers,omitempty"`
	// Discovery finds the tiers in the cluster that the gateway runs in. It does not
	// look for a tier whose URL is configured.
	Discovery DiscoveryConfig `yaml:"discovery"`
	// ServiceAccount is the credential for tiers in the cluster.
	ServiceAccount ServiceAccountConfig `yaml:"service_account"`
	// Log configures what the log says about queries.
	Log LogConfig `yaml:"log"`
	// Tracing configures where tierproxy sends its spans.
	Tracing TracingConfig `yaml:"tracing"`
}

// LogConfig configures what the log says about queries. Each query has one line, at
// level debug or warning. The line has its datasource, tier, reason, replica,
// duration, request id and a fingerprint of the query text.
type LogConfig struct {
	// QueryText also logs the text of queries. The text may hold values that not
	// every reader of the log is meant to see.
	QueryText bool `yaml:"query_text"`
	// SlowQueries is the duration from which a query is logged at level warning,
	// even if it fails or the client disconnects. Queries that tierproxy rejects
	// because a tier is overloaded are not logged as slow. 0s: off.
	SlowQueries Duration `yaml:"slow_queries"`
}

// TracingConfig configures where tierproxy sends its spans. tierproxy reads it once,
// when it starts. A Go program passes its own provider to WithTracerProvider.
type TracingConfig struct {
	// Endpoint is the URL of an OpenTelemetry collector that accepts OTLP over HTTP,
	// such as http://collector:4318. Empty: no tracing.
	Endpoint string `yaml:"endpoint"`
	// SamplePercent is the percentage of requests to trace, from 0 to 100. It applies
	// to requests whose caller sends no sampling decision.
	SamplePercent int `yaml:"sample_percent"`
}

// PersesConfig configures the connection to Perses.
type PersesConfig struct {
	// URL is the base URL of Perses, including its path prefix. Empty: tierproxy uses
	// no Perses, and serves the default datasource at the root.
	URL string `yaml:"url"`
	// Timeout is the timeout of one request to Perses.
	Timeout Duration `yaml:"timeout"`
	// DashboardDatasources also serves datasources that are defined inside a
	// dashboard. Anyone who may edit a dashboard can then make the gateway call every
	// allowed destination.
	DashboardDatasources bool `yaml:"dashboard_datasources"`
	// CAFile is a PEM file with the CA certificates that verify the certificate of
	// Perses. tierproxy reloads it when it changes. Empty: the CA certificates of the
	// system.
	CAFile string `yaml:"ca_file"`
	// Service is tierproxy's own credential for Perses. If you set one of
	// http_config, client_names and datasources, set all three.
	Service PersesServiceConfig `yaml:"service"`
}

// The values of RoutingConfig.Strategy.
const (
	// StrategyRoute sends each query to one tier.
	StrategyRoute = "route"
	// StrategySplit lets tierproxy split a range query between the tiers.
	StrategySplit = "split"
)

// RoutingConfig configures how tierproxy chooses a tier.
type RoutingConfig struct {
	// Threshold is the span from which a query goes to cold although hot covers it. A
	// datasource can override it.
	Threshold Duration `yaml:"threshold" contract:"QUERY_ROUTING_THRESHOLD"`
	// Strategy is split or route. With split, tierproxy may split a range query: hot
	// answers the newest steps, and cold the older ones. With route, each query goes to
	// one tier. A datasource can override it.
	Strategy string `yaml:"strategy"`
	// Freshness is how long after its timestamp a sample may still arrive or change.
	// tierproxy neither splits a query inside this window nor caches answers from it.
	// If hot or cold has a longer out-of-order window, that window applies. A Thanos
	// does not tell the out-of-order windows of the servers behind it, nor whether they
	// take remote write: if cold is a Thanos without hot, freshness has to be as long as
	// samples can be late there. The same holds for a cold tier that is neither a Thanos
	// nor a Prometheus. Of such a tier, the last day is not cached, unless this is not
	// the default, or cold has a lag.
	Freshness Duration `yaml:"freshness"`
	// SplitAcrossReplicas splits queries even if hot has several replicas. The samples
	// of one replica differ slightly from the deduplicated samples of cold. The
	// difference is no larger than where cold itself changes the replica. A datasource
	// can override it.
	SplitAcrossReplicas bool `yaml:"split_across_replicas"`
}

// ProbeConfig configures the health checks of the tiers.
type ProbeConfig struct {
	// Interval is the age from which on tierproxy renews what it knows about a tier, if a
	// query needs it. It probes a tier that no query needs once a minute.
	Interval Duration `yaml:"interval"`
	// LearnInterval is the time between two refreshes of what tierproxy knows about
	// the tiers: their metrics, sources and default settings.
	LearnInterval Duration `yaml:"learn_interval"`
}

// LabelSet is a set of labels: a map in the file, and comma-separated name="value"
// pairs in an environment variable.
type LabelSet map[string]string

// UnmarshalText reads name="value" pairs. It returns an error that shows an
// example.
func (l *LabelSet) UnmarshalText(text []byte) error {
	if strings.TrimSpace(string(text)) == "" {
		return nil
	}
	set, err := promql.ParseLabels(string(text))
	if err != nil {
		return fmt.Errorf(`%q is not a list of labels such as cluster="lab",region="eu"`, text)
	}
	*l = set
	return nil
}

// UnmarshalYAML reads a map. It returns a *yaml.TypeError, so that the decoder
// continues and lists all errors.
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
	// Namespaces are the namespaces that the datasources of the project may read.
	Namespaces []string `yaml:"namespaces,omitempty"`
	// AllNamespaces lets the datasources of the project read every namespace. Set
	// either namespaces or all_namespaces.
	AllNamespaces bool `yaml:"all_namespaces"`
}

// Default returns the default configuration: Thanos Query of OpenShift monitoring as
// the cold tier, no hot tier, and no Perses. Range queries are split, and the cache is on.
func Default() Config {
	//nolint:gosec // G101 takes the path of the token for a token.
	return Config{
		Perses: PersesConfig{Timeout: Duration(5 * time.Second)},
		Cold:   ColdConfig{URL: "https://thanos-querier.openshift-monitoring.svc:9091"},
		Routing: RoutingConfig{
			Threshold: Duration(15 * time.Minute), Strategy: StrategySplit, Freshness: Duration(10 * time.Minute), SplitAcrossReplicas: true,
		},
		Query:       QueryConfig{Timeout: Duration(30 * time.Second), MaxLength: 64 << 10, SpliceBytes: 64 << 20},
		Cache:       CacheConfig{Enabled: true, MaxBytes: 64 << 20, Redis: RedisConfig{Prefix: "tierproxy:"}},
		Live:        LiveConfig{MaxStreams: 1000, MaxStreamsPerCaller: 100, Memory: 16 << 20},
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

// Fingerprint returns a hash of every key of the configuration, including secrets. It
// does not reveal them. The contents of the files that the configuration names are not
// part of it.
func (c *Config) Fingerprint() string { return FingerprintOf(c) }

// FingerprintOf returns a hash of a part of a configuration, including secrets. It does not reveal
// them.
func FingerprintOf(part any) string {
	hash := sha256.Sum256([]byte(dump.ForHash(part)))
	return hex.EncodeToString(hash[:])
}
