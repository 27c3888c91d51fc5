package engine

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// piece is some steps of a range query, both inclusive, and who answers them;
// empty where the cache has them.
type piece struct {
	first, last int
	from        tier.Name
	matrix      *splice.Matrix
	headroom    *admission.Headroom // if it is a part of a larger piece
}

// errHotIsEmpty means that hot has nothing although cold has something, and was only
// assumed to have everything.
var errHotIsEmpty = errors.New("hot has nothing, and was only assumed to have everything")

// assemble joins the pieces of a query that is cut, or of which the cache has steps. It
// queries the tiers at once. If a piece is missing, one tier answers the whole query.
func (e *Engine) assemble(next handler) handler {
	return func(ctx context.Context, a attempt) (*Response, error) {
		p := a.plan
		if p.Cut == nil && !p.isStepwiseAtCold() {
			return next(ctx, a)
		}
		memory := p.reserve()
		l := p.lookUpSteps(ctx, memory)
		if p.Cut == nil && l == nil {
			memory.release()
			return next(ctx, a) // It is streamed.
		}
		response, err := e.joinPieces(ctx, a, l, p.pieces(l, memory), memory)
		if err == nil {
			return response, nil
		}
		memory.release()
		decision, ok := p.withoutPieces(ctx, err)
		if !ok {
			return answerOf(err)
		}
		response, failed := next(ctx, p.attempt(decision))
		if failed == nil && errors.Is(err, errTooLarge) {
			response.markTooLarge()
		}
		if decision.Tier == tier.Hot {
			return insteadOf(err, response, failed)
		}
		return response, failed
	}
}

// joinPieces queries the missing pieces and joins all. Closing the answer releases the
// memory; on an error, the caller does.
func (e *Engine) joinPieces(ctx context.Context, a attempt, l *lookup, pieces []*piece, memory *reservation) (*Response, error) {
	p := a.plan
	pieces, headroom := p.divide(pieces)
	if headroom != nil {
		defer headroom.Release()
	}
	group, groupContext := errgroup.WithContext(ctx)
	for _, missing := range pieces {
		if missing.matrix == nil {
			group.Go(func() (err error) {
				missing.matrix, err = e.askForPiece(groupContext, p, missing, memory)
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if p.hotAloneIsEmpty(pieces) {
		return nil, errHotIsEmpty
	}
	matrices := make([]*splice.Matrix, 0, len(pieces))
	for _, piece := range pieces {
		matrices = append(matrices, piece.matrix)
	}
	l.keepSteps(pieces)
	joined := splice.Join(matrices, p.limit())
	response := a.made(memory.body(joined.Reader()), joined.Size())
	response.Gzip = joined.Gzip()
	response.Warnings, response.Cache = nil, p.report(p.usedSteps(l, pieces))
	return response, nil
}

// askForPiece queries a tier for a piece. Its error is a *CallError, with the answer of
// the tier if that is an error of the query.
func (e *Engine) askForPiece(ctx context.Context, p *Plan, missing *piece, memory *reservation) (*splice.Matrix, error) {
	response, err := e.ask(ctx, p.pieceAttempt(missing))
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.Status >= http.StatusBadRequest {
		// It is read now: the other piece may end the context.
		if missing.from == tier.Hot && response.isFault() {
			response.plan.attempt(tier.Decision{Tier: tier.Hot}).reportPartial()
		}
		return nil, response.failedWith(&upstream.StatusError{Status: response.Status}, true)
	}
	if response.isMetricsQL {
		return nil, response.failed(errOtherLanguage)
	}
	text, err := memory.readBody(response)
	if err != nil {
		return nil, response.failed(err)
	}
	matrix, err := splice.Parse(text, memory.acquireWithin(ctx))
	if err == nil && missing.from == tier.Hot && slices.Contains(matrix.Warnings, promapi.PartialWarning) {
		response.plan.attempt(tier.Decision{Tier: tier.Hot}).reportPartial()
		return nil, response.failed(errPartial)
	}
	if grid := p.stepwise.grid; err == nil {
		err = matrix.Window(grid.At(missing.first), grid.At(missing.last), grid.Step)
	}
	if err != nil {
		return nil, response.failed(err)
	}
	return matrix, nil
}

// withoutPieces returns the decision for the whole query after an error of its pieces.
// ok is false if the error is the answer.
func (p *Plan) withoutPieces(ctx context.Context, err error) (_ tier.Decision, ok bool) {
	if errors.Is(err, errHotIsEmpty) {
		p.replica.Catalog.RememberEmpty(p.key)
		return p.Input.HotEmpty(), true
	}
	failed, is := errors.AsType[*CallError](err)
	if !is || ctx.Err() != nil {
		return tier.Decision{}, false
	}
	isRefused := failed.isRefusal
	switch {
	case errors.Is(err, errOtherLanguage):
		return p.routed, true // No tier has failed.
	case errors.Is(err, errTooLarge) || errors.Is(err, splice.ErrNoMatrix):
		// No tier has failed: the rules say who answers the whole.
		if !errors.Is(err, errNoRoom) {
			cause := errTooLarge
			if !errors.Is(err, errTooLarge) {
				cause = errors.New(err.Error()) // The error itself may hold an answer.
			}
			p.engine.unjoinable.Add(p.pieceKey(), &unjoinable{cause, time.Now()})
		}
		return p.routed, true
	case isRefused && p.startsEarly(failed.Tier):
		return p.routed, true // It may refuse the steps before the first one of the query.
	case isRefused && failed.Tier == tier.Hot && !p.Input.ColdCovers():
		// The query would fail on everything, too. An answer of cold would lack what
		// makes it fail.
		return tier.Decision{}, false
	case isRefused && failed.Tier == tier.Cold:
		return tier.Decision{}, false
	case failed.Tier == tier.Hot:
		return p.Input.HotFailed(), true
	case p.Cut == nil:
		return fallbackOf(p.Decision), p.Fallback != ""
	}
	return p.Input.ColdFailed()
}

// hotAloneIsEmpty reports whether errHotIsEmpty holds.
func (p *Plan) hotAloneIsEmpty(pieces []*piece) bool {
	if p.Input.Completeness != tier.Assumed || !p.Input.ColdCovers() || p.replica.Catalog == nil {
		return false
	}
	return slices.ContainsFunc(pieces, func(piece *piece) bool { return piece.from != tier.Hot && piece.matrix.Len() > 0 }) &&
		slices.ContainsFunc(pieces, func(piece *piece) bool { return piece.from == tier.Hot && piece.matrix.Len() == 0 })
}
