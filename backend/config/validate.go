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

func isPersesName(name string) bool {
	return persesName.MatchString(name) && strings.Trim(name, ".") != ""
}

// CheckPersesNames returns an error if the name of a datasource, or a name of what contains
// it, is not valid in Perses. Empty parents are valid.
func CheckPersesNames(name string, parents ...string) error {
	for i, part := range append([]string{name}, parents...) {
		if (part != "" || i == 0) && !isPersesName(part) {
			return fmt.Errorf("%q cannot be the name of a datasource, dashboard or project: Perses names have 1 to 75 letters, digits, '_', '.' and '-'", part)
		}
	}
	return nil
}

// mistakes collects the errors of a configuration.
type mistakes []error

// add adds an error of a key, if it is not nil.
func (m *mistakes) add(key string, err error) {
	if err != nil {
		*m = append(*m, fmt.Errorf("%s: %w", key, err))
	}
}

// addIf adds an error of a key, if the condition is met.
func (m *mistakes) addIf(isWrong bool, key, format string, arguments ...any) {
	if isWrong {
		m.add(key, fmt.Errorf(format, arguments...))
	}
}

// Validate checks the configuration. It returns all errors, joined. Each names its
// key and the change to make.
func (c *Config) Validate() error {
	var m mistakes
	m.add("perses.url", validURL(c.Perses.URL))
	c.validateHot(&m)
	m.add("cold.url", validURL(c.Cold.URL))
	m.add("tracing.endpoint", validURL(c.Tracing.Endpoint))
	m.addIf(!c.Hot.hasTier() && c.Cold.URL == "" && c.Perses.URL == "" && !c.Discovery.Enabled,
		"hot.url, cold.url", "without Perses and discovery, set at least one tier")
	m.addIf(c.Routing.Strategy != StrategyRoute && c.Routing.Strategy != StrategySplit,
		"routing.strategy", "is %q, and must be route or split", c.Routing.Strategy)
	c.Discovery.validate(&m)
	c.validateNumbers(&m)
	c.Cache.Redis.validate(&m)
	c.validateSecurity(&m)
	return errors.Join(m...)
}

// maxQueryLength is the maximum of query.max_length. The other limits on the cost of a
// query assume texts of at most this length.
const maxQueryLength = 1 << 20

// validateNumbers checks that durations and numbers are within their bounds.
func (c *Config) validateNumbers(m *mistakes) {
	for _, duration := range []struct {
		key         string
		value       Duration
		zeroAllowed bool
	}{
		{"perses.timeout", c.Perses.Timeout, false}, {"routing.threshold", c.Routing.Threshold, false},
		{"routing.freshness", c.Routing.Freshness, false}, {"query.timeout", c.Query.Timeout, false},
		{"probe.interval", c.Probe.Interval, false}, {"probe.learn_interval", c.Probe.LearnInterval, false},
		{"limits.queue_wait", c.Limits.QueueWait, false}, {"log.slow_queries", c.Log.SlowQueries, true},
		{"cold.lag", c.Cold.Lag, true}, {"query.max_range", c.Query.MaxRange, true},
	} {
		m.addIf(duration.value < 0 && duration.zeroAllowed, duration.key, "must not be negative")
		m.addIf(duration.value <= 0 && !duration.zeroAllowed, duration.key, "is %s, and must be longer than zero", time.Duration(duration.value))
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
		{"live.max_streams", c.Live.MaxStreams, 0, math.MaxInt}, {"live.max_streams_per_caller", c.Live.MaxStreamsPerCaller, 1, math.MaxInt},
		{"live.memory", c.Live.Memory, mebibyte, math.MaxInt},
		{"limits.project_tiers", c.Limits.ProjectTiers, 1, math.MaxInt}, {"tracing.sample_percent", c.Tracing.SamplePercent, 0, 100},
	} {
		bounds := fmt.Sprintf("at least %d", number.minimum)
		if number.maximum < math.MaxInt {
			bounds = fmt.Sprintf("from %d to %d", number.minimum, number.maximum)
		}
		m.addIf(number.value < number.minimum || number.value > number.maximum, number.key, "is %d, and must be %s", number.value, bounds)
	}
	m.addIf(c.Limits.Concurrent > c.Pool.Size && c.Pool.Size > 0 && !c.Pool.HTTP2, "limits.concurrent",
		"is %d, but the pool has only %d connections: raise pool.size, or lower limits.concurrent", c.Limits.Concurrent, c.Pool.Size)
	minimum := 4 * BodyMemoryFactor * c.Query.MaxBodyBytes()
	m.addIf(c.Limits.RequestMemory < minimum, "limits.request_memory",
		"is %d, and must be at least %d: one request may need a quarter of it, and one caller gets no more. Raise it, or lower query.max_length", c.Limits.RequestMemory, minimum)
}

// shown quotes a value for an error, unless there may be a password in it.
func shown(text string) string {
	if strings.Contains(text, "@") {
		return "the value, which may hold a user and password,"
	}
	return strconv.Quote(text)
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
	case parsed.Scheme != "http" && parsed.Scheme != "https", parsed.Hostname() == "", strings.Contains(parsed.Host, ","):
		return fmt.Errorf("%s is not an http or https URL with a host: write http(s)://host[:port][/path]", shown(text))
	case parsed.RawQuery != "", parsed.Fragment != "":
		// Parameters may contain a token.
		return errors.New("must have neither parameters nor a fragment")
	}
	return nil
}

func (c DiscoveryConfig) validate(m *mistakes) {
	c.Hot.validate("discovery.hot", m)
	c.Cold.validate("discovery.cold", m)
	for i, namespace := range c.Namespaces {
		m.add(fmt.Sprintf("discovery.namespaces[%d]", i), validNamespace(namespace))
	}
	m.add("discovery.kubeconfig", absolute(c.Kubeconfig))
}

func (s ServiceConfig) validate(key string, m *mistakes) {
	if s.AllNamespaces {
		m.addIf(s.Selector == "", key+".all_namespaces", "requires selector")
		m.addIf(s.Namespace != "", key+".namespace", "must be empty with all_namespaces")
	} else {
		m.add(key+".namespace", validNamespace(s.Namespace))
	}
	_, err := labels.Parse(s.Selector)
	m.addIf(err != nil, key+".selector", "%q is not a label selector such as app.kubernetes.io/name=prometheus", s.Selector)
	m.addIf(s.Selector == "" && len(validation.IsDNS1035Label(s.Name)) > 0, key+".name", "%q is not the name of a Service", s.Name)
	number, err := strconv.Atoi(s.Port)
	m.addIf(err == nil && len(validation.IsValidPortNum(number)) > 0, key+".port", "%d is not a port from 1 to 65535", number)
	m.addIf(err != nil && s.Port != "" && len(validation.IsDNS1123Label(s.Port)) > 0, key+".port", "%q is neither the number nor the name of a port", s.Port)
	m.addIf(!isScheme(s.Scheme), key+".scheme", "%q is neither http nor https", s.Scheme)
}

// isScheme reports whether a scheme is http, https, or empty.
func isScheme(scheme string) bool { return scheme == "" || scheme == "http" || scheme == "https" }

func validNamespace(name string) error {
	if len(validation.IsDNS1123Label(name)) > 0 {
		return fmt.Errorf("%q is not the name of a namespace", name)
	}
	return nil
}
