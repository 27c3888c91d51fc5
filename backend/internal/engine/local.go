package engine

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
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
	parsed, err := promql.ParseStrictly(query)
	switch {
	case err != nil:
		return nil, promapi.InvalidParameter("query", err)
	case formats:
		return parsed.Pretty(), nil
	}
	return parsed.Describe(), nil
}
