package promql

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
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
	edit := editor{query: q}
	tokens := slices.Collect(tokensFrom(q.text, 0))
	for i := 1; i+2 < len(tokens); i++ {
		at, is := times[tokens[i].Typ]
		if is && tokens[i-1].Typ == parser.AT && tokens[i+2].Typ == parser.RIGHT_PAREN {
			edit.replace(int(tokens[i].Pos), endOf(tokens[i+2]), strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64))
		}
	}
	frozen, err := edit.apply(meant)
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
	edit := editor{query: q}
	parser.Inspect(meant, func(node parser.Node, _ []parser.Node) error {
		subquery, ok := node.(*parser.SubqueryExpr)
		if !ok || subquery.Step != 0 || subquery.StepExpr != nil {
			return nil
		}
		subquery.Step = step
		// The step goes in front of the bracket that ends the range.
		for token := range tokensFrom(q.text, int(subquery.Expr.PositionRange().End)) {
			if token.Typ == parser.RIGHT_BRACKET {
				edit.replace(int(token.Pos), int(token.Pos), model.Duration(step).String())
				break
			}
		}
		return nil
	})
	return edit.apply(meant)
}
