package datasource

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

const (
	// maxPoints is Prometheus' limit for the points of a series.
	maxPoints = 11_000
	// maxQueryMistakes limits the parser's errors for one query.
	maxQueryMistakes = 20
)

// Validate parses the query and checks it against limits. It returns all mistakes, or nil.
func (q *MetricQuery) Validate(limits config.QueryConfig) ValidationErrors {
	var mistakes ValidationErrors
	q.checkQuery(&mistakes, limits.MaxLength)
	q.checkTimes(&mistakes, time.Duration(limits.MaxRange))
	return mistakes
}

// Mistake is one mistake in a MetricQuery.
type Mistake struct {
	// Field is the name of the field in JSON: query, start, end, step or namespace. It is
	// empty if the mistake concerns the whole query.
	Field string `json:"field"`
	// Message says what to change. For invalid PromQL, it starts with the position as
	// LINE:COLUMN.
	Message string `json:"message"`
}

// ValidationErrors are all mistakes in a MetricQuery.
type ValidationErrors []Mistake

// Error returns all mistakes in one line.
func (m ValidationErrors) Error() string {
	texts := make([]string, 0, len(m))
	for _, mistake := range m {
		if mistake.Field == "" {
			texts = append(texts, mistake.Message)
			continue
		}
		texts = append(texts, mistake.Field+": "+mistake.Message)
	}
	return strings.Join(texts, "; ")
}

func (m *ValidationErrors) add(field, format string, arguments ...any) {
	*m = append(*m, Mistake{Field: field, Message: fmt.Sprintf(format, arguments...)})
}

// addIf adds a mistake if the condition is met.
func (m *ValidationErrors) addIf(isWrong bool, field, format string, arguments ...any) {
	if isWrong {
		m.add(field, format, arguments...)
	}
}

// checkTimes adds mistakes in the times. If maxRange is zero, the range has no limit.
func (q *MetricQuery) checkTimes(mistakes *ValidationErrors, maxRange time.Duration) {
	mistakes.addIf(q.Step < 0, "step", "must not be negative")
	mistakes.addIf(q.Step == 0 && !q.Start.IsZero() && !q.Start.Equal(q.End), "step", "is missing: set a step for a range query, or end alone for an instant query")
	mistakes.addIf(q.Step > 0 && q.Step < time.Millisecond, "step", "must not be shorter than 1ms")
	mistakes.addIf(q.Step > 0 && q.Start.IsZero(), "start", "is missing: a range query has start and end")
	mistakes.addIf(q.Step > 0 && q.End.IsZero(), "end", "is missing: a range query has start and end")
	if q.Start.IsZero() || q.End.IsZero() {
		return
	}
	length := q.End.Sub(q.Start)
	if length < 0 {
		mistakes.add("end", "is before start")
		return
	}
	if q.Step >= time.Millisecond && length/q.Step+1 > maxPoints {
		mistakes.add("step", "is too small: each series would have %d points, more than %d. Set a step of at least %s", length/q.Step+1, maxPoints, minStep(length))
	}
	mistakes.addIf(maxRange > 0 && length > maxRange, "start", "the range from start to end, %s, is longer than the limit of %s", model.Duration(length), model.Duration(maxRange))
}

// minStep returns the shortest step, in whole seconds, for at most maxPoints points.
func minStep(length time.Duration) model.Duration {
	step := length / (maxPoints - 1)
	return model.Duration((step + time.Second - 1).Truncate(time.Second))
}

// checkQuery adds mistakes in the PromQL text. maxLength is query.max_length, in bytes.
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
		for _, mistake := range promql.ErrorTexts(err, maxQueryMistakes) {
			mistakes.add("query", "%s", mistake)
		}
	}
}
