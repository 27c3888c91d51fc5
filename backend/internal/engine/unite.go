package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// part is what one tier contributes to a union.
type part struct {
	*content // nil if the tier failed

	name     tier.Name
	plan     *Plan
	response *Response
	err      error
}

// askForPart asks one tier for its part.
func (e *Engine) askForPart(ctx context.Context, p *Plan, name tier.Name) *part {
	a := p.attempt(tier.Decision{Tier: name})
	a.reading = decoded
	made := &part{name: name, plan: p}
	if made.response, made.err = e.ask(ctx, a); made.err != nil {
		return made
	}
	var err error
	if made.content, err = made.response.read(ctx); err != nil {
		made.err = made.response.failed(err)
	}
	return made
}

// release closes the part and gives back its memory. It may be called more than once.
func (p *part) release() {
	if p.content != nil {
		p.close()
	}
}

// isRefused reports whether the tier refuses the request.
func (p *part) isRefused() bool {
	apiError, is := errors.AsType[*promapi.Error](p.err)
	return is && !promapi.IsFault(apiError.Status, apiError.Message)
}

// isUnknown reports whether the tier does not know the endpoint.
func (p *part) isUnknown() bool {
	return p.err != nil && p.response != nil && isUnknown(p.response.Status) && p.plan.traits().Routing.Has(promapi.Elsewhere)
}

// unite queries both tiers at once and joins their answers. If a replica of hot fails,
// it tries the next one. If a tier fails, the answer of the other goes out with a
// warning; without one if the tier does not know the endpoint.
func (e *Engine) unite(next handler) handler {
	return func(ctx context.Context, a attempt) (*Response, error) {
		if a.Tier == tier.Both {
			return e.askBoth(ctx, a)
		}
		return next(ctx, a)
	}
}

func (e *Engine) askBoth(ctx context.Context, a attempt) (*Response, error) {
	// A tenth of the time is left to send the answer of one tier where the other hangs.
	deadline, _ := ctx.Deadline() // There is one: see withinDeadline.
	ctx, cancel := context.WithTimeout(ctx, time.Until(deadline)*9/10)
	var hot, cold *part
	var group errgroup.Group
	group.Go(func() error { hot = e.askForPart(ctx, a.plan, tier.Hot); return nil })
	group.Go(func() error { cold = e.askForPart(ctx, a.plan, tier.Cold); return nil })
	_ = group.Wait() // The parts hold the errors.
	isFailed := func() bool {
		return hot.err != nil && !hot.isRefused() && !cold.isRefused() && !isOverload(hot.err) && ctx.Err() == nil
	}
	if isFailed() {
		for replica := range a.replicas(ctx) {
			if a, hot = replica, e.askForPart(ctx, replica.plan, tier.Hot); !isFailed() {
				break
			}
		}
	}
	response, err := joinParts(ctx, a, hot, cold)
	if err != nil {
		hot.release()
		cold.release()
		cancel()
		return nil, err
	}
	response.Body = &endingBody{response.Body, cancel} // It may still come in.
	return response, nil
}

// joinParts makes one answer of the parts, which holds their memory. On an
// error, that is still to be released.
func joinParts(ctx context.Context, a attempt, hot, cold *part) (*Response, error) {
	if hot.err == nil && cold.err == nil {
		if hot.envelope == nil || cold.envelope == nil {
			return streamParts(ctx, a, hot, cold)
		}
		answer, err := a.plan.joined(cold.memory.acquireWithin(ctx), hot.source(), cold.source())
		if err == nil {
			answer.Warnings = append(hot.envelope.Warnings, cold.envelope.Warnings...)
			answer.Infos = append(hot.envelope.Infos, cold.envelope.Infos...)
			cold.response.setAnswer(answer, hot.memory, cold.memory)
			cold.response.answers(a)
			return cold.response, nil
		}
		if a.plan.isTooLarge(err) {
			return streamParts(ctx, a, hot, cold)
		}
		invalid, is := errors.AsType[*splice.SourceError](err)
		if !is {
			return nil, a.failed(err)
		}
		// What one of them has answered is no answer: it counts as failed.
		for _, part := range []*part{hot, cold} {
			if string(part.name) == invalid.Tier {
				part.err = part.response.failed(notPrometheus(err))
			}
		}
	}
	left, failed := hot, cold
	if hot.err != nil {
		left, failed = cold, hot
	}
	var apiError *promapi.Error
	switch {
	case left.err != nil:
		return nil, a.failed(left.err)
	case failed == cold && a.Fallback == tier.Hot && !cold.isRefused():
		return partialUnion(ctx, a.plan.attempt(fallbackOf(a.Decision)), left, failed)
	case isOverload(failed.err) && (!isOverloadOfCold(failed.err) || !a.plan.traits().Routing.Has(promapi.UnionAlways)):
		return nil, a.failed(failed.err)
	case failed.isUnknown():
		return partialUnion(ctx, a.plan.attempt(tier.Decision{Tier: left.name, Reason: tier.ReasonOnlyTier}), left, failed)
	case failed == cold && errors.As(cold.err, &apiError) && apiError.Status == http.StatusBadRequest:
		return nil, a.failed(cold.err) // What one Prometheus would refuse is refused.
	}
	return partialUnion(ctx, a, left, failed, fmt.Sprintf("the %s tier failed: what only that one holds is missing", failed.name))
}

// partialUnion makes an answer to an attempt of the part that is left, with
// warnings in front of its own.
func partialUnion(ctx context.Context, a attempt, left, failed *part, warnings ...string) (*Response, error) {
	failed.release()
	if left.envelope == nil {
		response, err := streamParts(ctx, a, left)
		if err != nil {
			return nil, err
		}
		response.Warnings = slices.Concat(warnings, response.Warnings)
		return response, nil
	}
	answer := splice.Whole(left.envelope)
	if source := left.source(); len(source.Injected) > 0 && a.plan.traits().External == promapi.InAnswer {
		// The other one may have used up the time.
		var err error
		if answer, err = a.plan.joined(left.memory.acquire, source); err != nil {
			return nil, a.failed(left.response.failed(notPrometheus(err)))
		}
	}
	answer.Warnings, answer.Infos = append(warnings, left.envelope.Warnings...), left.envelope.Infos
	left.response.setAnswer(answer, left.memory)
	left.response.answers(a)
	return left.response, nil
}

// source returns what the part contributes to a union.
func (p *part) source() splice.Source { return p.plan.source(p.name, p.envelope.Data) }
