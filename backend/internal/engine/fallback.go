package engine

import (
	"context"
	"errors"
)

// fallBack makes one attempt after the other until one has an answer: see
// attempt.others.
func (e *Engine) fallBack(next handler) handler {
	return func(ctx context.Context, first attempt) (*Response, error) {
		response, err := next(ctx, first)
		if first.isFailure(ctx, err) {
			return e.tryOthers(ctx, next, first, err)
		}
		return response, err
	}
}

// tryOthers is a function of its own because its loop moves variables to the heap.
func (e *Engine) tryOthers(ctx context.Context, next handler, failed attempt, err error) (*Response, error) {
	first := err
	for a := range failed.others(ctx) {
		e.options.OnRetry(a.next)
		var response *Response
		if response, err = next(ctx, a); !a.isFailure(ctx, err) {
			return insteadOf(first, response, err)
		}
	}
	return insteadOf(first, nil, err)
}

// isFailure reports whether another attempt follows the error of this one. An overload
// of hot is not passed on to cold. The error may also be that of a retry on an
// inconclusive answer, which has no further attempt.
func (a attempt) isFailure(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() != nil || (isOverload(err) && !isOverloadOfCold(err)) {
		return false
	}
	failed, is := errors.AsType[*CallError](err)
	return is && failed.Tier == a.Tier
}
