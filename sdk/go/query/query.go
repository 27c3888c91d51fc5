// Package query builds queries of the kind TieredPrometheusTimeSeriesQuery with the Go SDK of Perses.
package query

import (
	"errors"
	"fmt"

	"github.com/perses/perses/go-sdk/query"
	"github.com/perses/spec/go/plugin"

	"github.com/tiered-prometheus/tiered-prometheus/sdk/go/datasource"
)

// PluginKind is the kind of the query, as Perses writes it.
const PluginKind = "TieredPrometheusTimeSeriesQuery"

// TierChoice says which tier a query asks.
type TierChoice string

// The choices. With Auto, which is meant where none is set, the rules of the gateway choose; the others ask that tier
// without a fallback to the other.
const (
	Auto TierChoice = "auto"
	Hot  TierChoice = "hot"
	Cold TierChoice = "cold"
)

// PluginSpec is everything that can be set in a query.
type PluginSpec struct {
	// Datasource to ask. Left out: the default datasource of the kind.
	Datasource *datasource.Reference `json:"datasource,omitempty" yaml:"datasource,omitempty"`
	// Query is the PromQL expression, which is not empty.
	Query string `json:"query" yaml:"query"`
	// SeriesNameFormat is the name of a series in legends, such as "{{instance}}". Left out: all its labels.
	SeriesNameFormat string `json:"seriesNameFormat,omitempty" yaml:"seriesNameFormat,omitempty"`
	// MinStep is the smallest step: a duration as Prometheus writes it, or a dashboard variable such as "$interval".
	MinStep string `json:"minStep,omitempty" yaml:"minStep,omitempty"`
	// Resolution divides the number of points of a panel.
	Resolution int `json:"resolution,omitempty" yaml:"resolution,omitempty"`
	// Instant evaluates the query once, at the end of the time range, whatever the panel asks for.
	Instant bool `json:"instant,omitempty" yaml:"instant,omitempty"`
	// Tier overrides the gateway's choice.
	Tier TierChoice `json:"tier,omitempty" yaml:"tier,omitempty"`
}

// Builder is what options change.
type Builder struct {
	PluginSpec `json:",inline" yaml:",inline"`
}

// Option sets one part of the query.
type Option func(plugin *Builder) error

// PromQL makes a query of Perses' SDK one of this kind. All mistakes are in its Error at once.
func PromQL(expr string, options ...Option) query.Option {
	builder := Builder{}
	var mistakes []error
	for _, option := range append([]Option{Expr(expr)}, options...) {
		mistakes = append(mistakes, option(&builder))
	}
	err := errors.Join(mistakes...)
	if err != nil {
		err = fmt.Errorf("%s:\n%w", PluginKind, err)
	}
	return query.Option{
		Kind:   plugin.KindTimeSeriesQuery,
		Plugin: plugin.Plugin{Kind: PluginKind, Spec: builder.PluginSpec},
		Error:  err,
	}
}
