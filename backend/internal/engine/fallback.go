package engine

import (
	"context"
	"errors"
)

// fallBack makes one attempt after the other until one has an answer: see
// attempt.attempts. An overload ends that: passed on to the other tier, the load
// would take that down too.
func (e *Engine) fallBack(next handler) handler {
	return func(ctx context.Context, first attempt) (*Response, error) {
		var failure error
		for a := range first.attempts(ctx) {
			if a.next != "" {
				e.options.OnRetry(a.next)
			}
			response, err := next(ctx, a)
			if err == nil {
				return response, nil
			}
			failure = err
			if isOverload(err) || ctx.Err() != nil || !a.isFailure(err) {
				break
			}
		}
		return nil, failure
	}
}

// isFailure reports whether an error is that of the attempt itself, rather than of
// another one that was made for an inconclusive answer.
func (a attempt) isFailure(err error) bool {
	failed, is := errors.AsType[*CallError](err)
	return is && failed.Tier == a.Tier
}
