package promql

import (
	"slices"

	"github.com/prometheus/prometheus/promql/parser"
)

// IsEmptyOverNothing reports whether the query is a vector that holds nothing if no
// selector in it matches a series. It reports false where that takes an evaluation
// to know.
func (q *Query) IsEmptyOverNothing() bool {
	root := q.tree()
	return root.Type() == parser.ValueTypeVector && isEmptyOverNothing(root)
}

// isEmptyOverNothing reports whether the result of an expression holds nothing,
// and carries no warning or error, if no selector in it matches a series. It
// reports false where that takes an evaluation to know: for absent(), for
// vector(1), for what has parameters that an engine checks.
func isEmptyOverNothing(node parser.Node) bool {
	switch node := node.(type) {
	case *parser.VectorSelector, *parser.MatrixSelector:
		return true
	case *parser.NumberLiteral, *parser.StringLiteral:
		return false
	case *parser.AggregateExpr:
		return node.Param == nil && isEmptyOverNothing(node.Expr)
	case *parser.BinaryExpr:
		return isEmptyBinary(node)
	case *parser.Call:
		return len(node.Args) == 1 && !slices.Contains(answersOverNothing, node.Func.Name) && isEmptyOverNothing(node.Args[0])
	}
	return isEmptyOverNothing(parser.Children(node)[0]) // All others have one child.
}

// answersOverNothing are the functions of one argument that have a result where
// it is empty.
var answersOverNothing = []string{"absent", "absent_over_time", "scalar", "vector"}

// isEmptyBinary is isEmptyOverNothing for a binary expression.
func isEmptyBinary(node *parser.BinaryExpr) bool {
	if fill := node.VectorMatching; fill != nil && (fill.FillValues.LHS != nil || fill.FillValues.RHS != nil) {
		return false
	}
	left, right := isEmptyOverNothing(node.LHS), isEmptyOverNothing(node.RHS)
	isNumber := func(operand parser.Expr) bool { _, is := operand.(*parser.NumberLiteral); return is }
	return (left || isNumber(node.LHS)) && (right || isNumber(node.RHS)) && (left || right)
}
