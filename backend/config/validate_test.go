package config

import (
	"strings"
	"testing"

	promconfig "github.com/prometheus/common/config"
	"github.com/stretchr/testify/require"
)

// validConfig returns a configuration without mistakes that has an element in
// each list, and each number at its bound.
func validConfig(t *testing.T) Config {
	t.Helper()
	clearEnvironment(t)
	config, err := Load(configFile(t, `
perses: {url: http://perses, service: {client_names: [perses], datasources: [{name: a}], http_config: {authorization: {credentials: planted}}}}
hot: {url: http://hot}
cold: {url: http://cold}
query: {splice_bytes: 1048576, max_length: 1048576}
cache: {max_bytes: 1048576}
limits: {concurrent: 10, request_memory: 67108864, project_tiers: 1}
pool: {size: 10}
destinations: [{host: a, port: 1}]
enforcement: {datasources: [{name: a, namespaces: [x]}]}
projects: [{name: a, namespaces: [x]}]
discovery: {namespaces: [x]}
tracing: {sample_percent: 100}
`))
	require.NoError(t, err)
	return config
}

// mistakesInConfig returns changes that make a valid configuration invalid, by the
// start of the message about them.
func mistakesInConfig() map[string]func(*Config) {
	invalid := &HTTPConfig{promconfig.HTTPClientConfig{BearerToken: "a", BearerTokenFile: "/b"}}
	return map[string]func(*Config){
		"perses.url: \"perses\"":                   func(c *Config) { c.Perses.URL = "perses" },
		"perses.timeout: is 0s":                    func(c *Config) { c.Perses.Timeout = 0 },
		"perses.service: has no effect":            func(c *Config) { c.Perses.URL = "" },
		"perses.service.http_config: at most":      func(c *Config) { c.Perses.Service.HTTPConfig = invalid },
		"perses.service.http_config: has no cr":    func(c *Config) { c.Perses.Service.HTTPConfig = nil },
		"perses.service.client_names: is empty":    func(c *Config) { c.Perses.Service.ClientNames = nil },
		"perses.service.datasources: is empty":     func(c *Config) { c.Perses.Service.Datasources = nil },
		"perses.service.datasources[0]: \"..\"":    func(c *Config) { c.Perses.Service.Datasources[0].Name = ".." },
		"hot.url: \"hot\"":                         func(c *Config) { c.Hot.URL = "hot" },
		"hot.retention: must not":                  func(c *Config) { c.Hot.Retention = -1 },
		"hot.http_config: at most":                 func(c *Config) { c.Hot.HTTPConfig = invalid },
		"hot.tenancy: set both":                    func(c *Config) { c.Hot.Tenancy.Parameter = "namespace" },
		"hot.tenant: \"a|b\"":                      func(c *Config) { c.Hot.Tenant = "a|b" },
		"hot.tenant: \"a \"":                       func(c *Config) { c.Hot.Tenant = "a " },
		"cold.url: must not contain a":             func(c *Config) { c.Cold.URL = "http://user@cold" },
		"cold.url: must have neither":              func(c *Config) { c.Cold.URL = "http://cold/#x" },
		"cold.lag: must not":                       func(c *Config) { c.Cold.Lag = -1 },
		"cold.http_config: at most":                func(c *Config) { c.Cold.HTTPConfig = invalid },
		"cold.tenancy: set both":                   func(c *Config) { c.Cold.Tenancy.ProbeNamespace = "x" },
		"routing.threshold: is 0s":                 func(c *Config) { c.Routing.Threshold = 0 },
		"routing.strategy: is \"join\"":            func(c *Config) { c.Routing.Strategy = "join" },
		"routing.freshness: is 0s":                 func(c *Config) { c.Routing.Freshness = 0 },
		"query.timeout: is 0s":                     func(c *Config) { c.Query.Timeout = 0 },
		"query.splice_bytes: is 1048575":           func(c *Config) { c.Query.SpliceBytes-- },
		"query.max_range: must not":                func(c *Config) { c.Query.MaxRange = -1 },
		"query.max_length: is 0":                   func(c *Config) { c.Query.MaxLength = 0 },
		"cache.max_bytes: is 1048575":              func(c *Config) { c.Cache.MaxBytes-- },
		"cache.redis.address: \"redis\"":           func(c *Config) { c.Cache.Redis.Address = "redis" },
		"cache.redis.database: is -1":              func(c *Config) { c.Cache.Redis.Database = -1 },
		"cache.redis.prefix: is empty":             func(c *Config) { c.Cache.Redis.Prefix = "" },
		"cache.redis.password_file: \"a\"":         func(c *Config) { c.Cache.Redis.PasswordFile = "a" },
		"cache.redis.ca_file: \"a\"":               func(c *Config) { c.Cache.Redis.CAFile = "a" },
		"probe.interval: is 0s":                    func(c *Config) { c.Probe.Interval = 0 },
		"probe.learn_interval: is 0s":              func(c *Config) { c.Probe.LearnInterval = 0 },
		"limits.concurrent: is -1":                 func(c *Config) { c.Limits.Concurrent = -1 },
		"limits.concurrent: is 11":                 func(c *Config) { c.Limits.Concurrent = 11 },
		"limits.queue: is -1":                      func(c *Config) { c.Limits.Queue = -1 },
		"limits.queue_wait: is 0s":                 func(c *Config) { c.Limits.QueueWait = 0 },
		"limits.shared_bytes: is -1":               func(c *Config) { c.Limits.SharedBytes = -1 },
		"limits.shared_memory: is -1":              func(c *Config) { c.Limits.SharedMemory = -1 },
		"limits.decoded_memory: is -1":             func(c *Config) { c.Limits.DecodedMemory = -1 },
		"limits.request_memory: is 67108863":       func(c *Config) { c.Limits.RequestMemory-- },
		"live.max_streams: is -1":                  func(c *Config) { c.Live.MaxStreams = -1 },
		"live.max_streams_per_caller: is 0":        func(c *Config) { c.Live.MaxStreamsPerCaller = 0 },
		"live.memory: is 1048575":                  func(c *Config) { c.Live.Memory = 1<<20 - 1 },
		"limits.project_tiers: is 0":               func(c *Config) { c.Limits.ProjectTiers = 0 },
		"log.slow_queries: must not":               func(c *Config) { c.Log.SlowQueries = -1 },
		"tracing.endpoint: \"tempo\"":              func(c *Config) { c.Tracing.Endpoint = "tempo" },
		"tracing.sample_percent: is -1":            func(c *Config) { c.Tracing.SamplePercent = -1 },
		"tracing.sample_percent: is 101":           func(c *Config) { c.Tracing.SamplePercent = 101 },
		"service_account.token_path: \"a\"":        func(c *Config) { c.ServiceAccount.TokenPath = "a" },
		"discovery.hot.namespace: \"a b\"":         func(c *Config) { c.Discovery.Hot.Namespace = "a b" },
		"discovery.cold.port: 0":                   func(c *Config) { c.Discovery.Cold.Port = "0" },
		"discovery.namespaces[0]: \"a b\"":         func(c *Config) { c.Discovery.Namespaces[0] = "a b" },
		"discovery.kubeconfig: \"a\"":              func(c *Config) { c.Discovery.Kubeconfig = "a" },
		"default_datasource.token_file: \"a\"":     func(c *Config) { c.DefaultDatasource.TokenFile = "a" },
		"default_datasource.enabled: with":         func(c *Config) { c.DefaultDatasource.Enabled = true },
		"default_datasource.namespaces: \"\"":      func(c *Config) { c.DefaultDatasource.Namespaces = []string{""} },
		"admin.token_file: \"a\"":                  func(c *Config) { c.Admin.TokenFile = "a" },
		"enforcement: \"perhaps\"":                 func(c *Config) { c.Enforcement.OnConflict = "perhaps" },
		"enforcement.datasources[0]: \"..\"":       func(c *Config) { c.Enforcement.Datasources[0].Name = ".." },
		"enforcement.datasources[0]: \"__name__\"": func(c *Config) { c.Enforcement.Datasources[0].Label = "__name__" },
		"enforcement.datasources[0].namespaces: ":  func(c *Config) { c.Enforcement.Datasources[0].Namespaces = nil },
		"projects[0].name: \"a b\"":                func(c *Config) { c.Projects[0].Name = "a b" },
		"projects[0].namespaces: is empty":         func(c *Config) { c.Projects[0].Namespaces = nil },
		"projects[0]: set either":                  func(c *Config) { c.Projects[0].AllNamespaces = true },
		"projects[1].name: project \"a\" is":       func(c *Config) { c.Projects = append(c.Projects, c.Projects[0]) },
		"destinations[0].port: 70000 is not":       func(c *Config) { c.Destinations[0].Port = 70_000 },
		"destinations[0].tenant: \"a|b\"":          func(c *Config) { c.Destinations[0].Tenant = "a|b" },
		"tenant_headers[0]: \"X Tenant\"":          func(c *Config) { c.TenantHeaders = []string{"X Tenant"} },
		"tenant_headers[0]: \"\" is not":           func(c *Config) { c.TenantHeaders = []string{""} },
		"tenant_headers[1]: authorization has":     func(c *Config) { c.TenantHeaders = []string{"X-Tenant", "authorization"} },
		"tenant_headers[0]: cookie has":            func(c *Config) { c.TenantHeaders = []string{"cookie"} },
		"tenant_headers[0]: Host has":              func(c *Config) { c.TenantHeaders = []string{"Host"} },
		"tenant_headers[0]: Impersonate-User":      func(c *Config) { c.TenantHeaders = []string{"Impersonate-User"} },
		"tenant_headers[0]: X-Tier-Choice has":     func(c *Config) { c.TenantHeaders = []string{"X-Tier-Choice"} },
		"tenant_headers[0]: thanos-tenant sel":     func(c *Config) { c.TenantHeaders = []string{"thanos-tenant"} },
		"tenant_headers[1]: x-tenant is listed":    func(c *Config) { c.TenantHeaders = []string{"X-Tenant", "x-tenant"} },
		"destinations[0].http_config: at most":     func(c *Config) { c.Destinations[0].HTTPConfig = invalid },
	}
}

// TestValidate_ReportsEachMistake makes one mistake at a time, so that no other
// check can stand in for the one that is missing.
func TestValidate_ReportsEachMistake(t *testing.T) {
	for mistake, change := range mistakesInConfig() {
		t.Run(mistake, func(t *testing.T) {
			config := validConfig(t)
			change(&config)
			err := config.Validate()
			require.Error(t, err)
			require.Len(t, lines(err), 1, err)
			require.True(t, strings.HasPrefix(err.Error(), mistake), err)
		})
	}
}

// TestValidate_HTTP2NeedsNoConnectionForEachQuery has more queries than connections:
// with HTTP/2, queries share them.
func TestValidate_HTTP2NeedsNoConnectionForEachQuery(t *testing.T) {
	config := validConfig(t)
	config.Pool.HTTP2, config.Limits.Concurrent = true, 11
	require.NoError(t, config.Validate())
}
