package datasource

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

const (
	metricsQueryPath = "/api/v1/metrics/query"
	// maxPoints is how many points of each series Prometheus answers with at
	// most.
	maxPoints = 11_000
	// maxQueryMistakes is how many mistakes of one query are listed: the parser may
	// find very many.
	maxQueryMistakes = 20
)

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

// missing adds that a field is missing, unless it is there and wrong.
func (m *ValidationErrors) missing(field, message string) {
	if !slices.ContainsFunc(*m, func(each Mistake) bool { return each.Field == field }) {
		m.add(field, "%s", message)
	}
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
		mistakes.missing("step", "is missing: set a step for a range query, or end alone for an instant query")
	case q.Step > 0 && q.Step < time.Millisecond:
		mistakes.add("step", "must not be shorter than 1ms")
	}
	if q.Step > 0 && q.Start.IsZero() {
		mistakes.missing("start", "is missing: a range query has start and end")
	}
	if q.Step > 0 && q.End.IsZero() {
		mistakes.missing("end", "is missing: a range query has start and end")
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
		mistakes.missing("query", "is empty: set a PromQL expression")
		return
	}
	_, err := tier.ParseExpression(q.Query)
	var list parser.ParseErrors
	if !errors.As(err, &list) {
		if err != nil {
			mistakes.add("query", "%s", err)
		}
		return
	}
	for _, each := range list[:min(len(list), maxQueryMistakes)] {
		mistakes.add("query", "%s", each.Error())
	}
}

// metricsQueryBody is a MetricQuery in JSON. Times are RFC 3339 or seconds since
// the Unix epoch, a step is a duration such as "1m" or seconds.
type metricsQueryBody struct {
	Query     *string         `json:"query"`
	Start     json.RawMessage `json:"start"`
	End       json.RawMessage `json:"end"`
	Step      json.RawMessage `json:"step"`
	Namespace *string         `json:"namespace"`
}

// readMetricQuery reads a MetricQuery from JSON and adds everything that is
// wrong with it.
func readMetricQuery(body []byte, mistakes *ValidationErrors) *MetricQuery {
	query := &MetricQuery{}
	var read metricsQueryBody
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&read); err != nil {
		var typeError *json.UnmarshalTypeError
		if errors.As(err, &typeError) && typeError.Field != "" {
			mistakes.add(typeError.Field, "must be a %s, not a %s", typeError.Type, typeError.Value)
		} else {
			mistakes.add("", "the body has to be one JSON object with query, start, end, step and namespace: %s", strings.TrimPrefix(err.Error(), "json: "))
		}
		return query
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		mistakes.add("", "the body holds more than one JSON object")
	}
	if read.Query != nil {
		query.Query = *read.Query
	}
	if read.Namespace != nil {
		if query.Namespace = *read.Namespace; query.Namespace == "" {
			mistakes.add("namespace", "is empty: name one, or leave the field out")
		}
	}
	query.Start = readTime("start", read.Start, mistakes)
	query.End = readTime("end", read.End, mistakes)
	query.Step = readStep(read.Step, mistakes)
	return query
}

// readTime reads a time; the zero time where there is none.
func readTime(field string, raw json.RawMessage, mistakes *ValidationErrors) time.Time {
	const demand = "must be a time: RFC 3339 in quotes, or seconds since the Unix epoch"
	if len(raw) == 0 || string(raw) == "null" {
		return time.Time{}
	}
	text := string(raw)
	var quoted string
	if json.Unmarshal(raw, &quoted) == nil {
		if parsed, err := time.Parse(time.RFC3339Nano, quoted); err == nil {
			return parsed
		}
		text = quoted
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(seconds) || math.Abs(seconds) > 1e11 {
		mistakes.add(field, demand)
		return time.Time{}
	}
	return time.UnixMilli(int64(math.Round(seconds * 1000))).UTC()
}

// readStep reads a step; zero where there is none.
func readStep(raw json.RawMessage, mistakes *ValidationErrors) time.Duration {
	const demand = `must be a duration longer than zero: "30s", "1m", or seconds`
	if len(raw) == 0 || string(raw) == "null" {
		return 0
	}
	text := string(raw)
	var quoted string
	if json.Unmarshal(raw, &quoted) == nil {
		if parsed, err := model.ParseDuration(quoted); err == nil && parsed > 0 {
			return time.Duration(parsed)
		}
		text = quoted
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(seconds > 0 && seconds < 1e9) {
		mistakes.add("step", demand)
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

// serveMetricsQuery answers a MetricQuery in JSON, over the same path as
// ExecuteQuery, with the answer of the query or query_range endpoint.
func (h *handler) serveMetricsQuery(w http.ResponseWriter, incoming *http.Request, asked *source, caller promapi.Caller) {
	started := time.Now()
	body, err := readBody(incoming, "query")
	if err != nil {
		h.fail(w, incoming, err)
		return
	}
	var mistakes ValidationErrors
	query := readMetricQuery(body, &mistakes)
	if len(mistakes) == 0 || mistakes[0].Field != "" {
		query.checkQuery(&mistakes, h.manager.config.Query.MaxLength)
		query.checkTimes(&mistakes, time.Duration(h.manager.config.Query.MaxRange))
	}
	if len(mistakes) > 0 {
		writeMistakes(w, mistakes)
		return
	}
	request, err := query.request(started)
	if err != nil {
		h.failed(w, incoming, asked, nil, started, err)
		return
	}
	asking := engine.Query{Request: request, Datasource: asked.engine, Caller: caller, DetachOnCancel: true}
	prepared, planned, err := h.manager.prepare(incoming.Context(), asked, asking, query.Namespace)
	if err != nil {
		h.failed(w, incoming, asked, request, started, err)
		return
	}
	defer planned()
	end, err := h.manager.begin(request.Endpoint)
	if err != nil {
		h.failed(w, incoming, asked, request, started, err)
		return
	}
	defer end()
	observed := &observedWriter{ResponseWriter: w}
	defer h.manager.metrics.countRequest(incoming.Context(), request.Endpoint, observed)
	h.answer(observed, incoming, asked, prepared, started, planned)
}

// writeMistakes answers with all of them: in one line, as every error has it,
// and one by one.
func writeMistakes(w http.ResponseWriter, mistakes ValidationErrors) {
	body, err := json.Marshal(struct {
		Status    string            `json:"status"`
		ErrorType promapi.ErrorType `json:"errorType"`
		Error     string            `json:"error"`
		Mistakes  ValidationErrors  `json:"mistakes"`
	}{"error", promapi.ErrorBadData, mistakes.Error(), mistakes})
	if err != nil {
		promapi.WriteError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_, _ = w.Write(body) // The client may be gone, which concerns nobody here.
}
