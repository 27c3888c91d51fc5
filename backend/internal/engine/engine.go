// Package engine answers one query. It plans which tier answers what, then hands
// the plan to a chain of steps. The last step queries one tier; the others choose
// the tier and change its answer. The package knows tiers, not where they are
// configured: it does not import packages that serve requests or read datasources.
package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tracing"
)

// Options are what all queries of a gateway have in common.
type Options struct {
	// Timeout bounds all attempts of a query together, its body included.
	Timeout time.Duration
	// Freshness is how far back from now data may still change or come in.
	Freshness time.Duration
	// PieceBytes bounds the memory of answers that are put together from pieces: see
	// admission.ByteBudget.
	PieceBytes int64
	// Decoded is the budget for answers that are read as a whole; nil for no bound.
	Decoded *admission.ByteBudget
	// Cache keeps answers. Nil: none is kept.
	Cache *cache.Cache
	// Lifetime ends when nothing more is to be kept.
	Lifetime context.Context //nolint:containedctx // Answers are kept after their query has ended.
	// OnRetry is called before a further attempt.
	OnRetry func(Next)
	// OnCacheUse is called with how each query has used the cache.
	OnCacheUse func(CacheUse)
	// OnDivided, if not nil, is called for each query of which cold computes several parts at once.
	OnDivided func()
}

// Engine answers the queries of a gateway. It is safe for concurrent use.
type Engine struct {
	options Options
	// handle answers a query by all steps, and handleOne one that one tier answers
	// as a whole: then there are fewer steps to follow.
	handle, handleOne handler
	// unjoinable says why a query could not be put together, by Plan.pieceKey.
	pieceBudget *admission.ByteBudget
	unjoinable  *lru.Cache[pieceKey, *unjoinable]
}

// unjoinableFor is how long it is remembered that a query could not be put
// together, and unjoinableRemembered how many are.
const (
	unjoinableFor        = 10 * time.Minute
	unjoinableRemembered = 2048
)

// unjoinable is why a query could not be put together, and when that was. It is nil for
// one that can be.
type unjoinable struct {
	error

	at time.Time
}

// unjoinableBecause returns why a query could not be put together recently.
func (e *Engine) unjoinableBecause(key pieceKey) *unjoinable {
	if known, is := e.unjoinable.Get(key); is && time.Since(known.at) < unjoinableFor {
		return known
	}
	return nil
}

// New returns an Engine.
func New(options Options) *Engine {
	e := &Engine{options: options, pieceBudget: admission.NewByteBudget(options.PieceBytes)}
	// It returns an error for a size below one only. An expirable LRU would leave a
	// goroutine behind.
	e.unjoinable, _ = lru.New[pieceKey, *unjoinable](unjoinableRemembered)
	e.handle, e.handleOne = e.chain(true), e.chain(false)
	return e
}

// handler answers a query by the attempt that the routing rules chose, or by others. Its
// error is a *CallError.
type handler func(ctx context.Context, a attempt) (*Response, error)

// step puts itself in front of a handler.
type step func(next handler) handler

// chain returns the steps that answer a planned query, in this order. Without
// several it is for a query that one tier answers as a whole.
func (e *Engine) chain(several bool) handler {
	steps := []step{
		e.withinDeadline, // bounds what follows, and puts its errors into words
		e.finish,         // warnings, and one language for errors of tiers
	}
	if several {
		steps = append(steps,
			e.assemble, // cut queries and kept steps: pieces of several tiers at once
			e.unite,    // both tiers at once, their answers joined
		)
	}
	steps = append(steps,
		e.fallBack,            // the next replica, then the other tier
		e.decode,              // labels and limits that a tier does not apply itself
		e.keepWhole,           // an answer from the cache, or into it
		e.retryOnInconclusive, // the other tier where an answer says nothing
		e.askInMetricsQL,      // once more, if a VictoriaMetrics turns out to answer
	)
	answer := handler(e.ask)
	for _, before := range slices.Backward(steps) {
		answer = before(answer)
	}
	return answer
}

// Do answers a query: see chain. A confined query that reads nothing is answered
// without a tier.
//
// It returns an Error of the Prometheus API: 503 when no tier is configured, the
// deadline passed or the tier has too many queries already, and 502 when the tier
// could not be reached. Once a tier was chosen, a CallError wraps it.
func (e *Engine) Do(ctx context.Context, query Query) (*Response, error) {
	if query.AnsweredHere() {
		return query.emptyResponse(), nil
	}
	_, span := tracing.Start(ctx, "plan")
	plan, err := e.Plan(ctx, query)
	tracing.End(span, err, promapi.MessageOf)
	if err != nil {
		return nil, err
	}
	if query.OnPlanned != nil {
		query.OnPlanned()
	}
	plan.record()
	if plan.Tier != tier.Both && len(plan.further) == 0 && plan.Cut == nil && !plan.isStepwiseAtCold() {
		response, err := e.handleOne(ctx, plan.attempt(plan.Decision))
		if err == nil && plan.unjoinable != nil && errors.Is(plan.unjoinable.error, errTooLarge) {
			response.markTooLarge()
		}
		return response, err
	}
	return e.handle(ctx, plan.attempt(plan.Decision))
}
