package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
)

// persesName matches the names of projects and datasources in Perses.
var persesName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,75}$`)

// IsPersesName reports whether name is valid for a project, a dashboard or a datasource
// in Perses: 1 to 75 letters, digits, '_', '.' and '-', and not only dots.
func IsPersesName(name string) bool {
	return persesName.MatchString(name) && strings.Trim(name, ".") != ""
}

// Validate checks the configuration. It returns all errors, joined. Each names its
// key and the change to make.
func (c *Config) Validate() error {
	var errs []error
	add := func(key string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
	}
	add("perses.url", validURL(c.Perses.URL))
	add("hot.url", validURL(c.Hot.URL))
	add("cold.url", validURL(c.Cold.URL))
	if c.Hot.URL == "" && c.Cold.URL == "" && c.Perses.URL == "" && !c.Discovery.Enabled {
		add("hot.url, cold.url", errors.New("without Perses and discovery, set at least one tier"))
	}
	c.validateDiscovery(add)
	add("perses.timeout", positive(c.Perses.Timeout))
	add("routing.threshold", positive(c.Routing.Threshold))
	if c.Routing.Strategy != StrategyRoute && c.Routing.Strategy != StrategySplit {
		add("routing.strategy", fmt.Errorf("is %q, and must be route or split", c.Routing.Strategy))
	}
	add("routing.freshness", positive(c.Routing.Freshness))
	add("query.timeout", positive(c.Query.Timeout))
	if c.Query.SpliceBytes < 1<<20 {
		add("query.splice_bytes", fmt.Errorf("is %d, and must be at least 1 MiB (%d)", c.Query.SpliceBytes, 1<<20))
	}
	c.Cache.validate(add)
	add("probe.interval", positive(c.Probe.Interval))
	add("probe.learn_interval", positive(c.Probe.LearnInterval))
	if c.Pool.Size < 1 {
		add("pool.size", fmt.Errorf("is %d, and must be at least 1", c.Pool.Size))
	}
	for _, limit := range []struct {
		key   string
		value int
	}{
		{"limits.concurrent", c.Limits.Concurrent}, {"limits.queue", c.Limits.Queue},
		{"limits.shared_bytes", c.Limits.SharedBytes}, {"limits.shared_memory", c.Limits.SharedMemory},
		{"limits.decoded_memory", c.Limits.DecodedMemory},
	} {
		if limit.value < 0 {
			add(limit.key, fmt.Errorf("is %d, and must not be negative", limit.value))
		}
	}
	if c.Limits.Concurrent > c.Pool.Size && c.Pool.Size > 0 && !c.Pool.HTTP2 {
		add("limits.concurrent", fmt.Errorf("is %d, but the pool has only %d connections: raise pool.size, or lower limits.concurrent", c.Limits.Concurrent, c.Pool.Size))
	}
	if c.Limits.ProjectTiers < 1 {
		add("limits.project_tiers", fmt.Errorf("is %d, and must be at least 1", c.Limits.ProjectTiers))
	}
	add("limits.queue_wait", positive(c.Limits.QueueWait))
	if c.Log.SlowQueries < 0 {
		add("log.slow_queries", errors.New("must not be negative"))
	}
	add("tracing.endpoint", validURL(c.Tracing.Endpoint))
	if c.Tracing.SamplePercent < 0 || c.Tracing.SamplePercent > 100 {
		add("tracing.sample_percent", fmt.Errorf("is %d, and must be from 0 to 100", c.Tracing.SamplePercent))
	}
	if c.Hot.Retention < 0 {
		add("hot.retention", errors.New("must not be negative"))
	}
	if c.Cold.Lag < 0 {
		add("cold.lag", errors.New("must not be negative"))
	}
	if c.Query.MaxRange < 0 {
		add("query.max_range", errors.New("must not be negative"))
	}
	if c.Query.MaxLength < 1 || c.Query.MaxLength > maxQueryLength {
		add("query.max_length", fmt.Errorf("is %d, and must be from 1 to %d", c.Query.MaxLength, maxQueryLength))
	}
	if minimum := 4 * BodyMemoryFactor * c.Query.MaxBodyBytes(); c.Limits.RequestMemory < minimum {
		add("limits.request_memory", fmt.Errorf("is %d, and must be at least %d: one request may need a quarter of it, and one caller gets no more. Raise it, or lower query.max_length", c.Limits.RequestMemory, minimum))
	}
	add("service_account.token_path", absolute(c.ServiceAccount.TokenPath))
	c.validateSecurity(add)
	return errors.Join(errs...)
}

// maxQueryLength is the maximum of query.max_length. The other limits on the cost of a
// query assume texts of at most this length.
const maxQueryLength = 1 << 20

func positive(duration Duration) error {
	if duration <= 0 {
		return fmt.Errorf("is %s, and must be longer than zero", time.Duration(duration))
	}
	return nil
}

// validURL checks the base URL of a server. An empty URL is valid.
func validURL(text string) error {
	if text == "" {
		return nil
	}
	parsed, err := url.Parse(text)
	switch {
	case err != nil:
		// The parser's error contains the text, which may contain a password.
		return errors.New("is not a URL: write http(s)://host[:port][/path]")
	case parsed.User != nil:
		return errors.New("must not contain a user and password: they would appear in logs")
	case parsed.Scheme != "http" && parsed.Scheme != "https", parsed.Hostname() == "":
		return fmt.Errorf("%q is not an http or https URL with a host: write http(s)://host[:port][/path]", text)
	case parsed.RawQuery != "", parsed.Fragment != "":
		// Parameters may contain a token.
		return errors.New("must have neither parameters nor a fragment")
	}
	return nil
}

func (c *Config) validateDiscovery(add func(key string, err error)) {
	c.Discovery.Hot.validate("discovery.hot", add)
	c.Discovery.Cold.validate("discovery.cold", add)
	for i, namespace := range c.Discovery.Namespaces {
		add(fmt.Sprintf("discovery.namespaces[%d]", i), validNamespace(namespace))
	}
	add("discovery.kubeconfig", absolute(c.Discovery.Kubeconfig))
}

func (s ServiceConfig) validate(key string, add func(key string, err error)) {
	add(key+".namespace", validNamespace(s.Namespace))
	if s.Selector != "" {
		if _, err := labels.Parse(s.Selector); err != nil {
			add(key+".selector", fmt.Errorf("%q is not a label selector such as app.kubernetes.io/name=prometheus", s.Selector))
		}
	} else if len(validation.IsDNS1035Label(s.Name)) > 0 {
		add(key+".name", fmt.Errorf("%q is not the name of a Service", s.Name))
	}
	if number, err := strconv.Atoi(s.Port); err == nil && len(validation.IsValidPortNum(number)) > 0 {
		add(key+".port", fmt.Errorf("%d is not a port from 1 to 65535", number))
	} else if err != nil && s.Port != "" && len(validation.IsDNS1123Label(s.Port)) > 0 {
		add(key+".port", fmt.Errorf("%q is neither the number nor the name of a port", s.Port))
	}
	if s.Scheme != "" && s.Scheme != "http" && s.Scheme != "https" {
		add(key+".scheme", fmt.Errorf("%q is neither http nor https", s.Scheme))
	}
}

func validNamespace(name string) error {
	if len(validation.IsDNS1123Label(name)) > 0 {
		return fmt.Errorf("%q is not the name of a namespace", name)
	}
	return nil
}
