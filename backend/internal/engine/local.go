package engine

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// answerLocally answers format_query and parse_query with the gateway's own
// parser, where the tier that was asked does not know them.
func (c *call) answerLocally(response *Response) (bool, error) {
	endpoint := c.query.Request.Endpoint
	if !isUnknown(response.Status) || (endpoint != promapi.FormatQuery && endpoint != promapi.ParseQuery) {
		return false, nil
	}
	query := c.query.Request.Parameters.Get("query")
	if isCostly, err := promql.Check(len(query), query); endpoint == promapi.FormatQuery && (isCostly || err != nil) {
		// The time that the printer takes grows with the cube of the operators.
		return true, response.setError(promapi.BadData("the query is too large to be formatted by tierproxy: format its parts"))
	}
	parsed, err := promql.ParseStrictly(query)
	if err != nil {
		return true, response.setError(promapi.InvalidParameter("query", err))
	}
	var data any
	if endpoint == promapi.ParseQuery {
		data = parsed.Describe()
	} else {
		data = parsed.Pretty()
	}
	encoded, err := json.Marshal(data)
	if err != nil {
		return true, fmt.Errorf("write the answer: %w", err)
	}
	response.Status = http.StatusOK
	return true, response.replace(&promapi.Envelope{Data: encoded})
}
