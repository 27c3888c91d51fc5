// Package labelvalues builds variables of the kind TieredPrometheusLabelValuesVariable with the Go SDK of Perses.
package labelvalues

import (
	"errors"

	listvariable "github.com/perses/perses/go-sdk/variable/list-variable"
	v1 "github.com/perses/perses/pkg/model/api/v1"

	"github.com/tiered-prometheus/tiered-prometheus/sdk/go/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/sdk/go/internal/filter"
)

// PluginKind is the kind of the variable, as Perses writes it.
const PluginKind = "TieredPrometheusLabelValuesVariable"

// PluginSpec is everything that can be set in the variable.
type PluginSpec struct {
	// Datasource to ask. Left out: the default datasource of the kind.
	Datasource *datasource.Reference `json:"datasource,omitempty" yaml:"datasource,omitempty"`
	// LabelName is the label whose values are the options. It is not empty.
	LabelName string `json:"labelName" yaml:"labelName"`
	// Matchers are series selectors; the values of what they match are the options. Left out: those of all series.
	Matchers []string `json:"matchers,omitempty" yaml:"matchers,omitempty"`
}

// Builder is what options change.
type Builder struct {
	PluginSpec `json:",inline" yaml:",inline"`
	// Filters are the variables that confine the matchers which are bare metric names.
	Filters []v1.Variable `json:"-" yaml:"-"`
}

// Option sets one part of the variable.
type Option func(plugin *Builder) error

// TieredPrometheusLabelValues makes a list variable of Perses' SDK one of this kind.
func TieredPrometheusLabelValues(labelName string, options ...Option) listvariable.Option {
	return func(list *listvariable.Builder) error {
		builder := Builder{Filters: list.Filters}
		for _, option := range append([]Option{LabelName(labelName)}, options...) {
			if err := option(&builder); err != nil {
				return err
			}
		}
		builder.Matchers = filter.Apply(builder.Matchers, builder.Filters)
		list.ListVariableSpec.Plugin.Kind = PluginKind
		list.ListVariableSpec.Plugin.Spec = builder.PluginSpec
		return nil
	}
}

// LabelName sets the label whose values are the options.
func LabelName(labelName string) Option {
	return func(builder *Builder) error {
		if labelName == "" {
			return errors.New(PluginKind + ": labelName: must be the name of a label, not empty")
		}
		builder.LabelName = labelName
		return nil
	}
}

// Datasource sets the name of the datasource to ask.
func Datasource(datasourceName string) Option {
	return func(builder *Builder) error {
		builder.Datasource = datasource.Selector(datasourceName)
		return nil
	}
}

// DatasourceVariable sets the dashboard variable, without its $, that holds the datasource to ask.
func DatasourceVariable(name string) Option {
	return func(builder *Builder) error {
		builder.Datasource = datasource.Variable(name)
		return nil
	}
}

// Matchers sets the series selectors.
func Matchers(matchers ...string) Option {
	return func(builder *Builder) error {
		builder.Matchers = matchers
		return nil
	}
}

// AddMatcher adds a series selector.
func AddMatcher(matcher string) Option {
	return func(builder *Builder) error {
		builder.Matchers = append(builder.Matchers, matcher)
		return nil
	}
}

// Filter sets the variables that confine matchers, in the place of those before this one in its group.
func Filter(variables ...v1.Variable) Option {
	return func(builder *Builder) error {
		builder.Filters = variables
		return nil
	}
}
