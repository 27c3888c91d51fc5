// Package queryrange is what happens around the call to a tier: the plan, the
// call itself, the one retry on the other tier, and the warnings that the
// answer has to carry.
package queryrange

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// Query is one request with everything that its answer depends on.
type Query struct {
	// Request is what is asked.
	Request *promapi.Request
	// Forced is the tier that the caller asks for, or empty.
	Forced tier.Name
	// Hot and Cold are the tiers of the datasource; nil where it has none.
	Hot, Cold *upstream.Tier
	// Threshold is the span from which on cold is asked.
	Threshold time.Duration
	// Timeout bounds all tries together, the body of the answer included.
	Timeout time.Duration
	// QueryParams are the datasource's own, which the plugin sends along.
	QueryParams map[string]string
}

// Response is the answer of a tier, its body unread.
type Response struct {
	// Tier and Reason say who answered and why.
	Tier   tier.Name
	Reason tier.Reason
	// Warnings are already part of the body.
	Warnings []string
	// Status, Header and Body are the answer as the tier gave it; the body
	// is not decompressed. Reading it returns an error when the tier or the
	// deadline cut it off. Close ends the upstream call.
	Status int
	Header http.Header
	Body   io.ReadCloser
	// ContentLength is the length of the body in bytes, or -1.
	ContentLength int64
	// UpstreamDuration is the time until the header of the answer, all tries
	// together.
	UpstreamDuration time.Duration
}

// CallError says which tier and reason an error belongs to.
type CallError struct {
	// Tier and Reason are those of the last try.
	Tier   tier.Name
	Reason tier.Reason
	// Err is an Error of the Prometheus API.
	Err error
}

// Error returns the text of Err.
func (e *CallError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *CallError) Unwrap() error { return e.Err }

// coldParameters are known to cold only: Thanos reads them, Prometheus does not.
var coldParameters = []string{"dedup", "partial_response", "max_source_resolution", "storeMatch[]", "replicaLabels[]"}

// Do plans the query, calls the tier and, where the plan allows, the other one
// when the first fails before it sent a header. Any status that is an answer
// of the Prometheus API is returned as it came.
//
// It returns an Error of the Prometheus API: 503 when no tier is configured or
// the deadline passed, 502 when the tier could not be reached, wrapped in a
// CallError once a tier was chosen.
func Do(ctx context.Context, query Query) (*Response, error) {
	_, decision, err := Plan(ctx, query)
	if err != nil {
		return nil, err
	}
	callContext, cancel := context.WithTimeout(ctx, query.timeout())
	call := &call{query: query, started: time.Now()}
	response, err := call.try(callContext, decision)
	if err != nil && decision.Fallback != "" && callContext.Err() == nil {
		decision = tier.Decision{Tier: decision.Fallback, Reason: tier.ReasonHotFailed, Warnings: decision.FallbackWarnings}
		response, err = call.try(callContext, decision)
	}
	if err != nil {
		cancel()
		return nil, &CallError{Tier: decision.Tier, Reason: decision.Reason, Err: call.explain(ctx, decision.Tier, err)}
	}
	if err := response.addWarnings(decision.Warnings); err != nil {
		_ = response.Body.Close()
		cancel()
		return nil, &CallError{Tier: decision.Tier, Reason: decision.Reason, Err: err}
	}
	response.Tier, response.Reason = decision.Tier, decision.Reason
	response.UpstreamDuration = time.Since(call.started)
	response.Body = &cancelOnClose{ReadCloser: response.Body, cancel: cancel}
	return response, nil
}

// Plan decides which tier is asked, and returns what it decided from. It waits for the first probe of tiers that
// nobody asked for before. It returns an Error with status 503 when the
// datasource has no tier.
func Plan(ctx context.Context, query Query) (input tier.Input, decision tier.Decision, err error) {
	now := query.Request.ReceivedAt
	input = tier.Input{
		Extent:        Extent(query.Request),
		Forced:        query.Forced,
		ColdParameter: query.coldParameter(),
		Threshold:     query.Threshold,
		Now:           now.UnixMilli(),
	}
	waitContext, cancel := context.WithTimeout(ctx, query.timeout()/4)
	defer cancel()
	if query.Hot != nil {
		query.Hot.Wait(waitContext)
		input.Hot = query.Hot.State(now)
	}
	if query.Cold != nil {
		query.Cold.Wait(waitContext)
		input.Cold = query.Cold.State(now)
	}
	if decision, err = tier.Plan(input); err != nil {
		return input, decision, promapi.Errorf(http.StatusServiceUnavailable, promapi.ErrorUnavailable, "%s", err)
	}
	return input, decision, nil
}

// Extent returns what a request reads.
func Extent(request *promapi.Request) tier.Extent {
	times := request.TimeRange
	switch request.Endpoint {
	case promapi.Query, promapi.QueryRange:
		extent, err := tier.Analyze(tier.Evaluation{
			Query: request.Parameters.Get("query"), Start: times.Start, End: times.End,
			Step: times.Step, LookbackDelta: times.LookbackDelta,
		})
		if err != nil {
			return tier.UnknownExtent(times.Start, times.End)
		}
		return extent
	case promapi.Series, promapi.Labels, promapi.LabelValues, promapi.QueryExemplars:
		return tier.RangeExtent(times.Start, times.End)
	}
	return tier.Extent{Nothing: true}
}

// timeout is the configured one, or what the request asks for if that is less.
func (q Query) timeout() time.Duration {
	if asked := q.Request.TimeRange.Timeout; asked > 0 {
		return min(q.Timeout, asked)
	}
	return q.Timeout
}

// coldParameter returns a parameter that only cold knows and that is not
// merely one of the datasource's own, or nothing.
func (q Query) coldParameter() string {
	for _, name := range coldParameters {
		own, isOwn := q.QueryParams[name]
		for _, value := range q.Request.Parameters[name] {
			if !isOwn || value != own {
				return name
			}
		}
	}
	return ""
}

func (q Query) tier(name tier.Name) *upstream.Tier {
	if name == tier.Hot {
		return q.Hot
	}
	return q.Cold
}

// call is the state of the tries for one query.
type call struct {
	query   Query
	started time.Time
}

// errEarly ends a try on hot that leaves too little time for cold.
var errEarly = errors.New("the tier did not answer early enough")

// try asks one tier. It returns an error when the tier failed in a way that
// says nothing about the query.
func (c *call) try(ctx context.Context, decision tier.Decision) (*Response, error) {
	target := c.query.tier(decision.Tier)
	tryContext, cancel := context.WithCancelCause(ctx)
	if decision.Fallback != "" {
		// Half of the time is for the other tier.
		timer := time.AfterFunc(c.query.timeout()/2, func() { cancel(errEarly) })
		defer timer.Stop()
	}
	//nolint:bodyclose // The Response holds the body, and its reader closes it.
	answer, err := target.Do(tryContext, c.request(decision), c.dropped(decision.Tier))
	if err != nil {
		cause := context.Cause(tryContext)
		cancel(nil)
		if cause == nil {
			target.ReportFailure(err)
		}
		if errors.Is(cause, errEarly) {
			err = errEarly
		}
		return nil, err
	}
	response := &Response{
		Status: answer.StatusCode, Header: answer.Header, ContentLength: answer.ContentLength,
		Body: &cancelOnClose{ReadCloser: answer.Body, cancel: func() { cancel(nil) }},
	}
	if err := failure(answer.StatusCode, decision.Fallback != ""); err != nil {
		_ = response.Body.Close()
		return nil, err
	}
	return response, nil
}

// failure tells statuses that are no answers to a query from those that are.
func failure(status int, canFallBack bool) error {
	switch status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if canFallBack {
			return &upstream.StatusError{Status: status}
		}
	case http.StatusUnauthorized, http.StatusProxyAuthRequired:
		// Passed on, it would tell the browser that its own session ended.
		return &upstream.StatusError{Status: status}
	}
	if status >= http.StatusMultipleChoices && status < http.StatusBadRequest && status != http.StatusNotModified {
		// A redirect would show the caller an address of the tier.
		return &upstream.StatusError{Status: status}
	}
	return nil
}

// request is what goes to the tier. An answer that has to be changed must not
// be compressed.
func (c *call) request(decision tier.Decision) *promapi.Request {
	if len(decision.Warnings) == 0 {
		return c.query.Request
	}
	changed := *c.query.Request
	changed.Header = changed.Header.Clone()
	changed.Header.Set("Accept-Encoding", "identity")
	return &changed
}

// dropped are the parameters that the tier does not know.
func (c *call) dropped(name tier.Name) []string {
	if name == tier.Hot {
		return coldParameters
	}
	return nil
}

// explain turns the failure of the last try into the error for the caller.
func (c *call) explain(ctx context.Context, name tier.Name, err error) error {
	var status *upstream.StatusError
	switch {
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled):
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorTimeout, Cause: promapi.WithoutURL(err),
			Message: fmt.Sprintf("the %s tier did not answer within %s", name, c.query.timeout())}
	case errors.As(err, &status) && (status.Status == http.StatusUnauthorized || status.Status == http.StatusProxyAuthRequired):
		return promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "the %s tier does not accept the gateway's credentials", name)
	case errors.As(err, &status) && status.Status < http.StatusBadRequest:
		return promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "the %s tier answered with a redirect: configure the URL it leads to", name)
	}
	return &promapi.Error{Status: http.StatusBadGateway, Type: promapi.ErrorUnavailable, Cause: promapi.WithoutURL(err),
		Message: fmt.Sprintf("the %s tier failed: %s", name, upstream.Describe(err))}
}

// addWarnings puts the warnings into a successful answer.
func (r *Response) addWarnings(warnings []string) error {
	r.Warnings = warnings
	if len(warnings) == 0 || r.Status >= http.StatusBadRequest {
		return nil
	}
	body := io.Reader(r.Body)
	switch encoding := strings.ToLower(r.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
	case "gzip":
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			return &promapi.Error{Status: http.StatusBadGateway, Type: promapi.ErrorUnavailable, Message: "the tier's answer could not be decompressed", Cause: err}
		}
		body = unzipped
	default:
		return promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "the tier answered with content encoding %q although none was asked for", encoding)
	}
	changed, err := promapi.AddWarnings(body, warnings)
	if err != nil {
		return fmt.Errorf("add warnings to the answer: %w", err)
	}
	r.Header.Del("Content-Encoding")
	r.Header.Del("Content-Length")
	r.Header.Del("ETag")
	r.ContentLength = -1
	r.Body = struct {
		io.Reader
		io.Closer
	}{changed, r.Body}
	return nil
}

// cancelOnClose ends the upstream call with its body.
type cancelOnClose struct {
	io.ReadCloser
	cancel func()
}

// Close closes the body, then ends the call.
func (c *cancelOnClose) Close() error {
	err := c.ReadCloser.Close()
	c.cancel()
	return err
}

// ColdParameters lists the parameters that only cold knows.
func ColdParameters() []string { return slices.Clone(coldParameters) }
