package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// withinDeadline bounds all attempts together, body included, and turns the failure of
// the last one into the error for the caller.
func (e *Engine) withinDeadline(next handler) handler {
	return func(ctx context.Context, a attempt) (*Response, error) {
		started := time.Now()
		bounded, cancel := context.WithTimeout(ctx, a.plan.timeout())
		response, err := next(bounded, a)
		if err != nil {
			cancel()
			return nil, forCaller(ctx, err, a.plan.timeout())
		}
		response.UpstreamDuration = time.Since(started)
		response.Body = &endingBody{response.Body, cancel}
		return response, nil
	}
}

// forCaller returns the CallError of an error with the words for the caller. They
// name the tier that failed, also where it had a part only.
func forCaller(ctx context.Context, err error, timeout time.Duration) error {
	outer, is := errors.AsType[*CallError](err)
	if !is {
		return err
	}
	inner := outer
	for next, ok := outer, true; ok; next, ok = errors.AsType[*CallError](inner.Err) {
		inner = next
	}
	return &CallError{Tier: outer.Tier, Reason: outer.Reason, Replica: outer.Replica, Err: explain(ctx, inner.Tier, inner.Err, timeout)}
}

// explain puts the failure of a tier into words.
func explain(ctx context.Context, name tier.Name, err error, timeout time.Duration) error {
	var (
		status   *upstream.StatusError
		apiError *promapi.Error
		overload *admission.OverloadError
	)
	switch {
	case errors.Is(err, errTooLarge):
		return noMemory()
	case errors.As(err, &apiError):
		return err
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled):
		return ctx.Err()
	case errors.As(err, &overload):
		return &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, Cause: err, RetryAfter: overload.RetryAfter,
			Message: fmt.Sprintf("the %s tier has too many queries already: try again in %s", name, overload.RetryAfter)}
	case errors.Is(err, context.DeadlineExceeded):
		return &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorTimeout, Cause: promapi.WithoutURL(err),
			Message: fmt.Sprintf("the %s tier did not answer within %s", name, timeout)}
	case errors.As(err, &status) && (status.Status == http.StatusUnauthorized || status.Status == http.StatusProxyAuthRequired):
		return promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "the %s tier does not accept the gateway's credentials", name)
	case errors.As(err, &status) && status.Status >= http.StatusMultipleChoices && status.Status < http.StatusBadRequest:
		return promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "the %s tier answered with a redirect: configure the URL it leads to", name)
	}
	return &promapi.Error{Status: http.StatusBadGateway, Type: promapi.ErrorUnavailable, Cause: promapi.WithoutURL(err),
		Message: fmt.Sprintf("the %s tier failed: %s", name, upstream.Describe(err))}
}
