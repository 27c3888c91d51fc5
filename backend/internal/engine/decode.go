package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// decode adds the external labels of hot to an answer, or applies a limit that the tier may
// ignore. An answer that turns out to be none is a failure of its tier.
func (e *Engine) decode(next handler) handler {
	return func(ctx context.Context, a attempt) (*Response, error) {
		response, err := next(ctx, a)
		if err != nil || response.reading != decoded || response.Status >= http.StatusMultipleChoices {
			return response, err
		}
		if err := response.change(ctx); err != nil {
			return nil, response.failed(err)
		}
		return response, nil
	}
}

// change is decode for an answer that has to be changed. One that is too large is changed
// while it is passed on, if that is possible.
func (r *Response) change(ctx context.Context) error {
	read, err := r.read(ctx)
	if err != nil {
		return err
	}
	if read.envelope != nil {
		var answer *splice.Answer
		if !r.plan.traits().Evaluates() {
			answer, err = r.plan.joined(read.memory.acquireWithin(ctx), r.plan.source(r.Tier, read.envelope.Data))
		} else {
			answer, err = splice.LimitResult(read.envelope, r.plan.limit())
		}
		if err == nil {
			answer.Warnings, answer.Infos = read.envelope.Warnings, read.envelope.Infos
			r.setAnswer(answer, read.memory)
			return nil
		}
	}
	if read.envelope == nil || r.plan.isTooLarge(err) {
		return r.setStream(r.plan.streamed(ctx, read.memory, read.source(r)), read)
	}
	read.close()
	return notPrometheus(err)
}

// changes reports whether the answer of a tier has to be decoded.
func (p *Plan) changes(name tier.Name) bool {
	if p.traits().Evaluates() {
		return p.limit() > 0 // Prometheus knows the limit of these, Thanos and VictoriaMetrics do not.
	}
	return name == tier.Hot && (p.ownValue != "" || (len(p.added) > 0 && p.traits().External == promapi.InAnswer))
}

func (p *Plan) traits() *promapi.Traits { return p.query.Request.Endpoint.Traits() }

// limit is what the request asks for, or zero.
func (p *Plan) limit() int {
	limit, err := strconv.Atoi(p.query.Request.Parameters.Get("limit"))
	if err != nil || limit < 0 {
		return 0
	}
	return limit
}

// noMemory returns the error for an answer that does not fit into the budget.
func noMemory() error {
	return &promapi.Error{
		Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, Cause: errTooLarge, RetryAfter: time.Second,
		Message: "the answer has to be read as a whole, and such answers of this datasource would take more memory than limits.decoded_memory allows: select fewer series, or try again later",
	}
}

// content is what was read of an answer.
type content struct {
	// envelope is nil if the answer is too large.
	envelope *splice.Envelope
	memory   *reservation
	// text is the answer, or its start if it is too large. Then rest is what follows.
	text []byte
	rest io.Reader
	body io.Closer
}

// close closes the answer and releases its memory. It may be called more than once.
func (c *content) close() {
	c.closeBody()
	c.memory.release()
}

// closeBody closes what is left of the answer.
func (c *content) closeBody() {
	if c.body != nil {
		_ = c.body.Close()
		c.body = nil
	}
}

// source returns the answer from its start as a source of a union.
func (c *content) source(response *Response) splice.StreamedSource {
	made := response.plan.source(response.Tier, nil)
	reader := io.Reader(bytes.NewReader(c.text))
	if c.rest != nil {
		reader = io.MultiReader(reader, c.rest)
	}
	return splice.StreamedSource{Tier: made.Tier, Name: made.Name, Body: reader, Injected: made.Injected}
}

// joiningFactor is how much memory is acquired for an answer that is joined with others, as a
// multiple of its length. What remains beside the answer is for what joining takes.
const joiningFactor = 2

// read reads the body. It returns the error that the answer is, upstream.ErrNotPrometheus
// for what is none of the Prometheus API, and errTooLarge, unless an answer of the endpoint
// can be streamed. The caller closes what it returns; after an error, the body is closed.
func (r *Response) read(ctx context.Context) (*content, error) {
	read := &content{memory: &reservation{of: r.budget}, body: r.Body}
	if err := r.readInto(ctx, read); err != nil {
		read.close()
		return nil, notPrometheus(err)
	}
	if read.rest == nil {
		read.closeBody()
	}
	return read, nil
}

func (r *Response) readInto(ctx context.Context, read *content) error {
	if r.Status >= http.StatusBadRequest {
		text, err := r.errorText()
		if err != nil {
			return err
		}
		if apiError := errorIn(r.Status, text); apiError != nil {
			apiError.RetryAfter = retryAfter(r.Header)
			if !apiError.Type.IsKnown() {
				apiError.Type = promapi.ErrorTypeOf(apiError.Status)
			}
			return apiError
		}
		if promapi.IsFault(r.Status, "") {
			return r.foreignError()
		}
		return &upstream.StatusError{Status: r.Status}
	}
	plain, err := r.plain()
	if err != nil {
		return err
	}
	factor := int64(1)
	if r.plan.isStreamable() && !r.plan.traits().Evaluates() {
		factor = joiningFactor
	}
	read.text, err = read.memory.readFrom(plain, r, factor)
	read.memory.releaseSome((factor - 1) * int64(cap(read.text)))
	if err == nil {
		read.envelope, err = splice.ParseEnvelope(read.text, read.memory.acquireWithin(ctx))
	} else if r.plan.isTooLarge(err) {
		read.rest = plain
	}
	if r.plan.isTooLarge(err) {
		read.envelope, err = nil, nil
	}
	return err
}

// maxErrorBytes bounds the error of a tier that is read, in bytes.
const maxErrorBytes = 64 << 10

// errorText returns the text of an answer that is an error, decompressed. It returns an
// Error of the Prometheus API for other encodings.
func (r *Response) errorText() ([]byte, error) {
	body, err := r.plain()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(body, maxErrorBytes))
}

// errorIn returns the error of the Prometheus API in an answer; nil if there is none.
func errorIn(status int, text []byte) *promapi.Error {
	_, _, _, err := promapi.DecodeEnvelope(status, bytes.NewReader(text))
	apiError, is := errors.AsType[*promapi.Error](err)
	if !is || apiError.Type == "" || !json.Valid(text) {
		return nil
	}
	return apiError
}

// notPrometheus wraps the error of an invalid answer in upstream.ErrNotPrometheus.
func notPrometheus(err error) error {
	if errors.Is(err, splice.ErrNoMatrix) {
		return fmt.Errorf("%w: %w", upstream.ErrNotPrometheus, err)
	}
	return err
}

// setAnswer replaces the body. Closing it releases the memory.
func (r *Response) setAnswer(answer *splice.Answer, memory ...*reservation) {
	if answer.Truncated && !slices.Contains(answer.Warnings, promapi.TruncatedWarning) {
		answer.Warnings = append(answer.Warnings, promapi.TruncatedWarning)
	}
	r.setHeader()
	r.ContentLength = -1
	r.Body = &endingBody{io.NopCloser(answer.Reader()), func() {
		for _, memory := range memory {
			memory.release()
		}
	}}
}

// source returns what a tier contributes to an answer.
func (p *Plan) source(name tier.Name, data []byte) splice.Source {
	made := splice.Source{Tier: string(name), Data: data}
	if external := p.traits().External; name == tier.Hot && (external == promapi.InAnswer || external == promapi.InUnion) {
		made.Injected = p.added
	}
	evidence, union := p.snapshot.Evidence, p.traits().Union
	hasOthers := len(p.matching.all) > 1 || (evidence != nil && len(evidence.Others()) > 0)
	if name == tier.Hot && hasOthers && (union == promapi.UnionOfRules || union == promapi.UnionOfAlerts) {
		made.Name = p.ownSource().text()
		made.Injected, _ = p.injected()
	}
	return made
}

// joined joins the data of tiers, or changes that of one.
func (p *Plan) joined(acquire splice.Acquire, sources ...splice.Source) (*splice.Answer, error) {
	limit := p.limit()
	switch p.traits().Union {
	case promapi.UnionOfRules:
		return splice.UniteRules(sources, acquire)
	case promapi.UnionOfAlerts:
		return splice.UniteAlerts(sources, acquire)
	case promapi.UnionOfTexts:
		return splice.UniteTexts(sources, limit, acquire)
	case promapi.UnionOfSeries:
		return splice.UniteSeries(sources, limit, acquire)
	case promapi.UnionOfExemplars:
		return splice.UniteExemplars(sources, acquire)
	case promapi.UnionOfMetadata:
		return splice.UniteMetadata(sources, limit, acquire)
	default:
		return nil, promapi.Errorf(http.StatusInternalServerError, promapi.ErrorInternal, "answers of %s cannot be joined", p.query.Request.Endpoint)
	}
}

// valueFactor is how much more memory the values of an answer take than its
// JSON: see TestResponse_DecodedValuesTakeNoMoreThanIsAcquired.
const valueFactor = 16

// Decode reads the answer to a query, and does not close the body. It returns an Error
// of the Prometheus API: that of the tier, 503 if limits.decoded_memory has no room or
// the time is over, or 502 if the tier failed.
func (r *Response) Decode(ctx context.Context) (*promapi.Answer, error) {
	memory := &reservation{of: r.budget}
	defer memory.release()
	var text []byte
	var err error
	if r.Status >= http.StatusBadRequest {
		text, err = r.errorText()
	} else if text, err = memory.readBody(r); err == nil {
		err = memory.acquireWithin(ctx)(valueFactor * int64(len(text)))
	}
	if err != nil {
		return nil, r.unreadable(err)
	}
	return promapi.DecodeAnswer(r.Status, bytes.NewReader(text))
}

// unreadable returns the Error for an answer that could not be read.
func (r *Response) unreadable(err error) error {
	var apiError *promapi.Error
	switch {
	case errors.As(err, &apiError):
		return err
	case errors.Is(err, errTooLarge):
		return noMemory()
	case errors.Is(err, context.DeadlineExceeded):
		return &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorTimeout, Cause: promapi.WithoutURL(err),
			Message: fmt.Sprintf("the answer of the %s tier did not end in time", r.Tier)}
	default:
		return &promapi.Error{Status: http.StatusBadGateway, Type: promapi.ErrorUnavailable, Cause: promapi.WithoutURL(err),
			Message: fmt.Sprintf("the %s tier failed: %s", r.Tier, upstream.Describe(err))}
	}
}
