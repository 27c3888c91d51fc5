// Package annotation adds annotations of the kind TieredPrometheusPromQLAnnotation to dashboards of the Go SDK of Perses.
// Perses knows annotations from 0.54 on; earlier servers drop them from a dashboard.
package annotation

import (
	"errors"
	"fmt"

	"github.com/perses/perses/go-sdk/dashboard"
	spec "github.com/perses/spec/go/dashboard"
	"github.com/perses/spec/go/plugin"

	"github.com/tiered-prometheus/tiered-prometheus/sdk/go/datasource"
)

// PluginKind is the kind of the annotation, as Perses writes it.
const PluginKind = "TieredPrometheusPromQLAnnotation"

// PluginSpec is everything that can be set in the plugin of an annotation.
type PluginSpec struct {
	// Datasource to ask. Left out: the default datasource of the kind.
	Datasource *datasource.Reference `json:"datasource,omitempty" yaml:"datasource,omitempty"`
	// Expr is the PromQL expression, which is not empty. Each series of its result is marked.
	Expr string `json:"expr" yaml:"expr"`
	// Title is the first line of the tooltip, such as "Deployment of {{deployment}}".
	Title string `json:"title,omitempty" yaml:"title,omitempty"`
	// Legend is the text below the title.
	Legend string `json:"legend,omitempty" yaml:"legend,omitempty"`
	// Tags are the names of the labels that the tooltip lists. Left out: all labels.
	Tags []string `json:"tags,omitempty" yaml:"tags,omitempty"`
	// SplitAtGaps marks a series anew after each step without a sample. Left out: once, across its gaps.
	SplitAtGaps bool `json:"splitAtGaps,omitempty" yaml:"splitAtGaps,omitempty"`
}

// Builder is what options change.
type Builder struct {
	// Display is what the dashboard shows of the annotation.
	Display spec.AnnotationDisplay
	PluginSpec
}

// Option sets one part of the annotation.
type Option func(builder *Builder) error

// PromQL adds an annotation with this name to a dashboard. All mistakes are in its error at once.
func PromQL(name, expr string, options ...Option) dashboard.Option {
	return func(target *dashboard.Builder) error {
		builder := Builder{Display: spec.AnnotationDisplay{Name: name}}
		var mistakes []error
		if name == "" {
			mistakes = append(mistakes, errors.New("display.name: must not be empty"))
		}
		for _, option := range append([]Option{Expr(expr)}, options...) {
			mistakes = append(mistakes, option(&builder))
		}
		if err := errors.Join(mistakes...); err != nil {
			return fmt.Errorf("%s:\n%w", PluginKind, err)
		}
		target.Dashboard.Spec.Annotations = append(target.Dashboard.Spec.Annotations, spec.AnnotationSpec{
			Display: builder.Display,
			Plugin:  plugin.Plugin{Kind: PluginKind, Spec: builder.PluginSpec},
		})
		return nil
	}
}

// FiringAlerts adds an annotation that marks each time at which an alert was firing. Options come after its own, and so
// can change them.
func FiringAlerts(name string, options ...Option) dashboard.Option {
	own := []Option{Title("{{alertname}}"), Legend("{{alertname}} was firing"), SplitAtGaps()}
	return PromQL(name, `ALERTS{alertstate="firing"}`, append(own, options...)...)
}
