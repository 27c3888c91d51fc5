package perses

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
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
}

// Spec is the spec of a TieredPrometheusDatasource. What is absent there is
// zero here, and comes from the gateway.
type Spec struct {
	// Threshold is the span from which on cold is asked; zero when absent.
	Threshold time.Duration
	// Strategy is route or split; empty when absent.
	Strategy string
	// SplitAcrossReplicas cuts queries although hot has several replicas; nil when
	// absent.
	SplitAcrossReplicas *bool
	// Cache keeps answers of cold; nil when absent.
	Cache *bool
	// Hot and Cold are the tiers that the spec names; nil when absent.
	Hot, Cold *TierSpec
	// ScrapeInterval is that of the metrics; zero when absent.
	ScrapeInterval time.Duration
	// QueryParams are sent along by the plugin with every query.
	QueryParams map[string]string
	// Proxy is what Perses does before a request reaches the gateway.
	Proxy Proxy
}

// TierSpec names one tier. Exactly one of URL and Service is set.
type TierSpec struct {
	// URL is the base of the tier's Prometheus API.
	URL *url.URL
	// Service is a Kubernetes service.
	Service *Service
	// Retention bounds how far back hot is asked; zero when absent.
	Retention time.Duration
	// Lag is how far the newest data of cold is behind.
	Lag time.Duration
}

// Service names a Kubernetes service and one of its ports.
type Service struct {
	// Namespace and Name are DNS-1123 labels.
	Namespace, Name string
	// Port is the number or the name of the port; empty when absent.
	Port string
	// Scheme is http or https; empty when absent.
	Scheme string
}

// Proxy is what the gateway reads of the spec's HTTPProxy.
type Proxy struct {
	// AllowedEndpoints, if any, are all that may be asked.
	AllowedEndpoints []AllowedEndpoint
	// Headers are those that Perses sets on every request.
	Headers map[string]string
}

// AllowedEndpoint is a method and a pattern of paths, matched anywhere in the
// path as Perses does.
type AllowedEndpoint struct {
	// Method is the HTTP method.
	Method string
	// Pattern is a regular expression that matches the path below the datasource.
	// It is compiled when it is needed: what is kept of a datasource is no larger
	// than its spec.
	Pattern string
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

// Patterns of the CUE model, which may not have run.
var (
	dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	proxyURL = regexp.MustCompile(`^https?://` + authority + `(/[^/\\\s?#%]+)*/proxy/(globaldatasources|projects/` + persesName + `(/dashboards/` + persesName + `)?/datasources)/` + persesName + `/?(\?[^\s#]*)?$`)
	tierURL  = regexp.MustCompile(`^https?://` + authority + `(/[^\\\s?#]*)?$`)
)

const (
	authority = `([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?`
	// persesName is a name as Perses has them, but not one of dots only.
	persesName = `[A-Za-z0-9_.-]*[A-Za-z0-9_-][A-Za-z0-9_.-]*`
)

// validURL tells whether the text is a URL of that form with a possible port.
func validURL(form *regexp.Regexp, text string) (*url.URL, bool) {
	parsed, err := url.Parse(text)
	if err != nil || !form.MatchString(text) {
		return nil, false
	}
	if port := parsed.Port(); port != "" {
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil || number == 0 {
			return nil, false
		}
	}
	return parsed, true
}

// ParseSpec reads and checks the spec of a datasource plugin, JSON as Perses
// stores it. It returns all mistakes at once, joined: see Mistakes.
func ParseSpec(raw json.RawMessage) (*Spec, error) {
	reader := &specReader{}
	spec := &Spec{}
	reader.object("spec", raw, fields{
		"threshold": func(path string, raw json.RawMessage) { spec.Threshold = reader.positiveDuration(path, raw) },
		"strategy": func(path string, raw json.RawMessage) {
			const demand = "must be route or split"
			if reader.decode(path, raw, &spec.Strategy, demand) && spec.Strategy != "route" && spec.Strategy != "split" {
				reader.mistake(path, demand)
			}
		},
		"splitAcrossReplicas": func(path string, raw json.RawMessage) {
			reader.boolean(path, raw, &spec.SplitAcrossReplicas)
		},
		"cache":          func(path string, raw json.RawMessage) { reader.boolean(path, raw, &spec.Cache) },
		"hot":            func(path string, raw json.RawMessage) { spec.Hot = reader.tier(path, raw, "retention") },
		"cold":           func(path string, raw json.RawMessage) { spec.Cold = reader.tier(path, raw, "lag") },
		"scrapeInterval": func(path string, raw json.RawMessage) { spec.ScrapeInterval = reader.positiveDuration(path, raw) },
		"queryParams": func(path string, raw json.RawMessage) {
			reader.decode(path, raw, &spec.QueryParams, "must map names to strings")
		},
		"proxy": func(path string, raw json.RawMessage) { spec.Proxy = reader.proxy(path, raw) },
	}, "proxy")
	if len(reader.mistakes) > 0 {
		return nil, errors.Join(reader.mistakes...)
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

// Error names the field and says what to change.
func (m *SpecError) Error() string { return m.Field + ": " + m.Message }

// Mistakes takes an error of ParseSpec apart.
func Mistakes(err error) []*SpecError {
	joined, isJoined := err.(interface{ Unwrap() []error })
	if !isJoined {
		return nil
	}
	var list []*SpecError
	for _, each := range joined.Unwrap() {
		if mistake, ok := errors.AsType[*SpecError](each); ok {
			list = append(list, mistake)
		}
	}
	return list
}

// specReader collects the mistakes of a spec while it is read.
type specReader struct {
	mistakes []error
}

// fields says what to do with each field that an object may have.
type fields map[string]func(path string, raw json.RawMessage)

func (r *specReader) mistake(path, format string, arguments ...any) {
	r.mistakes = append(r.mistakes, &SpecError{Field: path, Message: fmt.Sprintf(format, arguments...)})
}

func (r *specReader) decode(path string, raw json.RawMessage, into any, demand string) bool {
	if err := json.Unmarshal(raw, into); err != nil || string(raw) == "null" {
		r.mistake(path, "%s", demand)
		return false
	}
	return true
}

// object reads a JSON object that has the given fields and no others.
func (r *specReader) object(path string, raw json.RawMessage, known fields, required ...string) map[string]json.RawMessage {
	members := map[string]json.RawMessage{}
	if !r.decode(path, raw, &members, "must be an object") {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		read, found := known[name]
		if !found {
			r.mistake(path+"."+name, "unknown field: remove it, or use one of %s", strings.Join(slices.Sorted(maps.Keys(known)), ", "))
			continue
		}
		read(path+"."+name, members[name])
	}
	for _, name := range required {
		if _, found := members[name]; !found {
			r.mistake(path, "the field %s is required", name)
		}
	}
	return members
}

func (r *specReader) boolean(path string, raw json.RawMessage, into **bool) {
	r.decode(path, raw, into, "must be true or false, without quotes")
}

func (r *specReader) duration(path string, raw json.RawMessage) time.Duration {
	var text string
	const demand = "must be a duration such as 90s, 15m or 1h30m"
	if !r.decode(path, raw, &text, demand) {
		return 0
	}
	parsed, err := model.ParseDuration(text)
	// Prometheus takes a bare 0; the unit is asked for, as in CUE.
	if err != nil || text == "0" {
		r.mistake(path, demand)
	}
	return time.Duration(parsed)
}

func (r *specReader) positiveDuration(path string, raw json.RawMessage) time.Duration {
	before := len(r.mistakes)
	duration := r.duration(path, raw)
	if duration == 0 && len(r.mistakes) == before {
		r.mistake(path, "must be longer than zero")
	}
	return duration
}

// tier reads a tier. extra is the one field that only this tier has.
func (r *specReader) tier(path string, raw json.RawMessage, extra string) *TierSpec {
	tier := &TierSpec{}
	known := fields{
		"url":     func(path string, raw json.RawMessage) { tier.URL = r.tierURL(path, raw) },
		"service": func(path string, raw json.RawMessage) { tier.Service = r.service(path, raw) },
	}
	switch extra {
	case "retention":
		known[extra] = func(path string, raw json.RawMessage) { tier.Retention = r.positiveDuration(path, raw) }
	case "lag":
		known[extra] = func(path string, raw json.RawMessage) { tier.Lag = r.duration(path, raw) }
	}
	members := r.object(path, raw, known)
	if members == nil {
		return tier
	}
	_, hasURL := members["url"]
	_, hasService := members["service"]
	if hasURL == hasService {
		r.mistake(path, "a tier has either url or service, exactly one of them")
	}
	return tier
}

func (r *specReader) tierURL(path string, raw json.RawMessage) *url.URL {
	const demand = "must be http(s)://host[:port][/path], without user, parameters or fragment"
	var text string
	if !r.decode(path, raw, &text, demand) {
		return nil
	}
	parsed, valid := validURL(tierURL, text)
	if !valid {
		r.mistake(path, demand)
	}
	return parsed
}

func (r *specReader) service(path string, raw json.RawMessage) *Service {
	service := &Service{}
	label := func(target *string) func(string, json.RawMessage) {
		return func(path string, raw json.RawMessage) {
			const demand = "must be 1 to 63 lower-case letters, digits or '-', with a letter or digit at both ends"
			if r.decode(path, raw, target, demand) && !dnsLabel.MatchString(*target) {
				r.mistake(path, demand)
			}
		}
	}
	r.object(path, raw, fields{
		"namespace": label(&service.Namespace),
		"name":      label(&service.Name),
		"port":      func(path string, raw json.RawMessage) { service.Port = r.port(path, raw) },
		"scheme": func(path string, raw json.RawMessage) {
			const demand = "must be http or https"
			if r.decode(path, raw, &service.Scheme, demand) && service.Scheme != "http" && service.Scheme != "https" {
				r.mistake(path, demand)
			}
		},
	}, "namespace", "name")
	return service
}

func (r *specReader) port(path string, raw json.RawMessage) string {
	const demand = "must be a number from 1 to 65535, without quotes, or the name of a port of the service"
	var number int
	if json.Unmarshal(raw, &number) == nil && string(raw) != "null" {
		if number < 1 || number > 65535 {
			r.mistake(path, demand)
		}
		return string(raw)
	}
	var name string
	if r.decode(path, raw, &name, demand) && (!dnsLabel.MatchString(name) || !strings.ContainsAny(name, "abcdefghijklmnopqrstuvwxyz")) {
		r.mistake(path, demand)
	}
	return name
}

// proxy reads what is needed of the proxy and leaves the rest to Perses, which
// validates that block itself and lets it grow.
func (r *specReader) proxy(path string, raw json.RawMessage) Proxy {
	var proxy Proxy
	var kind string
	r.object(path, raw, fields{
		"kind": func(path string, raw json.RawMessage) {
			if r.decode(path, raw, &kind, "must be HTTPProxy") && kind != "HTTPProxy" {
				r.mistake(path, "must be HTTPProxy")
			}
		},
		"spec": func(path string, raw json.RawMessage) { proxy = r.proxySpec(path, raw) },
	}, "kind", "spec")
	return proxy
}

func (r *specReader) proxySpec(path string, raw json.RawMessage) Proxy {
	var parsed struct {
		URL              string            `json:"url"`
		Headers          map[string]string `json:"headers"`
		AllowedEndpoints []struct {
			EndpointPattern string `json:"endpointPattern"`
			Method          string `json:"method"`
		} `json:"allowedEndpoints"`
	}
	if !r.decode(path, raw, &parsed, "must be an object with a url, and headers and allowedEndpoints as Perses has them") {
		return Proxy{}
	}
	if _, valid := validURL(proxyURL, parsed.URL); !valid {
		r.mistake(path+".url", "must name this datasource: http(s)://GATEWAY/proxy/globaldatasources/NAME, or /proxy/projects/PROJECT/datasources/NAME")
	}
	proxy := Proxy{Headers: parsed.Headers}
	patterns := make([]string, 0, len(parsed.AllowedEndpoints))
	for _, endpoint := range parsed.AllowedEndpoints {
		patterns = append(patterns, endpoint.EndpointPattern)
	}
	if err := promql.CheckRegexps(patterns...); err != nil {
		r.mistake(path+".allowedEndpoints", "%s", err)
		return proxy
	}
	for i, endpoint := range parsed.AllowedEndpoints {
		if _, err := regexp.Compile(endpoint.EndpointPattern); err != nil {
			r.mistake(fmt.Sprintf("%s.allowedEndpoints[%d].endpointPattern", path, i), "must be a regular expression: %s", err)
			continue
		}
		proxy.AllowedEndpoints = append(proxy.AllowedEndpoints, AllowedEndpoint{Method: endpoint.Method, Pattern: endpoint.EndpointPattern})
	}
	return proxy
}
