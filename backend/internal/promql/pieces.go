package promql

import (
	"errors"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
)

// Frozen returns the query with the times of @ start() and @ end() written into
// it, so that its pieces mean what the whole means. It returns the error of
// Separable, or one that says that the times cannot be written into the text.
func (q *Query) Frozen(start, end time.Time) (*Query, error) {
	if q.facts.inseparable != nil || !q.facts.namesEnds {
		return q, q.facts.inseparable
	}
	times := map[parser.ItemType]time.Time{parser.START: start, parser.END: end}
	meant := clone(q.tree())
	freeze := func(bound *parser.ItemType, timestamp **int64) {
		if at, is := times[*bound]; is {
			milliseconds := at.UnixMilli()
			*bound, *timestamp = 0, &milliseconds
		}
	}
	parser.Inspect(meant, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			if node != nil {
				freeze(&node.StartOrEnd, &node.Timestamp)
			}
		case *parser.SubqueryExpr:
			freeze(&node.StartOrEnd, &node.Timestamp)
		}
		return nil
	})
	frozen, err := q.write(meant)
	if err != nil {
		return nil, errors.New("it cannot be written down with its times")
	}
	return frozen, nil
}

// WithSteps returns the query with the given step in every subquery that names
// none, for a server whose own default is another. It returns an error when the
// step cannot be written into the text.
func (q *Query) WithSteps(step time.Duration) (*Query, error) {
	if !q.facts.defaultSteps {
		return q, nil
	}
	meant := clone(q.tree())
	parser.Inspect(meant, func(node parser.Node, _ []parser.Node) error {
		if subquery, is := node.(*parser.SubqueryExpr); is && subquery.Step == 0 && subquery.StepExpr == nil {
			subquery.Step = step
		}
		return nil
	})
	return q.write(meant)
}
