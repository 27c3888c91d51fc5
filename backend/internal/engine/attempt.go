package engine

import (
	"context"
	"iter"
	"net/url"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// attempt is one way to answer a query: which tier, for what reason, and what happens
// to the answer. It is immutable.
type attempt struct {
	tier.Decision
	// plan is what was planned for the replica of hot that takes part.
	plan *Plan
	// request goes to the tier.
	request *promapi.Request
	// reading says what happens to the answer.
	reading reading
	// next is empty for the first attempt.
	next Next
	// isReplaceable is set if another attempt can follow, which gets half of the
	// remaining time.
	isReplaceable bool
	// isMetricsQL is set if the request is one for a VictoriaMetrics.
	isMetricsQL bool
	// headroom is that of the parts of a query; nil for all other calls.
	headroom *admission.Headroom
}

// reading says what happens to an answer, and so in which encodings it may come.
type reading int

const (
	passedOn reading = iota // it may be encoded in any way that the client accepts
	lookedAt                // it may be compressed in a way that is understood here
	decoded                 // it must not be compressed
)

// Next is the target of an attempt after the first one.
type Next string

// The targets of further attempts.
const (
	NextReplica Next = "replica"
	NextHot     Next = "hot"
	NextCold    Next = "cold"
)

// Nexts lists them.
var Nexts = []Next{NextReplica, NextHot, NextCold}

// attempt returns the attempt for a decision.
func (p *Plan) attempt(decision tier.Decision) attempt {
	a := attempt{Decision: decision, plan: p, request: p.cold, isReplaceable: decision.Fallback != ""}
	if decision.Tier == tier.Hot {
		a.request, a.isReplaceable = p.hot.Without(coldParameters...), a.isReplaceable || len(p.others) > 0
		if decision.Fallback != "" && p.replica.Hot.ListsStores() {
			// What a lost store holds is missing from a partial answer. An error lets cold answer.
			a.request = a.request.With(url.Values{"partial_response": {"false"}})
		}
	}
	switch {
	case p.changes(decision.Tier):
		a.reading = decoded
	case len(decision.Warnings) > 0 || decision.FallbackOnEmpty:
		a.reading = lookedAt
	}
	return a.inItsLanguage()
}

// others returns the attempts after a failed one: each replica of hot that can take its
// place, then the other tier. It plans an attempt when the one before has failed.
func (a attempt) others(ctx context.Context) iter.Seq[attempt] {
	return func(yield func(attempt) bool) {
		last := a
		for replica := range a.replicas(ctx) {
			if last = replica; !yield(replica) {
				return
			}
		}
		if last.Fallback != "" {
			other := last.plan.attempt(fallbackOf(last.Decision))
			other.next = Next(other.Tier)
			yield(other)
		}
	}
}

// replicas returns the attempts on other replicas of hot, one after the other.
func (a attempt) replicas(ctx context.Context) iter.Seq[attempt] {
	return func(yield func(attempt) bool) {
		for plan := a.plan.nextReplica(ctx, a.Decision); plan != nil; plan = plan.nextReplica(ctx, plan.Decision) {
			replica := plan.attempt(plan.Decision)
			replica.next = NextReplica
			if !yield(replica) {
				return
			}
		}
	}
}

// nextReplica plans for another replica after a failure: one that would answer as
// well or, if cold cannot take over, any. It returns nil if there is none.
func (p *Plan) nextReplica(ctx context.Context, failed tier.Decision) *Plan {
	if failed.Tier == tier.Cold {
		return nil
	}
	var anyhow *Plan
	for i, other := range p.others {
		isAvailable := other.Hot.Status().Available
		if failed.Fallback != "" && !isAvailable {
			continue // Do not wait for it.
		}
		plan, err := p.planOn(ctx, p.others, i)
		switch {
		case err != nil || plan.Tier != failed.Tier:
		case isAvailable && (failed.Rule == 1 || len(plan.Warnings) <= len(failed.Warnings)):
			return plan
		case anyhow == nil && failed.Fallback == "":
			anyhow = plan
		}
	}
	return anyhow
}

// fallbackOf returns the decision for the tier that takes over.
func fallbackOf(decision tier.Decision) tier.Decision {
	return tier.Decision{Tier: decision.Fallback, Reason: decision.FallbackReason, Warnings: decision.FallbackWarnings}
}

// followsRules reports whether the routing rules chose the tier, rather than the
// failure of another one.
func (a attempt) followsRules() bool { return a.Rule > 0 }

// replica returns the name of the server of hot; empty if hot has no replicas or does
// not take part.
func (a attempt) replica() string {
	if a.Tier == tier.Cold {
		return ""
	}
	return a.plan.Replica()
}

// options returns what the call depends on besides its request.
func (a attempt) options() *catalog.CallOptions {
	if a.headroom == nil {
		return &a.plan.callOptions
	}
	options := a.plan.callOptions
	options.Headroom = a.headroom
	return &options
}

// encoded returns the request in an encoding of its answer that suits the reading.
func (a attempt) encoded() *promapi.Request {
	switch {
	case a.reading == decoded, a.reading == lookedAt && !promapi.AcceptsGzip(a.request.Header):
		return inEncoding(a.request, promapi.EncodingPlain)
	case a.reading == lookedAt:
		return inEncoding(a.request, promapi.EncodingGzip)
	}
	return a.request
}
