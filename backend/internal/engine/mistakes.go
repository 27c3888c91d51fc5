package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// errEmptyMatchers is what Prometheus says of a match[] that selects everything.
var errEmptyMatchers = errors.New("match[] must contain at least one non-empty matcher")

// refuse returns the error for selectors that are missing, or that are understood
// and that Prometheus refuses all the same: a tier may take them, or may have
// been sent others.
func refuse(request *promapi.Request) error {
	if request.Endpoint == promapi.Series && len(request.Parameters["match[]"]) == 0 {
		return promapi.BadData("no match[] parameter provided")
	}
	if err := selectorError(request); errors.Is(err, errEmptyMatchers) {
		return selectorMistake(request.Endpoint, err)
	}
	return nil
}

// selectorError returns what Prometheus finds wrong with the selectors of a
// request that evaluates nothing; nil where that is nothing.
func selectorError(request *promapi.Request) error {
	switch request.Endpoint {
	case promapi.Series, promapi.Labels, promapi.LabelValues:
		var empty error
		for _, text := range request.Parameters["match[]"] {
			selector, err := promql.ParseSelector(text)
			if err != nil {
				return err // Prometheus reads them all before it looks into them.
			}
			if !slices.ContainsFunc(selector, func(matcher *labels.Matcher) bool { return !matcher.Matches("") }) {
				empty = errEmptyMatchers
			}
		}
		return empty
	case promapi.QueryExemplars:
		_, err := promql.Parse(request.Parameters.Get("query"))
		return err
	default:
		return nil
	}
}

// selectorMistake puts an error of selectorError into the words of an endpoint.
func selectorMistake(endpoint promapi.Endpoint, err error) *promapi.Error {
	if endpoint == promapi.Series {
		return promapi.InvalidParameter("match[]", err)
	}
	return promapi.BadData("%s", err)
}

// translateError gives an error of a tier the form that it has whichever tier
// was asked.
func (c *call) translateError(ctx context.Context, response *Response, decision tier.Decision) error {
	text, apiError, err := response.readError()
	if err != nil {
		return err
	}
	if text == nil {
		return nil // In an encoding that is not read here: passed on as it is.
	}
	if apiError == nil {
		// Not an error of the Prometheus API, but of something in front of it.
		return response.setError(promapi.Errorf(response.Status, promapi.ErrorTypeOf(response.Status),
			"the %s tier answered with status %d (%s)", response.Tier, response.Status, http.StatusText(response.Status)))
	}
	translated := *apiError
	if apiError.Status == http.StatusUnprocessableEntity && isTimeout(apiError.Message) {
		translated.Status, translated.Type = http.StatusServiceUnavailable, promapi.ErrorTimeout
		translated.Message = "query timed out in expression evaluation"
	}
	if err := selectorError(c.query.Request); err != nil {
		translated = *selectorMistake(c.query.Request.Endpoint, err)
	} else if apiError.Status == http.StatusBadRequest && isEvaluation(c.query.Request.Endpoint) {
		translated.Message = c.mistakeInQuery(ctx, decision, apiError.Message)
	}
	if translated == *apiError {
		response.setBody(text)
		return nil
	}
	return response.setError(&translated)
}

// mistakeAlone is how Thanos begins the message for a query that is refused, where
// Prometheus names the parameter first.
var mistakeAlone = regexp.MustCompile(`^(\d+:\d+|unknown position): parse error|^invalid expression type`)

// mistakeInQuery is the message for a request with a query that a tier refuses,
// in the words of Prometheus.
func (c *call) mistakeInQuery(ctx context.Context, decision tier.Decision, message string) string {
	query := c.query.Request.Parameters.Get("query")
	if _, err := promql.Parse(query); err != nil {
		return promapi.InvalidParameter("query", err).Message
	}
	if c.request(decision).Parameters.Get("query") != query {
		// Its positions are those of the rewritten query.
		message = c.askForMistake(ctx, decision.Tier, message)
	}
	if mistakeAlone.MatchString(message) {
		return promapi.InvalidParameter("query", errors.New(message)).Message
	}
	return message
}

// askForMistake asks a tier that refuses a rewritten query what it says of the
// query as it was written. Where it says nothing, the given message stays.
func (c *call) askForMistake(ctx context.Context, name tier.Name, message string) string {
	//nolint:bodyclose // The Response holds the body, which is closed below.
	answer, err := c.query.tier(name).Do(ctx, inEncoding(c.query.Request, encodingPlain), c.dropped(name))
	if err != nil {
		return message
	}
	response := &Response{Status: answer.StatusCode, Header: answer.Header, Body: answer.Body}
	defer func() { _ = response.Body.Close() }()
	if _, apiError, err := response.readError(); err == nil && apiError != nil && apiError.Status == http.StatusBadRequest {
		return apiError.Message
	}
	return message
}

// readError reads an error. The text is nil where its encoding is not read
// here, and the error is nil where it is not one of the Prometheus API.
func (r *Response) readError() (text []byte, apiError *promapi.Error, err error) {
	body, err := r.plain()
	if err != nil {
		return nil, nil, nil
	}
	if text, err = io.ReadAll(io.LimitReader(body, maxErrorBytes)); err != nil {
		return nil, nil, err
	}
	_, _, _, err = promapi.DecodeEnvelope(r.Status, bytes.NewReader(text))
	if !errors.As(err, &apiError) || apiError.Type == "" || !json.Valid(text) {
		return text, nil, nil
	}
	return text, apiError, nil
}

func isEvaluation(endpoint promapi.Endpoint) bool {
	return endpoint == promapi.Query || endpoint == promapi.QueryRange
}

// isTimeout knows the words in which a tier says that the time was too short.
func isTimeout(message string) bool {
	return strings.Contains(message, "context deadline exceeded") || strings.Contains(message, "query timed out")
}
