package perses

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/prometheus/common/model"
)

// Kind is the kind of the datasource plugin.
const Kind = "TieredPrometheusDatasource"

// Spec is the spec of a TieredPrometheusDatasource. A field that is absent there has its
// zero value here; the gateway's configuration then applies.
type Spec struct {
	// Threshold is the span from which queries go to cold.
	Threshold model.Duration `json:"threshold"`
	// Strategy is route or split.
	Strategy string `json:"strategy"`
	// SplitAcrossReplicas splits queries even if hot has several replicas.
	SplitAcrossReplicas *bool `json:"splitAcrossReplicas"`
	// Cache enables the cache for answers of cold.
	Cache *bool `json:"cache"`
	// Hot are the hot tiers, in the order of the spec.
	Hot TierList `json:"hot"`
	// Cold is the cold tier.
	Cold *TierSpec `json:"cold"`
	// ScrapeInterval is the scrape interval of the metrics.
	ScrapeInterval model.Duration `json:"scrapeInterval"`
	// QueryParams are parameters that the plugin adds to every query.
	QueryParams map[string]string `json:"queryParams"`
	// Proxy is the HTTP proxy of Perses in front of the gateway.
	Proxy struct {
		Spec ProxySpec `json:"spec"`
	} `json:"proxy"`
}

// TierList is a list of tiers. It is nil if the spec has none.
type TierList []TierSpec

// UnmarshalJSON implements json.Unmarshaler. One tier may be an object without a list.
func (t *TierList) UnmarshalJSON(text []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		*t = make(TierList, 1)
		return json.Unmarshal(text, &(*t)[0])
	}
	return json.Unmarshal(text, (*[]TierSpec)(t))
}

// TierSpec names one tier. At most one of URL and Service is set. A hot tier with neither
// is the tier of the gateway's configuration that has this Name.
type TierSpec struct {
	// Name is the name of a hot tier. It is unique in a list, and may be empty.
	Name string `json:"name"`
	// URL is the base URL of the tier's Prometheus API.
	URL *URL `json:"url"`
	// Service is a Kubernetes Service.
	Service *Service `json:"service"`
	// Retention limits how far back queries go to hot.
	Retention model.Duration `json:"retention"`
	// Lag is how far the newest data of cold is behind the present.
	Lag model.Duration `json:"lag"`
}

// URL is a URL in JSON.
type URL struct{ url.URL }

// UnmarshalText implements encoding.TextUnmarshaler.
func (u *URL) UnmarshalText(text []byte) error { return u.UnmarshalBinary(text) }

// Service names a Kubernetes Service and one of its ports.
type Service struct {
	// Namespace and Name are DNS-1123 labels.
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Port is the number or the name of the port.
	Port Port `json:"port"`
	// Scheme is http or https.
	Scheme string `json:"scheme"`
}

// Port is the number or the name of a port.
type Port string

// UnmarshalJSON implements json.Unmarshaler. A number has no quotes.
func (p *Port) UnmarshalJSON(text []byte) error {
	*p = Port(bytes.Trim(text, `"`))
	return nil
}

// ProxySpec is the part of an HTTPProxy that the gateway reads.
type ProxySpec struct {
	// AllowedEndpoints are the only endpoints that callers may use. Empty: all.
	AllowedEndpoints []AllowedEndpoint `json:"allowedEndpoints"`
	// Headers are the headers that Perses sets on every request.
	Headers map[string]string `json:"headers"`
}

// AllowedEndpoint is a method and a pattern of paths.
type AllowedEndpoint struct {
	// Method is the HTTP method.
	Method string `json:"method"`
	// Pattern is a regular expression that matches anywhere in the path below the
	// datasource, as in Perses. It is not compiled here, so that a cached datasource is
	// not larger than its spec.
	Pattern string `json:"endpointPattern"`
}

// ParseSpec parses and validates the spec of a datasource plugin, in JSON. tenants are the further
// headers that select a tenant. ParseSpec returns all mistakes, as SpecErrors.
func ParseSpec(raw json.RawMessage, tenants TenantHeaders) (*Spec, error) {
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		value = nil // It is no object.
	}
	var mistakes SpecErrors
	specRule("spec", value, func(path, format string, arguments ...any) {
		mistakes = append(mistakes, SpecError{Field: path, Message: fmt.Sprintf(format, arguments...)})
	})
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	spec := &Spec{}
	checked, err := json.Marshal(value) // Without duplicate fields.
	if err == nil {
		err = json.Unmarshal(checked, spec)
	}
	if err != nil {
		return nil, SpecErrors{{Field: "spec", Message: err.Error()}}
	}
	if mistakes = tenants.check("spec.proxy.spec", spec.Proxy.Spec.Headers); len(mistakes) > 0 {
		return nil, mistakes
	}
	return spec, nil
}

// SpecError is one mistake in a spec.
type SpecError struct {
	// Field is the path of the field, such as spec.hot.url.
	Field string `json:"field"`
	// Message says what to change.
	Message string `json:"message"`
}

// SpecErrors are all mistakes in a spec.
type SpecErrors []SpecError

// Error returns one line for each mistake.
func (s SpecErrors) Error() string {
	var lines []string
	for _, mistake := range s {
		lines = append(lines, mistake.Field+": "+mistake.Message)
	}
	return strings.Join(lines, "\n")
}
