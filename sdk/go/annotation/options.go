package annotation

import (
	"errors"
	"slices"

	"github.com/tiered-prometheus/tiered-prometheus/sdk/go/datasource"
)

// Expr sets the PromQL expression. Whether it parses is not checked: it may hold variables.
func Expr(expr string) Option {
	return func(builder *Builder) error {
		if expr == "" {
			return errors.New("expr: must be a PromQL expression, not empty")
		}
		builder.Expr = expr
		return nil
	}
}

// Description sets what the dashboard says of the annotation.
func Description(description string) Option {
	return func(builder *Builder) error {
		builder.Display.Description = description
		return nil
	}
}

// Hidden hides the annotation until somebody shows it.
func Hidden() Option {
	return func(builder *Builder) error {
		builder.Display.Hidden = true
		return nil
	}
}

// Color sets the color of the marks, such as "#ee6c6c".
func Color(color string) Option {
	return func(builder *Builder) error {
		builder.Display.Color = color
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

// Title sets the first line of the tooltip; "{{instance}}" stands for the value of a label.
func Title(title string) Option {
	return func(builder *Builder) error {
		builder.Title = title
		return nil
	}
}

// Legend sets the text below the title; "{{instance}}" stands for the value of a label.
func Legend(legend string) Option {
	return func(builder *Builder) error {
		builder.Legend = legend
		return nil
	}
}

// Tags sets the names of the labels that the tooltip lists.
func Tags(labelNames ...string) Option {
	return func(builder *Builder) error {
		if slices.Contains(labelNames, "") {
			return errors.New("tags: must be names of labels, not empty")
		}
		builder.Tags = labelNames
		return nil
	}
}

// SplitAtGaps marks a series anew after each step without a sample.
func SplitAtGaps() Option {
	return func(builder *Builder) error {
		builder.SplitAtGaps = true
		return nil
	}
}
