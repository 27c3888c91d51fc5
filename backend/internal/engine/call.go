package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tracing"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// Do plans the query, calls the tier and, where the plan allows, the other one
// when the first fails before its answer has begun, or has nothing although it was
// only assumed to have everything. A confined query that reads nothing is answered
// without a tier.
//
// It returns an Error of the Prometheus API: 503 when no tier is configured,
// the deadline passed or the tier has too many queries already, 502 when the tier could not be reached, wrapped in a
// CallError once a tier was chosen.
func Do(ctx context.Context, query Query) (*Response, error) {
	if query.AnsweredHere() {
		return query.emptyResponse(), nil
	}
	_, span := tracing.Start(ctx, "plan")
	planned, err := Plan(ctx, query)
	tracing.End(span, err, promapi.MessageOf)
	if err != nil {
		return nil, err
	}
	if query.OnPlanned != nil {
		query.OnPlanned()
	}
	callContext, cancel := context.WithTimeout(ctx, query.timeout())
	call := &call{query: planned.query, planned: planned, started: time.Now()}
	response, decision, err := call.run(callContext)
	replica := ""
	if decision.Tier != tier.Cold && call.query.Hot != nil {
		replica = call.query.Hot.Replica()
	}
	if err == nil {
		response.Tier, response.Reason, response.Replica = decision.Tier, decision.Reason, replica
		err = call.finish(callContext, response, decision)
	}
	if err != nil {
		if response != nil {
			_ = response.Body.Close()
		}
		cancel()
		return nil, &CallError{Tier: decision.Tier, Reason: decision.Reason, Replica: replica, Err: call.explain(ctx, decision.Tier, err)}
	}
	response.UpstreamDuration = time.Since(call.started)
	response.Body = &cancelOnClose{ReadCloser: response.Body, cancel: cancel}
	return response, nil
}

// call is the state of the tries for one query.
type call struct {
	query   Query
	planned *Planned
	started time.Time
	// whole is what an answer that is kept as a whole needs for that; nil where it
	// is not.
	whole *cacheable
}

// run asks the tiers as planned and returns the answer that counts with the
// decision it came from.
func (c *call) run(ctx context.Context) (*Response, tier.Decision, error) {
	response, decision, done, err := c.assemble(ctx)
	if done {
		return response, decision, err
	}
	if decision.Tier == tier.Both {
		return c.unite(ctx)
	}
	c.whole = c.useWholeCache(ctx, decision)
	if response := c.cachedWhole(c.whole); response != nil {
		return response, decision, nil
	}
	response, err = c.try(ctx, decision)
	if err == nil {
		c.keepWhole(c.whole, response)
		response, next, found := c.secondThoughts(ctx, decision, response)
		if found {
			return response, next, nil
		}
		if err = c.change(ctx, response, decision.Tier); err == nil {
			return response, decision, nil
		}
		_ = response.Body.Close() // Read as a whole, it turned out to be no answer.
	}
	if isOverload(err) {
		// Passed on to the other tier, the load would take that down too.
		return nil, decision, err
	}
	if ctx.Err() == nil && c.nextReplica(ctx, decision) {
		c.retry(NextReplica)
		return c.run(ctx)
	}
	if decision.Fallback == "" || ctx.Err() != nil {
		return nil, decision, err
	}
	c.retry(Next(decision.Fallback))
	decision = tier.Decision{Tier: decision.Fallback, Reason: decision.FallbackReason, Warnings: decision.FallbackWarnings}
	response, err = c.try(ctx, decision)
	return response, decision, err
}

// retry tells that somebody else is asked.
func (c *call) retry(next Next) {
	if c.query.OnRetry != nil {
		c.query.OnRetry(next)
	}
}

// secondThoughts asks the other tier where the answer of the first is one that
// says nothing: hot has nothing and was only assumed to have everything, hot
// failed on a query that was rewritten for it, or the tier does not know the
// endpoint. found tells that the other answer counts; otherwise the first one
// is returned, unread.
func (c *call) secondThoughts(ctx context.Context, first tier.Decision, response *Response) (_ *Response, next tier.Decision, found bool) {
	other := tier.Cold
	if first.Tier == tier.Cold {
		other = tier.Hot
	}
	next = tier.Decision{Tier: other, Warnings: first.FallbackWarnings}
	switch {
	case first.Rule == 1 || c.query.tier(other) == nil:
		return response, next, false
	case first.Tier == tier.Hot && response.Status >= http.StatusBadRequest && c.planned.hot != c.query.Request &&
		first.Fallback == tier.Cold && c.planned.Input.ColdCovers():
		// It may be the rewriting that fails. If cold fails too, it is not.
		next.Reason = tier.ReasonHotFailed
	case isUnknown(response.Status) && endpointRules[c.query.Request.Endpoint].elsewhere:
		next.Reason = tier.ReasonOnlyTier
	case first.FallbackOnEmpty && response.Status < http.StatusMultipleChoices && response.isEmpty():
		c.query.Pair.RememberEmpty(c.planned.key)
		next.Reason = tier.ReasonHotEmpty
	default:
		return response, next, false
	}
	c.retry(Next(next.Tier))
	answer, err := c.try(ctx, next)
	if err != nil || answer.Status >= http.StatusBadRequest {
		if answer != nil {
			_ = answer.Body.Close()
		}
		return response, next, false
	}
	_ = response.Body.Close()
	return answer, next, true
}

// isUnknown tells whether a status means that a server does not know an
// endpoint.
func isUnknown(status int) bool {
	return status == http.StatusNotFound || status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented
}

// errEarly ends a try on hot that leaves too little time for cold.
var errEarly = errors.New("the tier did not answer early enough")

// try asks one tier. It returns an error when the tier failed in a way that
// says nothing about the query.
func (c *call) try(ctx context.Context, decision tier.Decision) (*Response, error) {
	return c.send(ctx, decision, c.request(decision))
}

// send is try with another request than the planned one.
func (c *call) send(ctx context.Context, decision tier.Decision, request *promapi.Request) (*Response, error) {
	target := c.query.tier(decision.Tier)
	tryContext, cancel := context.WithCancelCause(ctx)
	canRetry := decision.Fallback != "" || c.hasReplicas(decision)
	if deadline, bounded := ctx.Deadline(); canRetry && bounded {
		// Half of the time that is left is for whoever is asked next.
		timer := time.AfterFunc(time.Until(deadline)/2, func() { cancel(errEarly) })
		defer timer.Stop()
	}
	callContext, span := tracing.StartCall(tryContext, "ask the "+string(decision.Tier)+" tier")
	//nolint:bodyclose // The Response holds the body, and its reader closes it.
	answer, err := target.Do(callContext, request, c.dropped(decision.Tier))
	tracing.End(span, err, upstream.Describe)
	if err != nil {
		err = broken(tryContext, target, err)
		cancel(nil)
		return nil, err
	}
	response := &Response{
		Status: answer.StatusCode, Header: answer.Header, ContentLength: answer.ContentLength, decoded: c.query.Decoded.Of(c.query.Datasource),
		Body: &cancelOnClose{ReadCloser: answer.Body, cancel: func() { cancel(nil) }},
	}
	err = failure(answer.StatusCode, canRetry)
	if err == nil {
		if err = response.checkBeginning(); err != nil && !errors.Is(err, upstream.ErrNotPrometheus) {
			err = broken(tryContext, target, err)
		}
	}
	if err != nil {
		_ = response.Body.Close()
		return nil, err
	}
	if canRetry && response.saysItStops() {
		_ = response.Body.Close()
		return nil, &upstream.StatusError{Status: http.StatusServiceUnavailable}
	}
	if c.hasReplicas(decision) {
		if err := response.holdBeginning(); err != nil {
			err = broken(tryContext, target, err)
			_ = response.Body.Close()
			return nil, err
		}
	}
	return response, nil
}

// isOverload tells whether a tier was not asked because it has too many queries
// already, or its answer not read because others take the memory.
func isOverload(err error) bool {
	_, is := errors.AsType[*admission.OverloadError](err)
	return is || errors.Is(err, errTooLarge)
}

// broken is the error of a try that the tier broke off. Unless somebody else
// ended it, or it was not even made, the tier counts as down.
func broken(ctx context.Context, target *catalog.Tier, err error) error {
	if isOverload(err) {
		return err
	}
	cause := context.Cause(ctx)
	if cause == nil {
		target.ReportFailure(err)
	}
	if errors.Is(cause, errEarly) {
		return errEarly
	}
	return err
}

// firstUnknownStatus is the first number after the statuses of HTTP.
const firstUnknownStatus = 600

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
	switch {
	case status < http.StatusOK, status >= firstUnknownStatus, status == http.StatusNoContent, status == http.StatusResetContent:
		// HTTP gives the first two no meaning, and the others have no answer.
		return &upstream.StatusError{Status: status}
	case status >= http.StatusMultipleChoices && status < http.StatusBadRequest && status != http.StatusNotModified:
		// A redirect would show the caller an address of the tier.
		return &upstream.StatusError{Status: status}
	}
	return nil
}

// request is what goes to the tier. An answer that has to be decoded must not be
// compressed, and one that is looked at must be so in a known way.
func (c *call) request(decision tier.Decision) *promapi.Request {
	request := c.planned.cold
	if decision.Tier == tier.Hot {
		request = c.planned.hot
	}
	switch {
	case c.changes(decision.Tier):
		return inEncoding(request, encodingPlain)
	case len(decision.Warnings) > 0, decision.FallbackOnEmpty, c.whole != nil:
		return lookedAt(request)
	}
	return request
}

// dropped are the parameters that the tier does not know.
func (c *call) dropped(name tier.Name) []string {
	var names []string
	if name == tier.Hot {
		names = coldParameters
	}
	if c.planned.Tier == tier.Both && c.query.Request.Endpoint == promapi.Rules {
		names = slices.Concat(names, promapi.PagingParameters)
	}
	return names
}

// explain turns the failure of the last try into the error for the caller.
func (c *call) explain(ctx context.Context, name tier.Name, err error) error {
	var (
		status   *upstream.StatusError
		apiError *promapi.Error
		overload *admission.OverloadError
		ofTier   *tierError
	)
	if errors.As(err, &ofTier) {
		name = ofTier.name // Both were asked.
	}
	switch {
	case errors.Is(err, errTooLarge):
		return noMemory()
	case errors.Is(err, upstream.ErrNotPrometheus):
		return notAnswer(name, err)
	case errors.As(err, &apiError):
		return err
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled):
		return ctx.Err()
	case errors.As(err, &overload):
		return &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, Cause: err, RetryAfter: overload.RetryAfter,
			Message: fmt.Sprintf("the %s tier has too many queries already: try again in %s", name, overload.RetryAfter)}
	case errors.Is(err, context.DeadlineExceeded):
		return &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorTimeout, Cause: promapi.WithoutURL(err),
			Message: fmt.Sprintf("the %s tier did not answer within %s", name, c.query.timeout())}
	case errors.As(err, &status) && (status.Status == http.StatusUnauthorized || status.Status == http.StatusProxyAuthRequired):
		return promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "the %s tier does not accept the gateway's credentials", name)
	case errors.As(err, &status) && status.Status >= http.StatusMultipleChoices && status.Status < http.StatusBadRequest:
		return promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "the %s tier answered with a redirect: configure the URL it leads to", name)
	}
	return &promapi.Error{Status: http.StatusBadGateway, Type: promapi.ErrorUnavailable, Cause: promapi.WithoutURL(err),
		Message: fmt.Sprintf("the %s tier failed: %s", name, upstream.Describe(err))}
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
