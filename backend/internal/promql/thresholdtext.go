package promql

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// whyNone returns why an expression without a comparison that has to be true is no
// threshold.
func whyNone(root parser.Expr) string {
	var where parser.Node
	isBelow := false
	parser.Inspect(root, func(node parser.Node, path []parser.Node) error {
		comparison, is := node.(*parser.BinaryExpr)
		if isBelow || !is || !comparison.Op.IsComparisonOperator() {
			return nil
		}
		isBelow = true
		for i, ancestor := range path {
			if unless, is := ancestor.(*parser.BinaryExpr); is && unless.Op == parser.LUNLESS && (i+1 == len(path) || path[i+1] == parser.Node(unless.RHS)) {
				where = unless
				return nil
			}
			switch ancestor.(type) {
			case *parser.Call, *parser.AggregateExpr, *parser.SubqueryExpr:
				where = ancestor
				return nil
			}
		}
		return nil
	})
	switch where := where.(type) {
	case *parser.AggregateExpr:
		return fmt.Sprintf("it compares only what %s() aggregates", where.Op)
	case *parser.Call:
		return fmt.Sprintf("it compares only within %s()", where.Func.Name)
	case *parser.SubqueryExpr:
		return "it compares only within a subquery"
	case *parser.BinaryExpr:
		return "it compares only on the right of unless"
	}
	if isBelow {
		return "it compares only where fill() makes up values"
	}
	return "the expression compares nothing"
}

// standalone returns the text of a threshold for a range query, and as the rule has it. It
// returns an error if the values at a step would be other ones than those of an instant
// query at that time.
func (s *splitter) standalone(threshold parser.Expr) (text, shown string, err error) {
	if err := sameInRange(threshold); err != nil {
		return "", "", err
	}
	if shown, err = textOf(threshold); err != nil {
		return "", "", err
	}
	meant := clone(threshold)
	if number, is := meant.(*parser.NumberLiteral); is {
		meant = &parser.NumberLiteral{Val: number.Val} // Older servers do not read 1h as a number.
	}
	withoutEnds(meant)
	if meant, err = pinned(meant, s.pins); err != nil {
		return "", "", err
	}
	text, err = textOf(meant)
	return text, shown, err
}

// pinned returns an expression that reads, where other series exist and all carry external
// labels, what the given one reads at a server that holds the series with these labels,
// and stores them without. It changes the tree.
func pinned(root parser.Expr, pins map[string]string) (parser.Expr, error) {
	if len(pins) == 0 || len(selectorsIn(root)) == 0 {
		return root, nil
	}
	removed := map[string]string{}
	for name := range pins {
		removed[name] = ""
	}
	all := &injector{removed, slices.Sorted(maps.Keys(pins))}
	meant, err := all.within(root).expression(root)
	if err != nil {
		return nil, errors.New("its Prometheus stores series without external labels, and other series are in this datasource: " + err.Error())
	}
	parser.Inspect(meant, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.Call:
			if strings.HasPrefix(node.Func.Name, "absent") {
				err = fmt.Errorf("%s() would return other labels where other series are in the datasource", node.Func.Name)
			}
		case *parser.VectorSelector:
			if node == nil {
				return nil
			}
			node.LabelMatchers = slices.Clone(node.LabelMatchers)
			// The parser puts the matcher of the name last.
			at := len(node.LabelMatchers)
			if node.Name != "" {
				at--
			}
			for _, name := range all.names {
				node.LabelMatchers = slices.Insert(node.LabelMatchers, at, labels.MustNewMatcher(labels.MatchEqual, name, pins[name]))
			}
		}
		return nil
	})
	return meant, err
}

// sameInRange returns an error for an expression whose values at a step of a range query
// may be other ones than those of an instant query, also after withoutEnds.
func sameInRange(root parser.Expr) error {
	if err := factsOf(root).inseparable; err != nil {
		return errors.New("its value would depend on the time range that is shown: " + err.Error())
	}
	var err error
	parser.Inspect(root, func(node parser.Node, path []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			if node != nil && node.StartOrEnd != 0 && isInSubquery(path) {
				err = errors.New("@ start() and @ end() within a subquery mean the time of the rule's evaluation")
			}
			if node != nil && namesStep(node.OriginalOffsetExpr) {
				err = errStep
			}
		case *parser.MatrixSelector:
			if namesStep(node.RangeExpr) {
				err = errStep
			}
		case *parser.SubqueryExpr:
			if node.StartOrEnd != 0 && isInSubquery(path) {
				err = errors.New("@ start() and @ end() within a subquery mean the time of the rule's evaluation")
			}
			if namesStep(node.RangeExpr) || namesStep(node.OriginalOffsetExpr) || namesStep(node.StepExpr) {
				err = errStep
			}
		}
		return nil
	})
	return err
}

// errStep is returned for a duration with step(), which is zero for a rule.
var errStep = errors.New("step() in a duration would be the step of the panel")

func isInSubquery(path []parser.Node) bool {
	for _, ancestor := range path {
		if _, is := ancestor.(*parser.SubqueryExpr); is {
			return true
		}
	}
	return false
}

// namesStep reports whether a duration is computed with step().
func namesStep(duration *parser.DurationExpr) bool {
	if duration == nil {
		return false
	}
	if duration.Op == parser.STEP {
		return true
	}
	for _, operand := range []parser.Expr{duration.LHS, duration.RHS} {
		if inner, is := operand.(*parser.DurationExpr); is && namesStep(inner) {
			return true
		}
	}
	return false
}

// withoutEnds removes @ start() and @ end() from a tree that may be changed. Both mean the
// time of the evaluation in an instant query, as a rule makes it. In a range query
// they would be the same for all steps.
func withoutEnds(root parser.Expr) {
	parser.Inspect(root, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			if node != nil {
				node.StartOrEnd = 0
			}
		case *parser.SubqueryExpr:
			node.StartOrEnd = 0
		}
		return nil
	})
}
