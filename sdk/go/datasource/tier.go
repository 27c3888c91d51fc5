package datasource

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Tier is the place of a Prometheus API: a URL or a service of the gateway's cluster, exactly one of them.
type Tier struct {
	// URL of the Prometheus API, without the trailing /api/v1.
	URL string `json:"url,omitempty" yaml:"url,omitempty"`
	// Service of the cluster that the gateway runs in.
	Service *Service `json:"service,omitempty" yaml:"service,omitempty"`
}

// HotTier says where the recent data is, and how far back it goes. With a Name and neither URL nor Service, it is the
// gateway's hot tier of this name.
type HotTier struct {
	// Name of the tier. It differs from those of the other hot tiers.
	Name string `json:"name,omitempty" yaml:"name,omitempty"`
	Tier `yaml:",inline"`
	// Retention is how long hot keeps its data. Left out: the gateway measures it.
	Retention string `json:"retention,omitempty" yaml:"retention,omitempty"`
	// Others are the hot tiers after this one. JSON and YAML then hold a list that begins with this tier.
	Others []HotTier `json:"-" yaml:"-"`
}

// oneHotTier is a hot tier without a list.
type oneHotTier HotTier

// MarshalJSON writes one tier as an object, and several as a list.
func (h HotTier) MarshalJSON() ([]byte, error) { return json.Marshal(h.value()) }

// MarshalYAML writes one tier as a mapping, and several as a list.
func (h HotTier) MarshalYAML() (any, error) { return h.value(), nil }

func (h HotTier) value() any {
	if len(h.Others) == 0 {
		return oneHotTier(h)
	}
	tiers := []oneHotTier{oneHotTier(h)}
	for _, other := range h.Others {
		tiers = append(tiers, oneHotTier(other))
	}
	return tiers
}

// UnmarshalJSON reads one tier or a list. A field that does not exist is an error.
func (h *HotTier) UnmarshalJSON(data []byte) error {
	tiers := make([]oneHotTier, 1)
	var read any = &tiers[0]
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")) {
		read = &tiers
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(read); err != nil {
		return err
	}
	if len(tiers) == 0 {
		return errors.New("hot: " + hotRule)
	}
	*h = HotTier(tiers[0])
	for _, other := range tiers[1:] {
		h.Others = append(h.Others, HotTier(other))
	}
	return nil
}

// ColdTier says where all data is, and how up to date it is.
type ColdTier struct {
	Tier `yaml:",inline"`
	// Lag is how far the newest data of cold is behind the present.
	Lag string `json:"lag,omitempty" yaml:"lag,omitempty"`
}

// Service names a service of the cluster and one of its ports.
type Service struct {
	// Namespace and Name of the service.
	Namespace string `json:"namespace" yaml:"namespace"`
	Name      string `json:"name" yaml:"name"`
	// Port is a port of the service. Left out: its only one, or the one named as web ports are.
	Port *Port `json:"port,omitempty" yaml:"port,omitempty"`
	// Scheme is http or https. Left out: what the service says of the port, and otherwise http.
	Scheme string `json:"scheme,omitempty" yaml:"scheme,omitempty"`
}

// Port is the number of a port, or its name where that is not empty.
type Port struct {
	Number int
	Name   string
}

// MarshalJSON writes the number as a number and the name as a string.
func (p Port) MarshalJSON() ([]byte, error) { return json.Marshal(p.value()) }

// MarshalYAML writes the number as a number and the name as a string.
func (p Port) MarshalYAML() (any, error) { return p.value(), nil }

func (p Port) value() any {
	if p.Name != "" {
		return p.Name
	}
	return p.Number
}

// UnmarshalJSON reads a number or a name, which is not empty.
func (p *Port) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &p.Number) == nil {
		return nil
	}
	if json.Unmarshal(data, &p.Name) != nil || p.Name == "" {
		return fmt.Errorf("port %s: %s", data, portRule)
	}
	return nil
}

// tierBuilder is what the options of a tier change.
type tierBuilder struct {
	which                string
	tier                 Tier
	name, retention, lag string
}

// TierOption sets one part of a tier.
type TierOption func(tier *tierBuilder) error

func createTier(which string, options []TierOption) (tierBuilder, error) {
	builder := tierBuilder{which: which}
	var mistakes []error
	for _, option := range options {
		mistakes = append(mistakes, option(&builder))
	}
	return builder, errors.Join(mistakes...)
}

// URL sets the address of the Prometheus API, without the trailing /api/v1.
func URL(url string) TierOption {
	return func(tier *tierBuilder) error {
		tier.tier.URL = url
		return nil
	}
}

// InCluster sets a service of the cluster that the gateway runs in.
func InCluster(namespace, name string, options ...ServiceOption) TierOption {
	return func(tier *tierBuilder) error {
		tier.tier.Service = &Service{Namespace: namespace, Name: name}
		for _, option := range options {
			option(tier.tier.Service)
		}
		return nil
	}
}

// TierName sets the name of a hot tier. Without URL and InCluster, the tier is the gateway's hot tier of this name.
func TierName(name string) TierOption {
	return func(tier *tierBuilder) error {
		if tier.which != "hot" {
			return fmt.Errorf("%s: a name is for hot", tier.which)
		}
		tier.name = name
		return nil
	}
}

// Retention sets how long hot keeps its data, longer than zero.
func Retention(length time.Duration) TierOption {
	return func(tier *tierBuilder) (err error) {
		if tier.which != "hot" {
			return fmt.Errorf("%s: retention is for hot", tier.which)
		}
		tier.retention, err = durationText("hot: retention", length)
		return err
	}
}

// Lag sets how far the newest data of cold is behind the present. Zero says that it is not behind.
func Lag(length time.Duration) TierOption {
	return func(tier *tierBuilder) (err error) {
		if tier.which != "cold" {
			return fmt.Errorf("%s: lag is for cold", tier.which)
		}
		tier.lag, err = durationText("cold: lag", length)
		return err
	}
}

// ServiceOption sets one part of a service.
type ServiceOption func(service *Service)

// PortNumber sets the port by its number.
func PortNumber(number int) ServiceOption {
	return func(service *Service) { service.Port = &Port{Number: number} }
}

// PortName sets the port by its name.
func PortName(name string) ServiceOption {
	return func(service *Service) { service.Port = &Port{Name: name} }
}

// Scheme sets what the service talks: http or https.
func Scheme(scheme string) ServiceOption {
	return func(service *Service) { service.Scheme = scheme }
}
