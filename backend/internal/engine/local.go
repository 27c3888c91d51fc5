package engine

import (
	"net/http"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// isAnsweredLocally reports whether the gateway answers itself because the tier
// that was asked does not know the endpoint: its own parser can.
func (r *Response) isAnsweredLocally() bool {
	endpoint := r.plan.query.Request.Endpoint
	return r.isUnknown() && (endpoint == promapi.FormatQuery || endpoint == promapi.ParseQuery)
}

// answerLocally answers format_query and parse_query with the gateway's own
// parser. Thanos and Prometheus 2 do not know parse_query.
func (r *Response) answerLocally() {
	request := r.plan.query.Request
	query, formats := request.Parameters.Get("query"), request.Endpoint == promapi.FormatQuery
	r.Warnings = nil
	if isCostly, err := promql.Check(len(query), query); formats && (isCostly || err != nil) {
		// The time that the printer takes grows with the cube of the operators.
		r.setError(promapi.BadData("the query is too large to be formatted by tierproxy: format its parts"))
		return
	}
	parsed, err := promql.ParseStrictly(query)
	if err != nil {
		r.setError(promapi.InvalidParameter("query", err))
		return
	}
	data := parsed.Describe
	if formats {
		data = func() any { return parsed.Pretty() }
	}
	r.Status = http.StatusOK
	r.setJSON(map[string]any{"status": "success", "data": data()})
}
