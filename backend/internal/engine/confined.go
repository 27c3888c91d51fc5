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

// AnsweredHere reports whether the answer to the query is empty, so that no tier
// is asked. Tiers are still asked for what they refuse, and for statistics.
func (q Query) AnsweredHere() bool {
	if !q.ReadsNothing || (len(q.Datasource.Hot) == 0 && q.Datasource.Cold == nil) {
		return false
	}
	times := q.Request.TimeRange
	hasTooManyPoints := times.Step > 0 && times.End.Sub(times.Start)/times.Step >= maxPoints
	return !hasTooManyPoints && q.Request.Parameters.Get("stats") == "" && q.emptyData() != promapi.NoEmptyData
}

func (q Query) emptyData() string { return q.Request.Endpoint.Traits().EmptyData }

// emptyResponse returns the empty answer to the query.
func (q Query) emptyResponse() *Response {
	body := `{"status":"success","data":` + q.emptyData() + `}`
	return &Response{
		Reason: tier.ReasonConfined, Status: http.StatusOK, Header: jsonHeader(),
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}
