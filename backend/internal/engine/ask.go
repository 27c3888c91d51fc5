package engine

import (
	"context"
	"errors"
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

// errEarly ends an attempt so that time is left for the next one.
var errEarly = errors.New("the tier did not answer early enough")

// errPartial is returned for a partial answer of hot, if cold can answer.
var errPartial = errors.New("the answer is partial")

// ask is the last step: it queries one tier. It returns an error for a failure that
// says nothing about the query.
func (e *Engine) ask(ctx context.Context, a attempt) (*Response, error) {
	target := a.plan.tier(a.Tier)
	attemptContext, cancel := context.WithCancelCause(ctx)
	if deadline, bounded := ctx.Deadline(); a.isReplaceable && bounded {
		timer := time.AfterFunc(time.Until(deadline)/2, func() { cancel(errEarly) })
		defer timer.Stop()
	}
	callContext, span := tracing.StartCall(attemptContext, "ask the "+string(a.Tier)+" tier")
	//nolint:bodyclose // The Response holds the body, and its reader closes it.
	answer, err := target.Do(callContext, a.encoded(), a.options())
	tracing.End(span, err, upstream.Describe)
	if err != nil {
		err = brokenOff(attemptContext, target, err)
		cancel(nil)
		return nil, a.failed(err)
	}
	response := a.response()
	response.Status, response.Header, response.ContentLength = answer.StatusCode, answer.Header, answer.ContentLength
	response.Body = &endingBody{answer.Body, func() { cancel(nil) }}
	response.recognize(a)
	err = response.check(a)
	if err == nil && a.Tier == tier.Hot && a.plan.ownValue != "" {
		err = response.setOwnValue(a.plan.ownValue)
	}
	if err != nil {
		if fault, is := errors.AsType[*CallError](err); is {
			_ = response.Body.Close()
			return nil, fault
		}
		if _, isStatus := errors.AsType[*upstream.StatusError](err); !isStatus && !errors.Is(err, upstream.ErrNotPrometheus) {
			err = brokenOff(attemptContext, target, err)
		}
		_ = response.Body.Close()
		return nil, a.failed(err)
	}
	return response, nil
}

// check returns an upstream.StatusError for a status that is no answer,
// upstream.ErrNotPrometheus for one that is not of the Prometheus API, and the error of
// reading its start. If another attempt is possible, it returns a *CallError with the
// answer for a fault of the tier.
func (r *Response) check(a attempt) error {
	if !isAnswer(r.Status) {
		return &upstream.StatusError{Status: r.Status}
	}
	if err := r.checkStart(); err != nil {
		return err
	}
	if a.isReplaceable && r.isFault() {
		a.reportPartial()
		return r.failedWith(&upstream.StatusError{Status: r.Status}, false)
	}
	if a.reading != decoded && r.Status == http.StatusOK {
		if err := r.warnIfPartial(); err != nil && a.isReplaceable {
			return err
		}
		if a.Tier == tier.Hot && a.Fallback == tier.Cold && slices.Contains(r.Warnings, promapi.PartialWarning) {
			a.reportPartial()
			return &CallError{Tier: r.Tier, Reason: r.Reason, Replica: r.Replica, Err: errPartial}
		}
	}
	if a.Tier == tier.Hot && len(a.plan.others) > 0 && r.Status < http.StatusBadRequest {
		if _, err := r.peek(bufferedStart); !errors.Is(err, io.EOF) {
			return err
		}
	}
	return nil
}

// reportPartial notes that an answer of hot lacks what one of its stores holds. Asked for a whole
// answer, a Thanos fails then.
func (a attempt) reportPartial() {
	if a.Tier == tier.Hot && a.plan.replica.Catalog != nil {
		a.plan.replica.Catalog.ReportPartial()
	}
}

// isOverload reports whether a tier has too many queries already, or other answers
// take the memory.
func isOverload(err error) bool {
	_, is := errors.AsType[*admission.OverloadError](err)
	return is || errors.Is(err, errTooLarge)
}

// brokenOff returns the error of an attempt that failed. The tier counts as down,
// unless the gateway ended the attempt or never made it.
func brokenOff(ctx context.Context, target *catalog.Tier, err error) error {
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

// isAnswer reports whether a status is an answer to a query, which may be an error.
func isAnswer(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusProxyAuthRequired:
		return false // Passed on, it would tell the browser that its own session ended.
	case http.StatusNoContent, http.StatusResetContent:
		return false // They have no body.
	case http.StatusNotModified:
		return true
	}
	// A redirect would show the caller an address of the tier.
	isRedirect := status >= http.StatusMultipleChoices && status < http.StatusBadRequest
	const afterTheLast = 600
	return status >= http.StatusOK && status < afterTheLast && !isRedirect
}
