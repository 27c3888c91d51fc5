package engine

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// isAnsweredLocally reports whether the gateway answers itself because the tier
// that was asked does not know the endpoint: its own parser can.
func (r *Response) isAnsweredLocally() bool {
	endpoint := r.plan.query.Request.Endpoint
	return isUnknown(r.Status) && (endpoint == promapi.FormatQuery || endpoint == promapi.ParseQuery)
}

// answerLocally answers format_query and parse_query with the gateway's own
// parser.
func (r *Response) answerLocally() error {
	r.Warnings = nil
	data, apiError := parseHere(r.plan.query.Request)
	if apiError != nil {
		r.setError(apiError)
		return nil
	}
	text, err := json.Marshal(struct {
		Status string `json:"status"`
		Data   any    `json:"data"`
	}{"success", data})
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	r.Status = http.StatusOK
	r.setBody(text)
	return nil
}

// parseHere returns the query formatted, or its tree.
func parseHere(request *promapi.Request) (any, *promapi.Error) {
	query, formats := request.Parameters.Get("query"), request.Endpoint == promapi.FormatQuery
	if isCostly, err := promql.Check(len(query), query); formats && (isCostly || err != nil) {
		// The time that the printer takes grows with the cube of the operators.
		return nil, promapi.BadData("the query is too large to be formatted by tierproxy: format its parts")
	}
	root, err := tier.ParseTree(query)
	switch {
	case err != nil:
		return nil, promapi.InvalidParameter("query", err)
	case formats:
		return root.Pretty(0), nil
	}
	return describe(root), nil
}

// object is a node of a query in the JSON of the parse_query endpoint.
type object = map[string]any

// describe writes a node of a query in the form of the parse_query endpoint.
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
		described := describeSelector(node)
		described["type"] = "vectorSelector"
		return described
	case *parser.MatrixSelector:
		selector, ok := node.VectorSelector.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		described := describeSelector(selector)
		described["type"] = "matrixSelector"
		described["range"], described["rangeExpr"] = node.Range.Milliseconds(), describeDuration(node.RangeExpr)
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
		"name": selector.Name, "matchers": matchers, "timestamp": selector.Timestamp, "startOrEnd": describeBound(selector.StartOrEnd),
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

// describeDuration writes a duration that is computed; nil where it is not.
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
