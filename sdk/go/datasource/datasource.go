// Package datasource builds datasources of the kind TieredPrometheusDatasource with the Go SDK of Perses.
package datasource

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/perses/perses/go-sdk/datasource"
	"github.com/perses/spec/go/datasource/proxy/http"
)

// PluginKind is the kind of the datasource, as Perses writes it.
const PluginKind = "TieredPrometheusDatasource"

// PluginSpec is everything that can be set in a datasource. Only Proxy is required; what is left out is decided by the
// gateway. Durations are written as Prometheus writes them, such as "15m".
type PluginSpec struct {
	// Threshold is the span of time from which on a query goes to cold rather than to hot, if both can answer it.
	Threshold string `json:"threshold,omitempty" yaml:"threshold,omitempty"`
	// Strategy is "split", where a range query may be cut, or "route", where each query goes to one tier. Empty: the
	// gateway's, by default "split".
	Strategy string `json:"strategy,omitempty" yaml:"strategy,omitempty"`
	// SplitAcrossReplicas is set where range queries are cut although hot has several replicas, and cleared where not.
	SplitAcrossReplicas *bool `json:"splitAcrossReplicas,omitempty" yaml:"splitAcrossReplicas,omitempty"`
	// Cache is set where answers of cold that can no longer change are kept, and cleared where none is.
	Cache *bool `json:"cache,omitempty" yaml:"cache,omitempty"`
	// Hot is the tier with the recent data, and the Others after it. Left out: those of the gateway.
	Hot *HotTier `json:"hot,omitempty" yaml:"hot,omitempty"`
	// Cold is the tier with all data. Left out: that of the gateway.
	Cold *ColdTier `json:"cold,omitempty" yaml:"cold,omitempty"`
	// ScrapeInterval is the smallest step that Perses asks for. Left out: one minute.
	ScrapeInterval string `json:"scrapeInterval,omitempty" yaml:"scrapeInterval,omitempty"`
	// QueryParams are sent along with every query.
	QueryParams map[string]string `json:"queryParams,omitempty" yaml:"queryParams,omitempty"`
	// Proxy makes Perses forward the queries to the gateway.
	Proxy *http.Proxy `json:"proxy,omitempty" yaml:"proxy,omitempty"`
}

// UnmarshalJSON reads a spec. A field that does not exist and a value that Perses would refuse are errors.
func (s *PluginSpec) UnmarshalJSON(data []byte) error {
	type plain PluginSpec
	var read PluginSpec
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode((*plain)(&read)); err != nil {
		return err
	}
	if err := read.validate(); err != nil {
		return err
	}
	*s = read
	return nil
}

// Builder is what options change.
type Builder struct {
	PluginSpec `json:",inline" yaml:",inline"`
}

// Option sets one part of the datasource.
type Option func(plugin *Builder) error

func create(options ...Option) (Builder, error) {
	builder := Builder{}
	var mistakes []error
	for _, option := range options {
		mistakes = append(mistakes, option(&builder))
	}
	err := errors.Join(append(mistakes, builder.validate())...)
	if err != nil {
		err = fmt.Errorf("%s:\n%w", PluginKind, err)
	}
	return builder, err
}

// TieredPrometheus makes a datasource of Perses' SDK one of this kind. All mistakes are in its error at once. HTTPProxy
// is required among the options.
func TieredPrometheus(options ...Option) datasource.Option {
	return func(builder *datasource.Builder) error {
		plugin, err := create(options...)
		if err != nil {
			return err
		}
		builder.Spec.Plugin.Kind = PluginKind
		builder.Spec.Plugin.Spec = plugin.PluginSpec
		return nil
	}
}
