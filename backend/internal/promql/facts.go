package promql

import (
	"errors"
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/promql/parser"
)

// facts are what a text says without regard to time and series.
type facts struct {
	defaultSteps, dependsOnResets, callsInfo bool
	// namesEnds is set where @ start() or @ end() stands in the query.
	namesEnds bool
	// namesTime is set where a timestamp stands in the query, after @.
	namesTime bool
	// inseparable says why the query may not be evaluated in pieces.
	inseparable error
}

// HasDefaultSteps reports whether a subquery leaves its step to the server.
func (q *Query) HasDefaultSteps() bool { return q.facts.defaultSteps }

// NamesTimes reports whether an @ stands in the query: a timestamp, start() or end().
func (q *Query) NamesTimes() bool { return q.facts.namesEnds || q.facts.namesTime }

// DependsOnResets reports whether the result depends on where a counter is reset.
// It does with resets(), and with rate() and its like over a subquery, which see
// the samples before them.
func (q *Query) DependsOnResets() bool { return q.facts.dependsOnResets }

// Separable reports whether a range query has the same values when it is evaluated
// in pieces, after Frozen. It returns an error that says why not.
func (q *Query) Separable() error { return q.facts.inseparable }

func factsOf(root parser.Expr) facts {
	var f facts
	parser.Inspect(root, func(node parser.Node, path []parser.Node) error {
		switch node := node.(type) {
		case *parser.Call:
			switch node.Func.Name {
			case "start", "end", "range", "step":
				f.inseparable = fmt.Errorf("%s() would be that of a piece", node.Func.Name)
			case "info":
				f.callsInfo = true
				f.inseparable = errors.New("what info() joins may depend on the time range")
			}
		case *parser.AggregateExpr:
			if node.Op == parser.LIMITK || node.Op == parser.LIMIT_RATIO {
				f.inseparable = errors.New("which series it samples may depend on the time range")
			}
		case *parser.VectorSelector:
			f.dependsOnResets = f.dependsOnResets || seesResets(path)
			if node != nil {
				f.at(node.StartOrEnd, node.Timestamp)
				f.durations(node.OriginalOffsetExpr)
			}
		case *parser.MatrixSelector:
			f.durations(node.RangeExpr)
		case *parser.SubqueryExpr:
			f.defaultSteps = f.defaultSteps || (node.Step == 0 && node.StepExpr == nil)
			f.at(node.StartOrEnd, node.Timestamp)
			f.durations(node.RangeExpr, node.OriginalOffsetExpr, node.StepExpr)
		}
		return nil
	})
	return f
}

// at records what follows an @.
func (f *facts) at(bound parser.ItemType, timestamp *int64) {
	f.namesEnds = f.namesEnds || bound != 0
	f.namesTime = f.namesTime || timestamp != nil
}

// durations looks for range() in durations that are computed.
func (f *facts) durations(list ...*parser.DurationExpr) {
	for _, duration := range list {
		if duration == nil {
			continue
		}
		if duration.Op == parser.RANGE {
			f.inseparable = errors.New("range() in a duration would be that of a piece")
		}
		for _, operand := range []parser.Expr{duration.LHS, duration.RHS} {
			if inner, ok := operand.(*parser.DurationExpr); ok {
				f.durations(inner)
			}
		}
	}
}

// seesResets reports whether the nearest function above a selector depends on
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
