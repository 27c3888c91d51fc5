package perses

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// Kind is the kind of the datasource plugin.
const Kind = "TieredPrometheusDatasource"

// Datasource is a saved datasource of Perses.
type Datasource struct {
	// Reference names it.
	Reference Reference
	// Spec is its validated spec.
	Spec Spec
	// Generation changes with the spec.
	Generation string

	size int // of the spec's JSON in bytes
}

// Spec is the spec of a TieredPrometheusDatasource. What is absent there is
// zero here, and comes from the gateway.
type Spec struct {
	// Threshold is the span from which on cold is asked; zero when absent.
	Threshold model.Duration `json:"threshold"`
	// Strategy is route or split; empty when absent.
	Strategy string `json:"strategy"`
	// SplitAcrossReplicas cuts queries although hot has several replicas; nil when
	// absent.
	SplitAcrossReplicas *bool `json:"splitAcrossReplicas"`
	// Cache keeps answers of cold; nil when absent.
	Cache *bool `json:"cache"`
	// Hot and Cold are the tiers that the spec names; nil when absent.
	Hot  *TierSpec `json:"hot"`
	Cold *TierSpec `json:"cold"`
	// ScrapeInterval is that of the metrics; zero when absent.
	ScrapeInterval model.Duration `json:"scrapeInterval"`
	// QueryParams are sent along by the plugin with every query.
	QueryParams map[string]string `json:"queryParams"`
	// Proxy is what Perses does before a request reaches the gateway.
	Proxy Proxy `json:"proxy"`
}

// TierSpec names one tier. Exactly one of URL and Service is set.
type TierSpec struct {
	// URL is the base of the tier's Prometheus API.
	URL *URL `json:"url"`
	// Service is a Kubernetes service.
	Service *Service `json:"service"`
	// Retention bounds how far back hot is asked; zero when absent.
	Retention model.Duration `json:"retention"`
	// Lag is how far the newest data of cold is behind.
	Lag model.Duration `json:"lag"`
}

// URL is a URL that JSON writes as a string.
type URL struct{ url.URL }

// UnmarshalText implements encoding.TextUnmarshaler.
func (u *URL) UnmarshalText(text []byte) error { return u.UnmarshalBinary(text) }

// Service names a Kubernetes service and one of its ports.
type Service struct {
	// Namespace and Name are DNS-1123 labels.
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Port is the number or the name of the port; empty when absent.
	Port Port `json:"port"`
	// Scheme is http or https; empty when absent.
	Scheme string `json:"scheme"`
}

// Port is the number or the name of a port.
type Port string

// UnmarshalJSON implements json.Unmarshaler: a number stands without quotes.
func (p *Port) UnmarshalJSON(text []byte) error {
	*p = Port(bytes.Trim(text, `"`))
	return nil
}

// Proxy is what the gateway reads of the spec's HTTPProxy.
type Proxy struct {
	// AllowedEndpoints, if any, are all that may be asked.
	AllowedEndpoints []AllowedEndpoint `json:"allowedEndpoints"`
	// Headers are those that Perses sets on every request.
	Headers map[string]string `json:"headers"`
}

// UnmarshalJSON implements json.Unmarshaler: an HTTPProxy has a spec of its own.
func (p *Proxy) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &struct {
		Spec *proxyFields `json:"spec"`
	}{(*proxyFields)(p)})
}

// proxyFields is a Proxy without its methods.
type proxyFields Proxy

// AllowedEndpoint is a method and a pattern of paths, matched anywhere in the
// path as Perses does.
type AllowedEndpoint struct {
	// Method is the HTTP method.
	Method string `json:"method"`
	// Pattern is a regular expression that matches the path below the datasource.
	// It is compiled when it is needed: what is kept of a datasource is no larger
	// than its spec.
	Pattern string `json:"endpointPattern"`
}

// allows reports whether the endpoint is the one of a request.
func (e AllowedEndpoint) allows(method, path string) bool {
	if e.Method != method {
		return false
	}
	pattern, err := regexp.Compile(e.Pattern)
	return err == nil && pattern.MatchString(path)
}

// CheckEndpoint returns an Error with status 403 when the proxy of the
// datasource does not allow the endpoint.
func (d *Datasource) CheckEndpoint(method, path string) error {
	allowed := d.Spec.Proxy.AllowedEndpoints
	if len(allowed) == 0 || slices.ContainsFunc(allowed, func(endpoint AllowedEndpoint) bool {
		return endpoint.allows(method, path)
	}) {
		return nil
	}
	return promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden,
		"the allowedEndpoints of %s do not include %s %s", d.Reference, method, path)
}

// ParseSpec reads and checks the spec of a datasource plugin, JSON as Perses
// stores it. It returns all mistakes at once, as SpecErrors.
func ParseSpec(raw json.RawMessage) (*Spec, error) {
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		value = nil // Which is no object.
	}
	var mistakes SpecErrors
	specRule("spec", value, func(path, format string, arguments ...any) {
		mistakes = append(mistakes, SpecError{Field: path, Message: fmt.Sprintf(format, arguments...)})
	})
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	spec := &Spec{}
	checked, err := json.Marshal(value) // No field is there twice.
	if err == nil {
		err = json.Unmarshal(checked, spec)
	}
	if err != nil {
		return nil, SpecErrors{{Field: "spec", Message: err.Error()}}
	}
	return spec, nil
}

// SpecError is one thing that is wrong with a spec.
type SpecError struct {
	// Field is the path of the field, such as spec.hot.url.
	Field string
	// Message says what to change.
	Message string
}

// SpecErrors are all mistakes of a spec.
type SpecErrors []SpecError

// Error names each field and says what to change, one in a line.
func (s SpecErrors) Error() string {
	var lines []string
	for _, mistake := range s {
		lines = append(lines, mistake.Field+": "+mistake.Message)
	}
	return strings.Join(lines, "\n")
}
