package engine

import (
	"io"
	"net/http"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// maxPoints is how many points of each series Prometheus answers with at most.
const maxPoints = 11_000

// emptyData is the data of an answer that holds nothing.
var emptyData = map[promapi.Endpoint]string{
	promapi.Query:          `{"resultType":"vector","result":[]}`,
	promapi.QueryRange:     `{"resultType":"matrix","result":[]}`,
	promapi.QueryExemplars: `[]`,
	promapi.Series:         `[]`,
	promapi.Labels:         `[]`,
	promapi.LabelValues:    `[]`,
}

// AnsweredHere reports whether the answer to the query is empty, so that no tier
// is asked. Tiers are still asked for what they refuse, and for statistics.
func (q Query) AnsweredHere() bool {
	request := q.Request
	if _, known := emptyData[request.Endpoint]; !known || !request.ReadsNothing || (q.Hot == nil && q.Cold == nil) {
		return false
	}
	times := request.TimeRange
	if times.Step > 0 && times.End.Sub(times.Start)/times.Step >= maxPoints {
		return false
	}
	return request.Parameters.Get("stats") == ""
}

// emptyResponse returns the empty answer to the query.
func (q Query) emptyResponse() *Response {
	body := `{"status":"success","data":` + emptyData[q.Request.Endpoint] + `}`
	return &Response{
		Reason: tier.ReasonConfined, Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}
