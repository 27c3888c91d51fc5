// Package alertthreshold builds queries of the kind TieredPrometheusAlertThresholdQuery with the Go SDK of Perses: the
// thresholds of alerting rules, as lines beside the query of a panel.
package alertthreshold

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/perses/perses/go-sdk/query"
	"github.com/perses/spec/go/common"
	"github.com/perses/spec/go/plugin"

	"github.com/tiered-prometheus/tiered-prometheus/sdk/go/datasource"
)

// PluginKind is the kind of the query, as Perses writes it.
const PluginKind = "TieredPrometheusAlertThresholdQuery"

// PluginSpec is everything that can be set in a query. A rule has to fulfil all of it.
type PluginSpec struct {
	// Datasource to ask. Left out: the default datasource of the kind.
	Datasource *datasource.Reference `json:"datasource,omitempty" yaml:"datasource,omitempty"`
	// Alerts are names of alerting rules, none of them empty. Left out: rules of any name.
	Alerts []string `json:"alerts,omitempty" yaml:"alerts,omitempty"`
	// Matchers are label matchers such as severity="critical". The labels of a rule match all of them.
	Matchers []string `json:"matchers,omitempty" yaml:"matchers,omitempty"`
	// Metric is the name of a metric that the expression of a rule reads. Left out: any metric.
	Metric string `json:"metric,omitempty" yaml:"metric,omitempty"`
	// MinStep is the smallest step: a duration as Prometheus writes it, or a dashboard variable such as "$interval".
	MinStep string `json:"minStep,omitempty" yaml:"minStep,omitempty"`
}

// Builder is what options change.
type Builder struct {
	PluginSpec `json:",inline" yaml:",inline"`
}

// Option sets one part of the query.
type Option func(plugin *Builder) error

// AlertThresholds makes a query of Perses' SDK one of this kind. All mistakes are in its Error at once.
func AlertThresholds(options ...Option) query.Option {
	builder := Builder{}
	var mistakes []error
	for _, option := range options {
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

// Alerts sets the names of alerting rules, which may be dashboard variables such as "$alert".
func Alerts(names ...string) Option {
	return func(builder *Builder) error {
		builder.Alerts = nil
		return addAll(builder, names, AddAlert)
	}
}

// AddAlert adds the name of an alerting rule, or a dashboard variable.
func AddAlert(name string) Option {
	return func(builder *Builder) error {
		if name == "" {
			return errors.New("alerts: must be the name of an alerting rule, not empty")
		}
		builder.Alerts = append(builder.Alerts, name)
		return nil
	}
}

// Matchers sets the label matchers, such as severity="critical".
func Matchers(matchers ...string) Option {
	return func(builder *Builder) error {
		builder.Matchers = nil
		return addAll(builder, matchers, AddMatcher)
	}
}

// AddMatcher adds a label matcher.
func AddMatcher(matcher string) Option {
	return func(builder *Builder) error {
		if !matcherPattern.MatchString(matcher) {
			return fmt.Errorf("matchers: %q: must be a label matcher such as severity=\"critical\"", matcher)
		}
		builder.Matchers = append(builder.Matchers, matcher)
		return nil
	}
}

// Metric sets the name of a metric that the expression of a rule reads.
func Metric(name string) Option {
	return func(builder *Builder) error {
		if name == "" {
			return errors.New("metric: must be the name of a metric, not empty")
		}
		builder.Metric = name
		return nil
	}
}

// MinStep sets the smallest step of the lines, in milliseconds at the finest.
func MinStep(step time.Duration) Option {
	return func(builder *Builder) error {
		if step < 0 || step%time.Millisecond != 0 {
			return fmt.Errorf("minStep: %s: must be a number of milliseconds, not negative", step)
		}
		builder.MinStep = common.Duration(step).String()
		return nil
	}
}

// MinStepVariable sets the dashboard variable, without its $, that holds the smallest step of the lines.
func MinStepVariable(name string) Option {
	return func(builder *Builder) error {
		builder.MinStep = "$" + name
		return nil
	}
}

// addAll applies the option of each value, and returns all mistakes joined.
func addAll(builder *Builder, values []string, option func(value string) Option) error {
	var mistakes []error
	for _, value := range values {
		mistakes = append(mistakes, option(value)(builder))
	}
	return errors.Join(mistakes...)
}

// matcherPattern is that of the CUE model.
var matcherPattern = regexp.MustCompile(`^ *(` + labelName + ` *(=~|!~|!=|=) *` + labelValue + `|\$\w+|\$\{\w+(:\w+)?\}) *$`)

const (
	labelName  = `([A-Za-z_][A-Za-z0-9_]*|"([^"\\]|\\.)+"|\$\w+|\$\{\w+(:\w+)?\})`
	labelValue = `("([^"\\]|\\.)*"|'([^'\\]|\\.)*'|` + "`[^`]*`" + `)`
)
