package datasource

import (
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

// HotTier says where the recent data is, and how far back it goes.
type HotTier struct {
	Tier `yaml:",inline"`
	// Retention is how long hot keeps its data. Left out: the gateway measures it.
	Retention string `json:"retention,omitempty" yaml:"retention,omitempty"`
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
	which          string
	tier           Tier
	retention, lag string
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
