package promql

import (
	"slices"

	"github.com/prometheus/prometheus/promql/parser"
)

// rebuild returns a copy of a node, with what change makes of its children. What
// nothing changes in place is shared with the original: matchers, lists of labels,
// literals, and computed durations.
func rebuild(node parser.Expr, change func(parser.Expr) (parser.Expr, error)) (_ parser.Expr, err error) {
	switch node := node.(type) {
	case *parser.VectorSelector:
		copied := *node
		return &copied, nil
	case *parser.MatrixSelector:
		copied := *node
		copied.VectorSelector, err = change(node.VectorSelector)
		return &copied, err
	case *parser.SubqueryExpr:
		copied := *node
		copied.Expr, err = change(node.Expr)
		return &copied, err
	case *parser.ParenExpr:
		copied := *node
		copied.Expr, err = change(node.Expr)
		return &copied, err
	case *parser.UnaryExpr:
		copied := *node
		copied.Expr, err = change(node.Expr)
		return &copied, err
	case *parser.AggregateExpr:
		copied := *node
		if copied.Expr, err = change(node.Expr); err == nil && node.Param != nil {
			copied.Param, err = change(node.Param)
		}
		return &copied, err
	case *parser.BinaryExpr:
		copied := *node
		if copied.LHS, err = change(node.LHS); err == nil {
			copied.RHS, err = change(node.RHS)
		}
		return &copied, err
	case *parser.Call:
		copied := *node
		copied.Args = make(parser.Expressions, len(node.Args))
		for i, argument := range node.Args {
			if copied.Args[i], err = change(argument); err != nil {
				return nil, err
			}
		}
		return &copied, nil
	}
	return node, nil
}

// clone returns a copy of a tree that may be changed.
func clone(root parser.Expr) parser.Expr {
	copied, _ := rebuild(root, func(child parser.Expr) (parser.Expr, error) { return clone(child), nil })
	return copied
}

// unwrapParens returns what stands in the parentheses around an expression.
func unwrapParens(node parser.Expr) parser.Expr {
	for {
		paren, ok := node.(*parser.ParenExpr)
		if !ok {
			return node
		}
		node = paren.Expr
	}
}

// selectorsIn returns the selectors of a tree in the order of the text.
func selectorsIn(root parser.Expr) []*parser.VectorSelector {
	var selectors []*parser.VectorSelector
	parser.Inspect(root, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok && selector != nil {
			selectors = append(selectors, selector)
		}
		return nil
	})
	slices.SortFunc(selectors, func(a, b *parser.VectorSelector) int { return int(a.PosRange.Start - b.PosRange.Start) })
	return selectors
}
