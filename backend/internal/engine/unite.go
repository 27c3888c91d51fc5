package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// part is what one tier contributes to a union.
type part struct {
	name     tier.Name
	response *Response
	decoded  *decoded
	err      error
}

// partOf asks one tier for its part.
func (c *call) partOf(ctx context.Context, name tier.Name) part {
	made := part{name: name}
	decision := tier.Decision{Tier: name}
	made.response, made.err = c.send(ctx, decision, inEncoding(c.request(decision), encodingPlain))
	if made.err == nil {
		made.decoded, made.err = made.response.decode(ctx)
	}
	if made.err != nil {
		made.err = &tierError{name, made.err}
	}
	return made
}

// release gives back the memory of the part. It may be called more than once.
func (p *part) release() {
	if p.decoded != nil {
		p.decoded.held.release()
	}
}

// isRefused tells whether a tier has answered that the request is wrong.
func (p *part) isRefused() bool {
	apiError, is := errors.AsType[*promapi.Error](p.err)
	return is && apiError.Status < http.StatusInternalServerError
}

// unite asks both tiers at once and joins their answers. When a replica of hot
// fails, the next one is asked; when one of the tiers fails, the other's answer
// goes out with a warning; when one does not know the endpoint, the other's
// answer is the whole. The decision is the one that counts.
func (c *call) unite(ctx context.Context) (*Response, tier.Decision, error) {
	ctx, cancel := beforeDeadline(ctx)
	defer cancel()
	hot, cold := &part{}, &part{}
	var group errgroup.Group
	group.Go(func() error {
		*hot = c.partOf(ctx, tier.Hot)
		return nil
	})
	group.Go(func() error {
		*cold = c.partOf(ctx, tier.Cold)
		return nil
	})
	_ = group.Wait() // The parts hold the errors.
	for hot.err != nil && !hot.isRefused() && !cold.isRefused() && !isOverload(hot.err) && ctx.Err() == nil && c.nextReplica(ctx, c.planned.Decision) {
		*hot = c.partOf(ctx, tier.Hot)
	}
	response, decision, err := c.joinParts(hot, cold)
	if err != nil {
		hot.release()
		cold.release()
	}
	return response, decision, err
}

// beforeDeadline returns a context that ends when a tenth of the time is left: so
// the answer of one tier can still be sent where the other hangs.
func beforeDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, bounded := ctx.Deadline()
	if !bounded {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)*9/10)
}

// joinParts makes one answer of the parts, which holds their memory. On an
// error, that is still to be released.
func (c *call) joinParts(hot, cold *part) (*Response, tier.Decision, error) {
	decision := c.planned.Decision
	if hot.err == nil && cold.err == nil {
		answer, err := c.united(cold.decoded.acquire, c.source(tier.Hot, hot.decoded.envelope), c.source(tier.Cold, cold.decoded.envelope))
		if err == nil {
			answer.Warnings = append(hot.decoded.envelope.Warnings, cold.decoded.envelope.Warnings...)
			answer.Infos = append(hot.decoded.envelope.Infos, cold.decoded.envelope.Infos...)
			cold.response.setAnswer(answer, hot.decoded.held, cold.decoded.held)
			return cold.response, decision, nil
		}
		failed, is := errors.AsType[*splice.SourceError](err)
		if !is {
			return nil, decision, err
		}
		// What one of them has answered is no answer: it counts as failed.
		bad := cold
		if failed.Tier == string(tier.Hot) {
			bad = hot
		}
		bad.err = &tierError{bad.name, notPrometheus(err)}
	}
	var apiError *promapi.Error
	elsewhere := endpointRules[c.query.Request.Endpoint].elsewhere
	switch {
	case hot.err != nil && cold.err != nil, isOverload(cold.err):
		return nil, decision, cold.err
	case isOverload(hot.err):
		return nil, decision, hot.err
	case elsewhere && cold.err != nil && unknownTo(cold.response):
		return c.onlyPart(hot, cold, tier.Decision{Tier: tier.Hot, Reason: tier.ReasonOnlyTier})
	case elsewhere && hot.err != nil && unknownTo(hot.response):
		return c.onlyPart(cold, hot, tier.Decision{Tier: tier.Cold, Reason: tier.ReasonOnlyTier})
	case errors.As(cold.err, &apiError) && apiError.Status == http.StatusBadRequest:
		return nil, decision, cold.err // What one Prometheus would refuse is refused.
	case cold.err != nil:
		return c.onlyPart(hot, cold, decision, fmt.Sprintf("the %s tier failed: what only that one holds is missing", tier.Cold))
	}
	return c.onlyPart(cold, hot, decision, fmt.Sprintf("the %s tier failed: what only that one holds is missing", tier.Hot))
}

// unknownTo tells whether an answer says that its tier does not know the
// endpoint.
func unknownTo(response *Response) bool { return response != nil && isUnknown(response.Status) }

// onlyPart makes an answer of the part that is left of a union, with warnings in
// front of its own.
func (c *call) onlyPart(left, failed *part, decision tier.Decision, warnings ...string) (*Response, tier.Decision, error) {
	failed.release()
	envelope := left.decoded.envelope
	answer := splice.Whole(envelope)
	if source := c.source(left.name, envelope); len(source.Injected) > 0 && c.query.Request.Endpoint != promapi.Alerts {
		// The other one may have used up the time.
		var err error
		if answer, err = c.united(left.decoded.held.take, source); err != nil {
			return nil, decision, &tierError{left.name, notPrometheus(err)}
		}
	}
	answer.Warnings, answer.Infos = append(warnings, envelope.Warnings...), envelope.Infos
	left.response.setAnswer(answer, left.decoded.held)
	return left.response, decision, nil
}

// notAnswer says which tier's answer is none of the Prometheus API.
func notAnswer(name tier.Name, err error) error {
	return &promapi.Error{Status: http.StatusBadGateway, Type: promapi.ErrorUnavailable, Cause: err,
		Message: fmt.Sprintf("the %s tier failed: %s", name, upstream.Describe(upstream.ErrNotPrometheus))}
}
