package datasource

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

const (
	// maxPoints is how many points of each series Prometheus answers with at
	// most.
	maxPoints = 11_000
	// maxQueryMistakes is how many mistakes of one query are listed: the parser may
	// find very many.
	maxQueryMistakes = 20
)

// Validate returns everything that is wrong with the query, by the bounds of
// limits; nil when nothing is. It reads the query with a PromQL parser.
func (q *MetricQuery) Validate(limits config.QueryConfig) ValidationErrors {
	var mistakes ValidationErrors
	q.checkQuery(&mistakes, limits.MaxLength)
	q.checkTimes(&mistakes, time.Duration(limits.MaxRange))
	return mistakes
}

// Mistake is one thing that is wrong with a MetricQuery.
type Mistake struct {
	// Field is the name of the field in JSON: query, start, end, step or
	// namespace; empty for the whole.
	Field string `json:"field"`
	// Message says what to change. For a query that is no PromQL it begins
	// with the position, LINE:COLUMN.
	Message string `json:"message"`
}

// ValidationErrors are all that is wrong with a MetricQuery.
type ValidationErrors []Mistake

// Error lists all of them in one line.
func (m ValidationErrors) Error() string {
	lines := make([]string, 0, len(m))
	for _, each := range m {
		if each.Field == "" {
			lines = append(lines, each.Message)
			continue
		}
		lines = append(lines, each.Field+": "+each.Message)
	}
	return strings.Join(lines, "; ")
}

func (m *ValidationErrors) add(field, format string, arguments ...any) {
	*m = append(*m, Mistake{Field: field, Message: fmt.Sprintf(format, arguments...)})
}

// asError is nil for no mistakes.
func (m ValidationErrors) asError() error {
	if len(m) == 0 {
		return nil
	}
	return &promapi.Error{Status: http.StatusBadRequest, Type: promapi.ErrorBadData, Message: m.Error(), Cause: m}
}

// checkTimes adds what is wrong with the times. maxRange is zero for no bound.
func (q *MetricQuery) checkTimes(mistakes *ValidationErrors, maxRange time.Duration) {
	switch {
	case q.Step < 0:
		mistakes.add("step", "must not be negative")
	case q.Step == 0 && !q.Start.IsZero() && !q.Start.Equal(q.End):
		mistakes.add("step", "is missing: set a step for a range query, or end alone for an instant query")
	case q.Step > 0 && q.Step < time.Millisecond:
		mistakes.add("step", "must not be shorter than 1ms")
	}
	if q.Step > 0 && q.Start.IsZero() {
		mistakes.add("start", "is missing: a range query has start and end")
	}
	if q.Step > 0 && q.End.IsZero() {
		mistakes.add("end", "is missing: a range query has start and end")
	}
	if q.Start.IsZero() || q.End.IsZero() {
		return
	}
	length := q.End.Sub(q.Start)
	if length < 0 {
		mistakes.add("end", "is before start")
		return
	}
	if q.Step >= time.Millisecond && length/q.Step+1 > maxPoints {
		mistakes.add("step", "is too small: %d points of each series are more than %d, so make it at least %s", length/q.Step+1, maxPoints, leastStep(length))
	}
	if maxRange > 0 && length > maxRange {
		mistakes.add("start", "the range from start to end, %s, is longer than the limit of %s", model.Duration(length), model.Duration(maxRange))
	}
}

// leastStep is the shortest step, in whole seconds, with which a range has no
// more points than are answered.
func leastStep(length time.Duration) model.Duration {
	step := length / (maxPoints - 1)
	return model.Duration((step + time.Second - 1).Truncate(time.Second))
}

// checkQuery adds where the text is no PromQL, or that it is too large to be
// read. maxLength is query.max_length.
func (q *MetricQuery) checkQuery(mistakes *ValidationErrors, maxLength int) {
	if _, err := promql.Check(maxLength, q.Query); err != nil {
		mistakes.add("query", "%s", err)
		return
	}
	if strings.TrimSpace(q.Query) == "" {
		mistakes.add("query", "is empty: set a PromQL expression")
		return
	}
	if _, err := promql.Parse(q.Query); err != nil {
		for _, each := range promql.Mistakes(err, maxQueryMistakes) {
			mistakes.add("query", "%s", each)
		}
	}
}
