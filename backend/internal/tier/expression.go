package tier

import (
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// Selector is what one selector of a request asks for: its matchers.
type Selector []*labels.Matcher

// Expression is what a PromQL text says without regard to time.
type Expression struct {
	// Selectors are all that it reads, those that info() reads implicitly
	// included. Empty when it reads nothing.
	Selectors []Selector
	// DefaultSteps is set when a subquery leaves its step to the server.
	DefaultSteps bool
	// CounterResets is set when the result depends on where a counter is reset:
	// by resets(), and by rate() and its like over a subquery, which sees the
	// samples before them.
	CounterResets bool
}

// infoMetric is what info() reads when its second argument names no metric.
const infoMetric = "target_info"

// ParseExpression reads a PromQL text. It returns an error when the text is no
// PromQL that is known here; the words are those of Prometheus.
func ParseExpression(query string) (*Expression, error) {
	root, err := promqlParser.ParseExpr(query)
	if err != nil {
		return nil, err
	}
	return inspect(root), nil
}

// Traits are what a query says without regard to time and series.
type Traits struct {
	// DefaultSteps and CounterResets are those of the Expression.
	DefaultSteps, CounterResets bool
}

// TraitsOf returns the traits of a query; none for a text that is no PromQL.
// It remembers them.
func TraitsOf(query string) Traits {
	return promql.Remembered(promql.KeyOf("traits", query), func() (Traits, int) {
		expression, err := ParseExpression(query)
		if err != nil {
			return Traits{}, 0
		}
		return Traits{DefaultSteps: expression.DefaultSteps, CounterResets: expression.CounterResets}, 0
	})
}

// plainParser reads names as a Prometheus does that is not told otherwise:
// those with letters beyond ASCII stand in quotes.
var plainParser = parser.NewParser(parser.Options{EnableExperimentalFunctions: true, EnableBinopFillModifiers: true})

// ParseTree reads a PromQL text into a tree of its own, which the caller may
// change. It returns the error of the parser.
func ParseTree(query string) (parser.Expr, error) { return plainParser.ParseExpr(query) }

// ParseSelector reads a series selector such as a match[] parameter. It
// returns an error when it is none.
func ParseSelector(text string) (Selector, error) {
	matchers, err := promqlParser.ParseMetricSelector(text)
	if err != nil {
		return nil, err
	}
	return matchers, nil
}

func inspect(root parser.Expr) *Expression {
	found := &Expression{}
	implicit := map[*parser.VectorSelector]bool{}
	parser.Inspect(root, func(node parser.Node, path []parser.Node) error {
		switch node := node.(type) {
		case *parser.Call:
			if node.Func.Name == "info" {
				found.Selectors = append(found.Selectors, infoSelector(node, implicit))
			}
		case *parser.SubqueryExpr:
			if node.Step == 0 && node.StepExpr == nil {
				found.DefaultSteps = true
			}
		case *parser.VectorSelector:
			if node != nil && !implicit[node] {
				found.Selectors = append(found.Selectors, node.LabelMatchers)
			}
			found.CounterResets = found.CounterResets || seesResets(path)
		}
		return nil
	})
	return found
}

// seesResets tells whether the nearest function above a selector depends on
// where counters are reset. path leads to the selector from above.
func seesResets(path []parser.Node) bool {
	subquery := false
	for _, node := range slices.Backward(path) {
		switch node := node.(type) {
		case *parser.SubqueryExpr:
			subquery = true
		case *parser.AggregateExpr, *parser.BinaryExpr:
			return false
		case *parser.Call:
			switch node.Func.Name {
			case "resets":
				return true
			case "rate", "irate", "increase":
				return subquery
			}
			return false
		}
	}
	return false
}

// infoSelector is what info() reads besides its first argument. The label
// matchers of its second argument choose among labels that are added; which
// series are read is a matter of their names.
func infoSelector(call *parser.Call, implicit map[*parser.VectorSelector]bool) Selector {
	var names Selector
	if len(call.Args) > 1 {
		if selector, ok := call.Args[1].(*parser.VectorSelector); ok {
			implicit[selector] = true
			for _, matcher := range selector.LabelMatchers {
				if matcher.Name == model.MetricNameLabel {
					names = append(names, matcher)
				}
			}
		}
	}
	if len(names) == 0 {
		names = Selector{labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, infoMetric)}
	}
	return names
}

// ExplicitSteps returns the query with the given step in every subquery that
// names none, for a server whose own default is another. It returns an error
// when the query cannot be parsed or the change cannot be written down.
func ExplicitSteps(query string, step time.Duration) (string, error) {
	root, err := promqlParser.ParseExpr(query)
	if err != nil {
		return "", fmt.Errorf("parse query: %w", err)
	}
	changed := editor{text: query}
	parser.Inspect(root, func(node parser.Node, _ []parser.Node) error {
		subquery, ok := node.(*parser.SubqueryExpr)
		if !ok || subquery.Step != 0 || subquery.StepExpr != nil {
			return nil
		}
		subquery.Step = step
		// The step goes in front of the bracket that ends the range.
		for token := range tokensFrom(query, int(subquery.Expr.PositionRange().End)) {
			if token.Typ == parser.RIGHT_BRACKET {
				changed.insert(int(token.Pos), model.Duration(step).String())
				break
			}
		}
		return nil
	})
	return changed.apply(root)
}

// String returns the selector in PromQL.
func (s Selector) String() string {
	selector := parser.VectorSelector{LabelMatchers: slices.Clone(s)}
	return selector.String()
}
