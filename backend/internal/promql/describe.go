package promql

import (
	"strconv"

	"github.com/prometheus/prometheus/promql/parser"
)

// Pretty returns the query as the format_query endpoint answers it. It takes a time
// that grows with the cube of the operators.
func (q *Query) Pretty() string { return q.tree().Pretty(0) }

// Describe returns the tree of the query, ready to be encoded in JSON, as the
// parse_query endpoint answers it.
func (q *Query) Describe() any { return describe(q.tree()) }

// object is a node of a query in the JSON of the parse_query endpoint.
type object = map[string]any

// describe returns a node of a query in the form of the parse_query endpoint. It
// returns nil for no node.
func describe(node parser.Node) any {
	switch node := node.(type) {
	case *parser.NumberLiteral:
		return object{"type": "numberLiteral", "val": formatNumber(node.Val)}
	case *parser.StringLiteral:
		return object{"type": "stringLiteral", "val": node.Val}
	case *parser.ParenExpr:
		return object{"type": "parenExpr", "expr": describe(node.Expr)}
	case *parser.UnaryExpr:
		return object{"type": "unaryExpr", "op": node.Op.String(), "expr": describe(node.Expr)}
	case *parser.VectorSelector:
		return describeSelector(node)
	case *parser.MatrixSelector:
		selector, ok := node.VectorSelector.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		described := describeSelector(selector)
		described["type"], described["range"], described["rangeExpr"] = "matrixSelector", node.Range.Milliseconds(), describeDuration(node.RangeExpr)
		return described
	case *parser.SubqueryExpr:
		return object{
			"type": "subquery", "expr": describe(node.Expr),
			"range": node.Range.Milliseconds(), "rangeExpr": describeDuration(node.RangeExpr),
			"step": node.Step.Milliseconds(), "stepExpr": describeDuration(node.StepExpr),
			"offset": node.OriginalOffset.Milliseconds(), "offsetExpr": describeDuration(node.OriginalOffsetExpr),
			"timestamp": node.Timestamp, "startOrEnd": describeBound(node.StartOrEnd),
		}
	case *parser.AggregateExpr:
		return object{
			"type": "aggregation", "op": node.Op.String(), "expr": describe(node.Expr), "param": describe(node.Param),
			"grouping": append([]string{}, node.Grouping...), "without": node.Without,
		}
	case *parser.BinaryExpr:
		return object{
			"type": "binaryExpr", "op": node.Op.String(), "lhs": describe(node.LHS), "rhs": describe(node.RHS),
			"bool": node.ReturnBool, "matching": describeMatching(node.VectorMatching),
		}
	case *parser.Call:
		arguments := []any{}
		for _, argument := range node.Args {
			arguments = append(arguments, describe(argument))
		}
		return object{"type": "call", "args": arguments, "func": object{
			"name": node.Func.Name, "argTypes": node.Func.ArgTypes, "variadic": node.Func.Variadic, "returnType": node.Func.ReturnType,
		}}
	}
	return nil
}

func describeSelector(selector *parser.VectorSelector) object {
	matchers := []object{}
	for _, matcher := range selector.LabelMatchers {
		matchers = append(matchers, object{"name": matcher.Name, "value": matcher.Value, "type": matcher.Type.String()})
	}
	return object{
		"type": "vectorSelector", "name": selector.Name, "matchers": matchers, "timestamp": selector.Timestamp, "startOrEnd": describeBound(selector.StartOrEnd),
		"offset": selector.OriginalOffset.Milliseconds(), "offsetExpr": describeDuration(selector.OriginalOffsetExpr),
		"anchored": selector.Anchored, "smoothed": selector.Smoothed,
	}
}

func describeMatching(matching *parser.VectorMatching) any {
	if matching == nil {
		return nil
	}
	return object{
		"card": matching.Card.String(), "on": matching.On, "labels": append([]string{}, matching.MatchingLabels...), "include": append([]string{}, matching.Include...),
		"fillValues": object{"lhs": matching.FillValues.LHS, "rhs": matching.FillValues.RHS},
	}
}

func describeBound(bound parser.ItemType) any {
	if bound == 0 {
		return nil
	}
	return bound.String()
}

// describeDuration returns a duration that is computed, or nil where it is not.
func describeDuration(duration *parser.DurationExpr) any {
	if duration == nil {
		return nil
	}
	return object{
		"type": "durationExpr", "op": duration.Op.String(), "wrapped": duration.Wrapped,
		"lhs": describeOperand(duration.LHS), "rhs": describeOperand(duration.RHS),
	}
}

func describeOperand(operand parser.Expr) any {
	switch operand := operand.(type) {
	case *parser.DurationExpr:
		return describeDuration(operand)
	case *parser.NumberLiteral:
		return object{"type": "numberLiteral", "val": formatNumber(operand.Val), "duration": operand.Duration}
	}
	return describe(operand)
}

func formatNumber(value float64) string { return strconv.FormatFloat(value, 'f', -1, 64) }
