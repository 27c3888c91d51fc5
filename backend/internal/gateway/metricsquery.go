package gateway

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

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/core"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
)

const metricsQueryPath = "/api/v1/metrics/query"

// metricsQueryBody is a MetricQuery in JSON. Times are RFC 3339, or seconds since the Unix
// epoch. The step is a duration such as "1m", or seconds.
type metricsQueryBody struct {
	Query     string          `json:"query"`
	Start     json.RawMessage `json:"start"`
	End       json.RawMessage `json:"end"`
	Step      json.RawMessage `json:"step"`
	Namespace *string         `json:"namespace"`
}

// readMetricQuery parses a MetricQuery from JSON, and adds its mistakes.
func readMetricQuery(body []byte, mistakes *datasource.ValidationErrors) *datasource.MetricQuery {
	query := &datasource.MetricQuery{}
	var read metricsQueryBody
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&read); err != nil {
		if typeError, is := errors.AsType[*json.UnmarshalTypeError](err); is && typeError.Field != "" {
			addMistake(mistakes, typeError.Field, "must be a %s, not a %s", typeError.Type, typeError.Value)
		} else {
			addMistake(mistakes, "", "the body must be one JSON object with query, start, end, step and namespace: %s", strings.TrimPrefix(err.Error(), "json: "))
		}
		return query
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		addMistake(mistakes, "", "the body contains more than one JSON object")
	}
	query.Query = read.Query
	if read.Namespace != nil {
		if query.Namespace = *read.Namespace; query.Namespace == "" {
			addMistake(mistakes, "namespace", "is empty: set a namespace, or omit the field")
		}
	}
	query.Start = readTime("start", read.Start, mistakes)
	query.End = readTime("end", read.End, mistakes)
	query.Step = readStep(read.Step, mistakes)
	return query
}

func addMistake(mistakes *datasource.ValidationErrors, field, format string, arguments ...any) {
	*mistakes = append(*mistakes, datasource.Mistake{Field: field, Message: fmt.Sprintf(format, arguments...)})
}

// textOf returns a JSON string or number as text. It returns false for null and an absent value.
func textOf(raw json.RawMessage) (text string, exists bool) {
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw)
	}
	return text, len(raw) > 0 && string(raw) != "null"
}

// readTime parses a time. It returns the zero time for none.
func readTime(field string, raw json.RawMessage, mistakes *datasource.ValidationErrors) time.Time {
	text, exists := textOf(raw)
	if !exists {
		return time.Time{}
	}
	if parsed, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return parsed
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(seconds) || math.Abs(seconds) > 1e11 {
		addMistake(mistakes, field, "must be a time: RFC 3339 in quotes, or seconds since the Unix epoch")
		return time.Time{}
	}
	return time.UnixMilli(int64(math.Round(seconds * 1000))).UTC()
}

// readStep parses a step. It returns zero for none.
func readStep(raw json.RawMessage, mistakes *datasource.ValidationErrors) time.Duration {
	text, exists := textOf(raw)
	if !exists {
		return 0
	}
	if parsed, err := model.ParseDuration(text); err == nil && parsed > 0 {
		return time.Duration(parsed)
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(seconds > 0 && seconds < 1e9) {
		addMistake(mistakes, "step", `must be a duration longer than zero: "30s", "1m", or seconds`)
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

// serveMetricsQuery answers a MetricQuery in JSON in the same way as ExecuteQuery. The response
// has the format of the query or query_range endpoint.
func (g *Gateway) serveMetricsQuery(w http.ResponseWriter, incoming *http.Request, resolved *resolve.Resolved, caller admission.Caller) {
	started := time.Now()
	body, err := readBody(incoming, "query")
	if err != nil {
		g.fail(w, incoming, err)
		return
	}
	var mistakes datasource.ValidationErrors
	query := readMetricQuery(body, &mistakes)
	if len(mistakes) == 0 || mistakes[0].Field != "" {
		malformed := slices.Clone(mistakes)
		for _, mistake := range query.Validate(g.core.Config.Query) {
			// Report a malformed field only once.
			if !slices.ContainsFunc(malformed, func(reported datasource.Mistake) bool { return reported.Field == mistake.Field }) {
				mistakes = append(mistakes, mistake)
			}
		}
	}
	if len(mistakes) > 0 {
		writeMistakes(w, mistakes)
		return
	}
	request, err := core.NewRequest(query.Query, query.Start, query.End, query.Step, started)
	if err != nil {
		g.failed(w, incoming, resolved, nil, started, err)
		return
	}
	g.answer(w, incoming, resolved, engine.Query{Caller: caller}, query.Namespace, request.Endpoint, started, func() (*promapi.Request, error) { return request, nil })
}

// writeMistakes responds with all mistakes: in one line, as every error, and as a list.
func writeMistakes(w http.ResponseWriter, mistakes datasource.ValidationErrors) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(struct {
		Status    string                      `json:"status"`
		ErrorType promapi.ErrorType           `json:"errorType"`
		Error     string                      `json:"error"`
		Mistakes  datasource.ValidationErrors `json:"mistakes"`
	}{"error", promapi.ErrorBadData, mistakes.Error(), mistakes}) // The client may have disconnected.
}
