package config

import (
	"errors"
	"fmt"
	"math"
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
	c.validateNumbers(add)
	if c.Routing.Strategy != StrategyRoute && c.Routing.Strategy != StrategySplit {
		add("routing.strategy", fmt.Errorf("is %q, and must be route or split", c.Routing.Strategy))
	}
	c.Cache.Redis.validate(add)
	add("tracing.endpoint", validURL(c.Tracing.Endpoint))
	add("service_account.token_path", absolute(c.ServiceAccount.TokenPath))
	c.validateSecurity(add)
	return errors.Join(errs...)
}

// maxQueryLength is the maximum of query.max_length. The other limits on the cost of a
// query assume texts of at most this length.
const maxQueryLength = 1 << 20

// validateNumbers checks that durations and numbers are within their bounds.
func (c *Config) validateNumbers(add func(key string, err error)) {
	for _, duration := range []struct {
		key         string
		value       Duration
		zeroAllowed bool
	}{
		{"perses.timeout", c.Perses.Timeout, false}, {"routing.threshold", c.Routing.Threshold, false},
		{"routing.freshness", c.Routing.Freshness, false}, {"query.timeout", c.Query.Timeout, false},
		{"probe.interval", c.Probe.Interval, false}, {"probe.learn_interval", c.Probe.LearnInterval, false},
		{"limits.queue_wait", c.Limits.QueueWait, false}, {"log.slow_queries", c.Log.SlowQueries, true},
		{"hot.retention", c.Hot.Retention, true}, {"cold.lag", c.Cold.Lag, true}, {"query.max_range", c.Query.MaxRange, true},
	} {
		if duration.value < 0 && duration.zeroAllowed {
			add(duration.key, errors.New("must not be negative"))
		} else if duration.value <= 0 && !duration.zeroAllowed {
			add(duration.key, fmt.Errorf("is %s, and must be longer than zero", time.Duration(duration.value)))
		}
	}
	const mebibyte = 1 << 20
	for _, number := range []struct {
		key                     string
		value, minimum, maximum int
	}{
		{"query.splice_bytes", c.Query.SpliceBytes, mebibyte, math.MaxInt}, {"query.max_length", c.Query.MaxLength, 1, maxQueryLength},
		{"cache.max_bytes", c.Cache.MaxBytes, mebibyte, math.MaxInt}, {"cache.redis.database", c.Cache.Redis.Database, 0, math.MaxInt},
		{"pool.size", c.Pool.Size, 1, math.MaxInt}, {"limits.concurrent", c.Limits.Concurrent, 0, math.MaxInt},
		{"limits.queue", c.Limits.Queue, 0, math.MaxInt}, {"limits.shared_bytes", c.Limits.SharedBytes, 0, math.MaxInt},
		{"limits.shared_memory", c.Limits.SharedMemory, 0, math.MaxInt}, {"limits.decoded_memory", c.Limits.DecodedMemory, 0, math.MaxInt},
		{"limits.project_tiers", c.Limits.ProjectTiers, 1, math.MaxInt}, {"tracing.sample_percent", c.Tracing.SamplePercent, 0, 100},
	} {
		if number.value < number.minimum || number.value > number.maximum {
			bounds := fmt.Sprintf("at least %d", number.minimum)
			if number.maximum < math.MaxInt {
				bounds = fmt.Sprintf("from %d to %d", number.minimum, number.maximum)
			}
			add(number.key, fmt.Errorf("is %d, and must be %s", number.value, bounds))
		}
	}
	if c.Limits.Concurrent > c.Pool.Size && c.Pool.Size > 0 && !c.Pool.HTTP2 {
		add("limits.concurrent", fmt.Errorf("is %d, but the pool has only %d connections: raise pool.size, or lower limits.concurrent", c.Limits.Concurrent, c.Pool.Size))
	}
	if minimum := 4 * BodyMemoryFactor * c.Query.MaxBodyBytes(); c.Limits.RequestMemory < minimum {
		add("limits.request_memory", fmt.Errorf("is %d, and must be at least %d: one request may need a quarter of it, and one caller gets no more. Raise it, or lower query.max_length", c.Limits.RequestMemory, minimum))
	}
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
