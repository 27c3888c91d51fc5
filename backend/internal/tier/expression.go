package tier

import (
	"fmt"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
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

// The caches of this package remember what follows from a text alone, so that
// a dashboard that asks the same again costs a look-up. Entries are small, and
// longer texts are not remembered.
const (
	cacheEntries  = 1024
	longestCached = 4 << 10
)

// cached returns what compute returns, from the cache where it can.
func cached[K comparable, V any](cache *lru.Cache[K, V], key K, length int, compute func() V) V {
	if found, ok := cache.Get(key); ok {
		return found
	}
	value := compute()
	if length <= longestCached {
		cache.Add(key, value)
	}
	return value
}

func newCache[K comparable, V any]() *lru.Cache[K, V] {
	cache, err := lru.New[K, V](cacheEntries)
	if err != nil {
		panic(err) // The size is a constant above zero.
	}
	return cache
}

// parsed is the outcome of reading an expression.
type parsed struct {
	expression *Expression
	err        error
}

var expressions = newCache[string, parsed]()

// ParseExpression reads a PromQL text. It returns an error when the text is no
// PromQL that is known here; the words are those of Prometheus.
func ParseExpression(query string) (*Expression, error) {
	found := cached(expressions, query, len(query), func() parsed {
		root, err := promqlParser.ParseExpr(query)
		if err != nil {
			return parsed{err: err}
		}
		return parsed{expression: inspect(root)}
	})
	return found.expression, found.err
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
		tokens := lexFrom(query, int(subquery.Expr.PositionRange().End))
		end := slices.IndexFunc(tokens, func(token parser.Item) bool { return token.Typ == parser.RIGHT_BRACKET })
		if end >= 0 {
			changed.insert(int(tokens[end].Pos), model.Duration(step).String())
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
