package promql

import (
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// flow says how the result of an expression changes when every series that it reads
// carries one more label with the same value, which its matchers for that label match.
type flow int

const (
	// unchanged says that the result is the same.
	unchanged flow = iota
	// carried says that every element carries the label, and nothing else changes.
	carried
	// entangled says that the result changes in another way, or that it is not known.
	entangled
)

// flowOf follows a label from the selectors to the result. It is exact where it
// returns unchanged or carried.
func flowOf(node parser.Node, label string) flow {
	switch node := node.(type) {
	case *parser.VectorSelector:
		return carried
	case *parser.NumberLiteral, *parser.StringLiteral:
		return unchanged
	case *parser.Call:
		return flowOfCall(node, label)
	case *parser.AggregateExpr:
		return flowOfAggregation(node, label)
	case *parser.BinaryExpr:
		return flowOfBinary(node, label)
	}
	return flowOf(parser.Children(node)[0], label) // All others have one child.
}

func flowOfCall(call *parser.Call, label string) flow {
	widest := unchanged
	for _, argument := range call.Args {
		widest = max(widest, flowOf(argument, label))
	}
	if call.Func.Name == "info" {
		return entangled // It reads series that no argument names.
	}
	if widest != carried {
		return widest
	}
	switch call.Func.Name {
	case "absent", "absent_over_time":
		// One value, whose labels come from the matchers.
		if selector := bareSelector(call.Func.Name, call.Args[0]); selector != nil && hasMatcher(selector, label) {
			return entangled
		}
		return unchanged
	case "scalar":
		return unchanged
	case "sort_by_label", "sort_by_label_desc":
		return entangled // Ties are broken by all labels.
	}
	for _, argument := range call.Args {
		if text, ok := unwrapParens(argument).(*parser.StringLiteral); ok && text.Val == label {
			return entangled // label_replace and its like read or write it.
		}
	}
	return carried
}

func hasMatcher(selector *parser.VectorSelector, label string) bool {
	return slices.ContainsFunc(selector.LabelMatchers, func(matcher *labels.Matcher) bool { return matcher.Name == label })
}

func flowOfAggregation(aggregation *parser.AggregateExpr, label string) flow {
	inner := flowOf(aggregation.Expr, label)
	if aggregation.Param != nil {
		parameter := flowOf(aggregation.Param, label)
		if text, ok := unwrapParens(aggregation.Param).(*parser.StringLiteral); ok && text.Val == label {
			parameter = entangled // count_values("label", …)
		}
		if parameter != unchanged {
			return entangled
		}
	}
	if inner != carried {
		return inner
	}
	named := slices.Contains(aggregation.Grouping, label)
	switch aggregation.Op {
	case parser.TOPK, parser.BOTTOMK:
		return carried // They keep the elements as they are.
	case parser.LIMITK, parser.LIMIT_RATIO:
		return entangled // They choose by the hash or the order of all labels.
	}
	if named != aggregation.Without {
		return carried
	}
	return unchanged
}

func flowOfBinary(binary *parser.BinaryExpr, label string) flow {
	left, right := flowOf(binary.LHS, label), flowOf(binary.RHS, label)
	if left == entangled || right == entangled {
		return entangled
	}
	if left == unchanged && right == unchanged {
		return unchanged
	}
	matching := binary.VectorMatching
	if matching == nil || binary.LHS.Type() == parser.ValueTypeScalar || binary.RHS.Type() == parser.ValueTypeScalar {
		return max(left, right) // One side is a scalar.
	}
	if matching.FillValues.LHS != nil || matching.FillValues.RHS != nil {
		return entangled
	}
	// Whether elements are matched by the label.
	matched := slices.Contains(matching.MatchingLabels, label) == matching.On
	if left != right && (matched || binary.Op == parser.LOR) {
		return entangled
	}
	switch {
	case binary.Op == parser.LAND, binary.Op == parser.LUNLESS, binary.Op == parser.LOR:
		return left
	case matching.Card == parser.CardOneToOne:
		if matched {
			return carried // Both sides carry it, and it is among those kept.
		}
		return unchanged
	}
	many, one := left, right
	if matching.Card == parser.CardOneToMany {
		many, one = right, left
	}
	if slices.Contains(matching.Include, label) {
		return one // It is copied from the other side, or removed.
	}
	return many
}
