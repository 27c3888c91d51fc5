package promql

import (
	"errors"
	"fmt"

	promqlengine "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// Read is what one selector of a query reads: samples between two timestamps, both inclusive,
// in milliseconds since the Unix epoch.
type Read struct {
	Selector       Selector
	Oldest, Newest int64
}

// errImplicit is returned for a query that reads series which no selector names.
var errImplicit = errors.New("info() reads series that no selector names")

// Reads returns what each selector of the query reads in an evaluation. Together, they are
// within the Extent of the query, but leave out times between them. It returns an error if that
// cannot be computed.
func (q *Query) Reads(e Evaluation) ([]Read, error) {
	extent, err := q.Extent(e)
	if err != nil || extent.Nothing {
		return nil, err
	}
	expression, err := promqlengine.PreprocessExpr(clone(q.tree()), e.Start, e.End, e.Step)
	if err != nil {
		return nil, fmt.Errorf("preprocess query: %w", err)
	}
	lookback := e.LookbackDelta
	if lookback == 0 {
		lookback = DefaultLookbackDelta
	}
	var list []Read
	parser.Inspect(expression, func(node parser.Node, path []parser.Node) error {
		switch node := node.(type) {
		case *parser.Call:
			if node.Func.Name == "info" {
				err = errImplicit
			}
		case *parser.VectorSelector:
			if node == nil {
				return nil
			}
			alone := &parser.EvalStmt{Expr: aloneIn(node, path), Start: e.Start, End: e.End, Interval: e.Step, LookbackDelta: lookback}
			read := Read{Selector: node.LabelMatchers}
			read.Oldest, read.Newest = promqlengine.FindMinMaxTime(alone)
			list = append(list, read)
		}
		return nil
	})
	return list, err
}

// aloneIn returns a selector within the ranges and subqueries around it, without anything
// else.
func aloneIn(selector *parser.VectorSelector, path []parser.Node) (alone parser.Expr) {
	alone = selector
	for i := len(path) - 1; i >= 0; i-- {
		switch ancestor := path[i].(type) {
		case *parser.MatrixSelector:
			around := *ancestor
			around.VectorSelector = alone
			alone = &around
		case *parser.SubqueryExpr:
			around := *ancestor
			around.Expr = alone
			alone = &around
		case *parser.StepInvariantExpr:
			alone = &parser.StepInvariantExpr{Expr: alone}
		}
	}
	return alone
}
