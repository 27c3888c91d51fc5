package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// finish adds the warnings to an answer, and gives errors the words of Prometheus
// whichever tier answered.
func (e *Engine) finish(next handler) handler {
	return func(ctx context.Context, a attempt) (*Response, error) {
		response, err := next(ctx, a)
		switch {
		case err != nil:
			return response, err
		case response.Status < http.StatusBadRequest:
			response.addLanguageWarning()
			err = response.addWarnings()
		case response.isAnsweredLocally():
			response.answerLocally()
		default:
			err = response.translateError(ctx)
		}
		if err != nil {
			_ = response.Body.Close()
			return nil, response.failed(err)
		}
		return response, nil
	}
}

// addWarnings puts the warnings into a successful answer.
func (r *Response) addWarnings() error {
	if len(r.Warnings) == 0 {
		return nil
	}
	body, err := r.plain()
	if err != nil {
		return err
	}
	changed, err := promapi.AddWarnings(body, r.Warnings)
	if err != nil {
		return fmt.Errorf("add warnings to the answer: %w", err)
	}
	r.Header.Del("Content-Encoding")
	r.ContentLength, r.Rewritten = -1, true
	r.readFrom(changed)
	return nil
}

// translateError gives an error of a tier the words of Prometheus.
func (r *Response) translateError(ctx context.Context) error {
	r.Warnings = nil
	text, err := r.errorText()
	if _, isEncoded := errors.AsType[*promapi.Error](err); isEncoded {
		return nil // In an encoding that is not read here, it is passed on as it is.
	}
	if err != nil {
		return err
	}
	apiError, request := errorIn(r.Status, text), r.plan.query.Request
	if apiError == nil {
		r.setError(r.foreignError())
		return nil
	}
	translated := *apiError
	if !translated.Type.IsKnown() {
		translated.Type = promapi.ErrorTypeOf(translated.Status)
	}
	if r.isMetricsQL {
		translated = r.fromMetricsQL(translated)
	}
	if apiError.Status == http.StatusUnprocessableEntity {
		switch {
		case strings.Contains(apiError.Message, "context deadline exceeded"), strings.Contains(apiError.Message, "query timed out"):
			translated.Status, translated.Type = http.StatusServiceUnavailable, promapi.ErrorTimeout
			translated.Message = "query timed out in expression evaluation"
		case promapi.IsFault(apiError.Status, apiError.Message):
			translated.Status, translated.Type = http.StatusServiceUnavailable, promapi.ErrorUnavailable
		}
	}
	if err, _ := selectorError(request); err != nil {
		translated = *err
	} else if translated.Status == http.StatusBadRequest && r.plan.traits().Evaluates() {
		translated.Message = r.queryError(ctx, translated.Message)
	} else if r.isMetricsQL && translated.Status == http.StatusUnprocessableEntity {
		translated.Message = r.ofWrittenQuery(ctx, translated.Message)
	}
	if translated == *apiError {
		r.setBody(text)
		return nil
	}
	r.setError(&translated)
	return nil
}

// foreignError returns the error for an answer that is not one of the Prometheus API, but
// of something in front of it.
func (r *Response) foreignError() *promapi.Error {
	made := promapi.Errorf(r.Status, promapi.ErrorTypeOf(r.Status), "the %s tier answered with status %d (%s)", r.Tier, r.Status, http.StatusText(r.Status))
	made.RetryAfter = retryAfter(r.Header)
	return made
}

// queryErrorAlone is how Thanos begins the message for a query that is refused,
// where Prometheus names the parameter first.
var queryErrorAlone = regexp.MustCompile(`^(\d+:\d+|unknown position): parse error|^invalid expression type`)

// queryError returns the message for a request with a query that a tier refuses,
// in the words of Prometheus.
func (r *Response) queryError(ctx context.Context, message string) string {
	query := r.plan.query.Request.Parameters.Get("query")
	if _, err := promql.Parse(query); err != nil {
		return promapi.InvalidParameter("query", err).Message
	}
	message = r.ofWrittenQuery(ctx, message)
	if queryErrorAlone.MatchString(message) {
		return promapi.InvalidParameter("query", errors.New(message)).Message
	}
	return message
}

// ofWrittenQuery returns what the tier says of the query as it was written, where it has got a rewritten
// one: positions are those of that one, and a VictoriaMetrics quotes it.
func (r *Response) ofWrittenQuery(ctx context.Context, message string) string {
	a := r.plan.attempt(tier.Decision{Tier: r.Tier})
	if a.request.Parameters.Get("query") == r.plan.query.Request.Parameters.Get("query") {
		return message
	}
	if !r.isMetricsQL {
		return a.askForError(ctx, r.Status, message)
	}
	return promapi.WithoutQuotedQuery(a.askForError(ctx, r.Status, "the "+string(r.Tier)+" tier cannot evaluate the query"))
}

// askForError asks a tier that refuses a rewritten query what it says of the
// query as it was written. Where it says nothing, the given message stays.
func (a attempt) askForError(ctx context.Context, status int, message string) string {
	request := a.request.With(url.Values{"query": a.plan.query.Request.Parameters["query"]})
	//nolint:bodyclose // The Response holds the body, which is closed below.
	answer, err := a.plan.tier(a.Tier).Do(ctx, inEncoding(request, promapi.EncodingPlain), &a.plan.callOptions)
	if err != nil {
		return message
	}
	response := &Response{Status: answer.StatusCode, Header: answer.Header, Body: answer.Body}
	defer func() { _ = response.Body.Close() }()
	text, err := response.errorText()
	if apiError := errorIn(response.Status, text); err == nil && apiError != nil && apiError.Status == status {
		return apiError.Message
	}
	return message
}
