package query

import (
	"errors"
	"fmt"
	"time"

	"github.com/perses/spec/go/common"

	"github.com/tiered-prometheus/tiered-prometheus/sdk/go/datasource"
)

// Expr sets the PromQL expression, which is not empty. Whether it parses is not checked: it may hold variables.
func Expr(expr string) Option {
	return func(builder *Builder) error {
		if expr == "" {
			return errors.New("query: must be a PromQL expression, not empty")
		}
		builder.Query = expr
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

// SeriesNameFormat sets the name of a series in legends, such as "{{instance}}".
func SeriesNameFormat(format string) Option {
	return func(builder *Builder) error {
		builder.SeriesNameFormat = format
		return nil
	}
}

// MinStep sets the smallest step of the query, in milliseconds at the finest.
func MinStep(step time.Duration) Option {
	return func(builder *Builder) error {
		if step < 0 || step%time.Millisecond != 0 {
			return fmt.Errorf("minStep: %s: must be a number of milliseconds, not negative", step)
		}
		builder.MinStep = common.Duration(step).String()
		return nil
	}
}

// MinStepVariable sets the dashboard variable, without its $, that holds the smallest step of the query.
func MinStepVariable(name string) Option {
	return func(builder *Builder) error {
		builder.MinStep = "$" + name
		return nil
	}
}

// Resolution divides the number of points of a panel: 1 draws all of them, 2 every second one.
func Resolution(resolution int) Option {
	return func(builder *Builder) error {
		builder.Resolution = resolution
		return nil
	}
}

// Instant evaluates the query once, at the end of the time range, whatever the panel asks for.
func Instant() Option {
	return func(builder *Builder) error {
		builder.Instant = true
		return nil
	}
}

// Tier overrides the gateway's choice for this query.
func Tier(choice TierChoice) Option {
	return func(builder *Builder) error {
		switch choice {
		case Auto, Hot, Cold:
			builder.Tier = choice
			return nil
		}
		return fmt.Errorf("tier: %q: must be auto, hot or cold", choice)
	}
}
