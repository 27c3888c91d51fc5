package tier

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// separability is what follows for cutting from a text alone.
type separability struct {
	// names is set where @ start() or @ end() stands in the query.
	names bool
	err   error
}

// Separable tells whether a range query gives the same values when it is
// evaluated in pieces, and returns an error that says why it does not.
func Separable(query string) error { return separable(query).err }

func separable(query string) separability {
	return promql.Remembered(promql.KeyOf("separable", query), func() (separability, int) {
		root, err := promqlParser.ParseExpr(query)
		if err != nil {
			return separability{err: errors.New("it is not understood here")}, 0
		}
		var found separability
		parser.Inspect(root, func(node parser.Node, _ []parser.Node) error {
			switch node := node.(type) {
			case *parser.Call:
				switch node.Func.Name {
				case "start", "end", "range", "step":
					found.err = fmt.Errorf("%s() would be that of a piece", node.Func.Name)
				case "info":
					found.err = errors.New("what info() joins may depend on the time range")
				}
			case *parser.AggregateExpr:
				if node.Op == parser.LIMITK || node.Op == parser.LIMIT_RATIO {
					found.err = errors.New("which series it samples may depend on the time range")
				}
			case *parser.VectorSelector:
				if node != nil {
					found.names = found.names || node.StartOrEnd != 0
					found.durations(node.OriginalOffsetExpr)
				}
			case *parser.MatrixSelector:
				found.durations(node.RangeExpr)
			case *parser.SubqueryExpr:
				found.names = found.names || node.StartOrEnd != 0
				found.durations(node.RangeExpr, node.OriginalOffsetExpr, node.StepExpr)
			}
			return nil
		})
		return found, sizeOfError(found.err)
	})
}

// durations looks for range() in durations that are computed.
func (s *separability) durations(list ...*parser.DurationExpr) {
	for _, duration := range list {
		if duration == nil {
			continue
		}
		if duration.Op == parser.RANGE {
			s.err = errors.New("range() in a duration would be that of a piece")
		}
		for _, operand := range []parser.Expr{duration.LHS, duration.RHS} {
			if inner, ok := operand.(*parser.DurationExpr); ok {
				s.durations(inner)
			}
		}
	}
}

// Freeze returns the query with the times of @ start() and @ end() written into
// it, so that its pieces mean what the whole means. The text is the query
// itself where there are none. It returns an error when the query cannot be
// parsed or written down.
func Freeze(query string, start, end time.Time) (string, error) {
	found := separable(query)
	if found.err != nil || !found.names {
		return query, found.err
	}
	root, err := promqlParser.ParseExpr(query)
	if err != nil {
		return "", err
	}
	freeze := func(bound *parser.ItemType, timestamp **int64) {
		at := start.UnixMilli()
		switch *bound {
		case parser.START:
		case parser.END:
			at = end.UnixMilli()
		default:
			return
		}
		*bound, *timestamp = 0, &at
	}
	parser.Inspect(root, func(node parser.Node, _ []parser.Node) error {
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
	changed := editor{text: query}
	tokens := slices.Collect(tokensFrom(query, 0))
	for i := 1; i+2 < len(tokens); i++ {
		if tokens[i-1].Typ != parser.AT || tokens[i+2].Typ != parser.RIGHT_PAREN {
			continue
		}
		at := start
		switch tokens[i].Typ {
		case parser.START:
		case parser.END:
			at = end
		default:
			continue
		}
		changed.edits = append(changed.edits, edit{int(tokens[i].Pos), int(tokens[i+2].Pos) + len(tokens[i+2].Val), formatSeconds(at)})
	}
	text, err := changed.apply(root)
	if err != nil {
		return "", errors.New("it cannot be written down with its times")
	}
	return text, nil
}

// formatSeconds writes a time as PromQL has it: seconds with three decimals.
func formatSeconds(at time.Time) string {
	milliseconds, sign := at.UnixMilli(), ""
	if milliseconds < 0 {
		milliseconds, sign = -milliseconds, "-"
	}
	return fmt.Sprintf("%s%d.%03d", sign, milliseconds/1000, milliseconds%1000)
}
