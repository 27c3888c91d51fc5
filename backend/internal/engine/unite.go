package engine

import (
	"context"
	"errors"
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
	return p.err != nil && p.response != nil && p.response.isUnknown() && p.plan.traits().Routing.Has(promapi.Elsewhere)
}

// mostAtOnce is the maximum number of sources of hot that a union asks at the same time.
const mostAtOnce = 32

// unite queries both tiers, or several sources of hot, at once and joins their answers. If a
// replica of hot fails, it tries the next one. If a tier or a source fails, the answer of the others
// goes out with a warning; without one if the tier does not know the endpoint.
func (e *Engine) unite(next handler) handler {
	return func(ctx context.Context, a attempt) (*Response, error) {
		if a.Tier == tier.Both || len(a.plan.further) > 0 {
			return e.askAll(ctx, a)
		}
		return next(ctx, a)
	}
}

func (e *Engine) askAll(ctx context.Context, a attempt) (*Response, error) {
	// A tenth of the time is left to send the answer of one tier where the other hangs.
	deadline, _ := ctx.Deadline() // There is one: see withinDeadline.
	ctx, cancel := context.WithTimeout(ctx, time.Until(deadline)*9/10)
	var hot, cold *part
	plans := a.plan.furtherPlans(ctx)
	further := make([]*part, len(plans))
	var group errgroup.Group
	group.SetLimit(mostAtOnce)
	if a.Tier == tier.Both {
		group.Go(func() error { cold = e.askForPart(ctx, a.plan, tier.Cold); return nil })
	}
	group.Go(func() error { hot = e.askForPart(ctx, a.plan, tier.Hot); return nil })
	for i, plan := range plans {
		group.Go(func() error { further[i] = e.askSource(ctx, plan); return nil })
	}
	_ = group.Wait() // The parts hold the errors.
	isFailed := func() bool {
		return hot.err != nil && !hot.isRefused() && (cold == nil || !cold.isRefused()) && !isOverload(hot.err) && ctx.Err() == nil
	}
	if isFailed() {
		for replica := range a.replicas(ctx) {
			if a, hot = replica, e.askForPart(ctx, replica.plan, tier.Hot); !isFailed() {
				break
			}
		}
	}
	made := parts{plan: a.plan, cold: cold}
	made.add(append([]*part{hot}, further...))
	response, err := made.join(ctx, a)
	if err != nil {
		made.release()
		cancel()
		return nil, err
	}
	response.Warnings = slices.Concat(made.warnings, response.Warnings)
	response.Body = &endingBody{response.Body, cancel} // It may still come in.
	return response, nil
}

// askSource asks one source of hot for its part, by one replica after the other.
func (e *Engine) askSource(ctx context.Context, p *Plan) *part {
	made := e.askForPart(ctx, p, tier.Hot)
	for i := range p.others {
		if made.err == nil || made.isRefused() || isOverload(made.err) || ctx.Err() != nil {
			break
		}
		if plan, err := p.planOn(ctx, p.others, i); err == nil {
			plan.hot = plan.hot.Without(promapi.PagingParameters...)
			made = e.askForPart(ctx, plan, tier.Hot)
		}
	}
	return made
}

// parts are what the tiers contribute to a union: sources of hot, of which more are those beside
// the first one, and cold, or nil without it.
type parts struct {
	plan      *Plan
	hot, cold *part
	more      []*part
	warnings  []string // for sources that failed
}

// add sets the parts of hot. If some of its sources failed, those that did not are left.
func (p *parts) add(sources []*part) {
	p.hot = sources[0]
	var answered []*part
	for _, part := range sources {
		if part.err == nil {
			answered = append(answered, part)
		} else if len(sources) > 1 {
			p.warnings = append(p.warnings, part.plan.hotSource.missing(p.plan.Input.Detailed))
		}
	}
	if len(answered) > 0 {
		p.hot, p.more = answered[0], answered[1:]
	} else {
		p.warnings = nil // The tier as a whole failed.
	}
}

// all are the parts that have an answer.
func (p *parts) all() (list []*part) {
	for _, part := range slices.Concat([]*part{p.hot}, p.more, []*part{p.cold}) {
		if part != nil && part.err == nil {
			list = append(list, part)
		}
	}
	return list
}

func (p *parts) release() {
	for _, part := range slices.Concat([]*part{p.hot}, p.more, []*part{p.cold}) {
		if part != nil {
			part.release()
		}
	}
}

// join makes one answer of the parts, which holds their memory. On an error, that is still to be
// released.
func (p *parts) join(ctx context.Context, a attempt) (*Response, error) {
	hot, cold := p.hot, p.cold
	if cold == nil && hot.err != nil {
		return nil, a.failed(hot.err)
	}
	if hot.err == nil && (cold == nil || cold.err == nil) {
		response, err := p.joined(ctx, a)
		invalid, is := errors.AsType[*splice.SourceError](err)
		if !is {
			return response, err
		}
		// What one of them has answered is no answer: it counts as failed.
		bad := p.all()[invalid.Index]
		bad.err = bad.response.failed(notPrometheus(invalid))
		if bad != cold && len(p.more) > 0 {
			bad.release()
			p.add(slices.Concat([]*part{hot}, p.more))
			return p.join(ctx, a)
		}
	}
	if cold == nil {
		return nil, a.failed(hot.err)
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
		return p.partial(ctx, a.plan.attempt(fallbackOf(a.Decision)), left, failed)
	case isOverload(failed.err) && (!isOverloadOfCold(failed.err) || !a.plan.traits().Routing.Has(promapi.UnionAlways)):
		return nil, a.failed(failed.err)
	case failed.isUnknown():
		return p.partial(ctx, a.plan.attempt(tier.Decision{Tier: left.name, Reason: tier.ReasonOnlyTier}), left, failed)
	case failed == cold && errors.As(cold.err, &apiError) && apiError.Status == http.StatusBadRequest:
		return nil, a.failed(cold.err) // What one Prometheus would refuse is refused.
	}
	return p.partial(ctx, a, left, failed, splice.MissingWarning(string(failed.name), ""))
}

// joined joins the parts that have an answer. Its error may be a *splice.SourceError.
func (p *parts) joined(ctx context.Context, a attempt) (*Response, error) {
	list := p.all()
	last := list[len(list)-1]
	var sources []splice.Source
	var memory []*reservation
	var warnings, infos []string
	for _, part := range list {
		if part.envelope == nil {
			return streamParts(ctx, a, list...)
		}
		sources, memory = append(sources, part.source()), append(memory, part.memory)
		warnings, infos = append(warnings, part.envelope.Warnings...), append(infos, part.envelope.Infos...)
	}
	answer, err := a.plan.joined(last.memory.acquireWithin(ctx), sources...)
	switch {
	case a.plan.isTooLarge(err):
		return streamParts(ctx, a, list...)
	case err != nil:
		if _, is := errors.AsType[*splice.SourceError](err); is {
			return nil, err
		}
		return nil, a.failed(err)
	}
	answer.Warnings, answer.Infos = warnings, infos
	last.response.setAnswer(answer, memory...)
	last.response.answers(a)
	return last.response, nil
}

// partial makes an answer to an attempt without the failed tier, with warnings in front of its own.
func (p *parts) partial(ctx context.Context, a attempt, left, failed *part, warnings ...string) (*Response, error) {
	if failed == p.cold && len(p.more) > 0 {
		failed.release()
		response, err := p.joined(ctx, a)
		if err != nil {
			return nil, a.failed(err)
		}
		response.Warnings = slices.Concat(warnings, response.Warnings)
		return response, nil
	}
	for _, part := range p.more {
		part.release()
	}
	return partialUnion(ctx, a, left, failed, warnings...)
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
