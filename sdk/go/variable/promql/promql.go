// Package promql builds variables of the kind TieredPrometheusPromQLVariable with the Go SDK of Perses.
package promql

import (
	"errors"

	listvariable "github.com/perses/perses/go-sdk/variable/list-variable"

	"github.com/tiered-prometheus/tiered-prometheus/sdk/go/datasource"
)

// PluginKind is the kind of the variable, as Perses writes it.
const PluginKind = "TieredPrometheusPromQLVariable"

// PluginSpec is everything that can be set in the variable.
type PluginSpec struct {
	// Datasource to ask. Left out: the default datasource of the kind.
	Datasource *datasource.Reference `json:"datasource,omitempty" yaml:"datasource,omitempty"`
	// Expr is the PromQL expression, evaluated as an instant query. It is not empty.
	Expr string `json:"expr" yaml:"expr"`
	// LabelName is the label of the result whose values are the options. It is not empty.
	LabelName string `json:"labelName" yaml:"labelName"`
}

// Builder is what options change.
type Builder struct {
	PluginSpec `json:",inline" yaml:",inline"`
}

// Option sets one part of the variable.
type Option func(plugin *Builder) error

// TieredPrometheusPromQL makes a list variable of Perses' SDK one of this kind. LabelName is required among the options.
func TieredPrometheusPromQL(expr string, options ...Option) listvariable.Option {
	return func(list *listvariable.Builder) error {
		builder := Builder{}
		for _, option := range append([]Option{Expr(expr)}, options...) {
			if err := option(&builder); err != nil {
				return err
			}
		}
		if builder.LabelName == "" {
			return errors.New(PluginKind + ": labelName: must be the name of a label, not empty: set it with LabelName")
		}
		list.ListVariableSpec.Plugin.Kind = PluginKind
		list.ListVariableSpec.Plugin.Spec = builder.PluginSpec
		return nil
	}
}

// Expr sets the PromQL expression. Whether it parses is not checked: it may hold variables.
func Expr(expr string) Option {
	return func(builder *Builder) error {
		if expr == "" {
			return errors.New(PluginKind + ": expr: must be a PromQL expression, not empty")
		}
		builder.Expr = expr
		return nil
	}
}

// LabelName sets the label of the result whose values are the options.
func LabelName(labelName string) Option {
	return func(builder *Builder) error {
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
