package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// memoryRetryAfter is when an answer that found no memory is worth another try.
const memoryRetryAfter = time.Second

// noMemory returns the error for an answer that does not fit into the budget.
func noMemory() error {
	return &promapi.Error{
		Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, Cause: errTooLarge, RetryAfter: memoryRetryAfter,
		Message: "the answer has to be read as a whole, and such answers of this datasource would take more memory than limits.decoded_memory allows: select fewer series, or try again later",
	}
}

// tierError is why a tier has no part in a union.
type tierError struct {
	name tier.Name
	err  error
}

// Error returns the text of the cause.
func (e *tierError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *tierError) Unwrap() error { return e.err }

// decoded is an answer that was read as a whole, and the memory that it takes.
type decoded struct {
	envelope *splice.Envelope
	held     *lease
	acquire  splice.Acquire
}

// decode reads an answer as a whole and closes its body. It returns the error of
// the tier where the answer is one, upstream.ErrNotPrometheus where it is none
// of the Prometheus API, and errTooLarge where the budget has no room for it.
func (r *Response) decode(ctx context.Context) (*decoded, error) {
	defer func() { _ = r.Body.Close() }()
	body, err := r.plain()
	if err != nil {
		return nil, err
	}
	if r.Status >= http.StatusBadRequest {
		text, err := io.ReadAll(io.LimitReader(body, maxErrorBytes))
		if err != nil {
			return nil, err
		}
		return nil, errorIn(r.Status, text)
	}
	length := r.ContentLength
	if body != io.Reader(r.Body) {
		length = -1 // It is compressed.
	}
	held := &lease{of: r.decoded}
	found := &decoded{held: held, acquire: held.acquire(ctx)}
	text, err := held.read(body, length)
	if err == nil {
		if found.envelope, err = splice.ParseEnvelope(text, found.acquire); errors.Is(err, splice.ErrNoMatrix) {
			err = notPrometheus(err)
		}
	}
	if err != nil {
		held.release()
		return nil, err
	}
	return found, nil
}

// errorIn returns the error of the Prometheus API that an answer with such a
// status holds, and an upstream.StatusError where it holds none.
func errorIn(status int, text []byte) error {
	var apiError *promapi.Error
	_, _, _, err := promapi.DecodeEnvelope(status, bytes.NewReader(text))
	if !errors.As(err, &apiError) || apiError.Type == "" || !json.Valid(text) {
		return &upstream.StatusError{Status: status}
	}
	return apiError
}

// change puts into the answer of a tier what it has to be changed by. It does so
// once.
func (c *call) change(ctx context.Context, response *Response, name tier.Name) error {
	if response.changed || response.Status >= http.StatusMultipleChoices || !c.changes(name) {
		return nil
	}
	found, err := response.decode(ctx)
	if err != nil {
		return err
	}
	var answer *splice.Answer
	if name == tier.Hot {
		answer, err = c.united(found.acquire, c.source(name, found.envelope))
	} else {
		answer, err = splice.LimitResult(found.envelope, c.limit())
	}
	if err != nil {
		found.held.release()
		return notPrometheus(err)
	}
	answer.Warnings, answer.Infos = found.envelope.Warnings, found.envelope.Infos
	response.setAnswer(answer, found.held)
	return nil
}

// notPrometheus gives the error for an answer that turned out to be none the
// form of one that is seen to be none at once.
func notPrometheus(err error) error {
	if errors.Is(err, splice.ErrNoMatrix) {
		return fmt.Errorf("%w: %w", upstream.ErrNotPrometheus, err)
	}
	return err
}

// setAnswer puts another body into the answer, with the memory that it takes
// until it is closed.
func (r *Response) setAnswer(answer *splice.Answer, held ...*lease) {
	if answer.Truncated {
		answer.Warnings = append(answer.Warnings, promapi.TruncatedWarning)
	}
	r.setHeader()
	r.ContentLength, r.changed = -1, true
	r.Body = struct {
		io.Reader
		io.Closer
	}{answer.Reader(), closeFunc(func() {
		for _, each := range held {
			each.release()
		}
	})}
}

// closeFunc is a function that is called as an io.Closer. It never fails.
type closeFunc func()

// Close calls the function.
func (f closeFunc) Close() error {
	f()
	return nil
}

// source returns what a tier contributes to an answer.
func (c *call) source(name tier.Name, envelope *splice.Envelope) splice.Source {
	made := splice.Source{Tier: string(name), Data: envelope.Data}
	if name != tier.Hot {
		return made
	}
	switch c.query.Request.Endpoint {
	case promapi.Series, promapi.Labels, promapi.QueryExemplars, promapi.Alerts:
		made.Injected = c.planned.added
	default:
	}
	return made
}

// united joins the data of tiers.
func (c *call) united(acquire splice.Acquire, sources ...splice.Source) (*splice.Answer, error) {
	limit := 0
	if len(sources) > 1 {
		limit = c.limit()
	}
	switch endpoint := c.query.Request.Endpoint; endpoint {
	case promapi.Rules:
		return splice.UniteRules(sources, acquire)
	case promapi.Alerts:
		return splice.UniteAlerts(sources, acquire)
	case promapi.Labels, promapi.LabelValues:
		return splice.UniteTexts(sources, limit, acquire)
	case promapi.Series:
		return splice.UniteSeries(sources, limit, acquire)
	case promapi.QueryExemplars:
		return splice.UniteExemplars(sources, acquire)
	case promapi.Metadata:
		return splice.UniteMetadata(sources, limit, acquire)
	default:
		return nil, promapi.Errorf(http.StatusInternalServerError, promapi.ErrorInternal, "answers of %s cannot be united", endpoint)
	}
}

// valueFactor is how much more memory the values of an answer take than its
// JSON: see TestResponse_DecodedValuesTakeNoMoreThanIsAcquired.
const valueFactor = 16

// Decode reads the answer to a query as a whole, and leaves the body to be
// closed. It returns an Error of the Prometheus API: that of the tier, or 503
// where limits.decoded_memory has no room for the answer or the time is over,
// or 502 where the tier broke off or its answer is none.
func (r *Response) Decode(ctx context.Context) (*promapi.Answer, error) {
	body, err := r.plain()
	if err != nil {
		return nil, err
	}
	if r.Status >= http.StatusBadRequest {
		return promapi.DecodeAnswer(r.Status, io.LimitReader(body, maxErrorBytes))
	}
	held := &lease{of: r.decoded}
	defer held.release()
	text, err := held.read(body, -1)
	if err == nil {
		err = held.acquire(ctx)(valueFactor * int64(len(text)))
	}
	switch {
	case errors.Is(err, errTooLarge):
		return nil, noMemory()
	case errors.Is(err, context.DeadlineExceeded):
		return nil, &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorTimeout, Cause: promapi.WithoutURL(err),
			Message: fmt.Sprintf("the answer of the %s tier did not end in time", r.Tier)}
	case err != nil:
		return nil, &promapi.Error{Status: http.StatusBadGateway, Type: promapi.ErrorUnavailable, Cause: promapi.WithoutURL(err),
			Message: fmt.Sprintf("the %s tier failed: %s", r.Tier, upstream.Describe(err))}
	}
	return promapi.DecodeAnswer(r.Status, bytes.NewReader(text))
}
