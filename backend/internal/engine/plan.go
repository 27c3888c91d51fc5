package engine

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// Plan is a decision with everything that carrying it out takes. It is not changed
// after it was made.
type Plan struct {
	tier.Decision
	// Input is what the decision depends on: tier.Explain says what every rule
	// makes of it.
	Input tier.Input
	// Cut says where the query is cut; nil where it is not, and NotCut says why.
	Cut    *tier.Cut
	NotCut string

	engine *Engine
	query  Query
	// replica is the server of hot that the plan is for, without one where there is
	// no hot. others are those that can take its place, in the order in which they
	// are asked.
	replica Replica
	others  []Replica
	learned *catalog.Snapshot
	// key identifies what the request selects: see keyOf.
	key promql.Key
	// routed is the decision for the query as a whole, also where it is cut.
	routed tier.Decision
	// stepwise is the query as one that may be answered in pieces; nil where it
	// may not, and notStepwise says why.
	stepwise    *stepwise
	notStepwise error
	// hot and cold are what goes to the tiers: the request itself, or one that
	// makes the tier answer as is meant.
	hot, cold *promapi.Request
	// hotOptions and coldOptions are what the calls depend on besides.
	hotOptions, coldOptions upstream.CallOptions
	// added are the labels that the answer of hot lacks.
	added map[string]string
}

// HotQuery returns the PromQL that hot would be sent.
func (p *Plan) HotQuery() string { return p.hot.Parameters.Get("query") }

func (p *Plan) coldQuery() string { return p.cold.Parameters.Get("query") }

// Replica returns the name of the server of hot that the plan is for; empty where
// hot is asked as a whole.
func (p *Plan) Replica() string {
	if p.replica.Hot == nil {
		return ""
	}
	return p.replica.Hot.Replica()
}

// tier returns one of the tiers, or nil.
func (p *Plan) tier(name tier.Name) *catalog.Tier {
	if name == tier.Hot {
		return p.replica.Hot
	}
	return p.query.Datasource.Cold
}

// timeout is the configured one, or what the request asks for if that is less.
func (p *Plan) timeout() time.Duration {
	if wanted := p.query.Request.TimeRange.Timeout; wanted > 0 {
		return min(p.engine.options.Timeout, wanted)
	}
	return p.engine.options.Timeout
}

// Plan decides which tier is asked, and what. It asks no tier; it waits for
// the first probe of tiers that no query has used before. It returns an Error
// with status 503 when the datasource has no tier, and with status 400 for a
// match[] that selects everything.
//
// Where hot has replicas, the first one that can answer without a warning
// counts: what each of them covers depends on its own restarts.
//
// Where there is a choice, an instant query without a time is sent with the one
// that the decision was made for. Otherwise a tier that evaluates it some moments
// later could read samples that the decision did not count in, and a second attempt
// others than the first.
func (e *Engine) Plan(ctx context.Context, query Query) (*Plan, error) {
	if err := refuse(query.Request); err != nil {
		return nil, err
	}
	replicas := query.Datasource.Hot
	if len(replicas) > 1 || (len(replicas) == 1 && query.Datasource.Cold != nil) {
		query.Request = query.Request.AtItsTime()
	}
	key := keyOf(query.Request)
	replicas = inOrder(replicas, key)
	first, err := e.planOn(ctx, query, key, replicas, 0)
	if err != nil || first.answersFromHot() {
		return first, err
	}
	for i := 1; i < len(replicas); i++ {
		if !replicas[i].Hot.Status().Available {
			continue // Nor is it waited for.
		}
		if plan, err := e.planOn(ctx, query, key, replicas, i); err == nil && plan.answersFromHot() {
			return plan, nil
		}
	}
	return first, nil
}

// answersFromHot reports whether hot answers as it should, or its part of it.
func (p *Plan) answersFromHot() bool {
	return (p.Tier == tier.Hot || p.Cut != nil) && len(p.Warnings) == 0
}

// nothingLearned stands for what is known of a datasource with one tier.
var nothingLearned = &catalog.Snapshot{}

// planOn plans for one of several replicas of hot.
func (e *Engine) planOn(ctx context.Context, query Query, key promql.Key, replicas []Replica, i int) (*Plan, error) {
	p := &Plan{engine: e, query: query, key: key, hot: query.Request, cold: query.Request, learned: nothingLearned}
	if len(replicas) > 0 {
		p.replica, p.others = replicas[i], slices.Concat(replicas[:i], replicas[i+1:])
	}
	p.waitForProbes(ctx)
	if p.replica.Pair != nil {
		p.learned = p.replica.Pair.Snapshot()
	}
	p.prepare(ctx)
	var err error
	if p.Decision, err = tier.Plan(p.Input); err != nil {
		return nil, promapi.Errorf(http.StatusServiceUnavailable, promapi.ErrorUnavailable, "%s", err)
	}
	p.routed = p.Decision
	p.stepwise, p.notStepwise = p.asStepwise()
	if p.Cut, err = p.cut(); err != nil {
		p.NotCut = err.Error()
	} else {
		p.Decision = p.Input.Split(p.routed)
	}
	if p.isUnknownToThanos() && p.Tier != tier.Hot {
		p.Warnings = append(p.Warnings, unknownToThanos)
	}
	p.setCallOptions()
	return p, nil
}

func (p *Plan) setCallOptions() {
	options := upstream.CallOptions{Caller: p.query.Caller, DetachOnCancel: p.query.DetachOnCancel, ConfinedTo: p.query.ConfinedTo}
	p.hotOptions, p.coldOptions = options, options
	p.hotOptions.Without = coldParameters
	if p.Tier == tier.Both && p.query.Request.Endpoint == promapi.Rules {
		p.coldOptions.Without = promapi.PagingParameters
		p.hotOptions.Without = slices.Concat(coldParameters, promapi.PagingParameters)
	}
}

const unknownToThanos = "a label name with a slash cannot be asked of Thanos: values that only the cold tier has are missing"

// isUnknownToThanos reports whether the label whose values are asked for has a
// name that a path can hold only in the escaping of Prometheus, and cold is a
// Thanos, which does not know it and answers with no values.
func (p *Plan) isUnknownToThanos() bool {
	cold := p.query.Datasource.Cold
	return strings.Contains(p.query.Request.Label, "/") && cold != nil && cold.Status().Stores != nil
}

// waitForProbes waits until the tiers are known, for a part of the time that there
// is.
func (p *Plan) waitForProbes(ctx context.Context) {
	hot, cold, pair := p.replica.Hot, p.query.Datasource.Cold, p.replica.Pair
	isKnown := func(t *catalog.Tier) bool { return t == nil || t.Probed() }
	if isKnown(hot) && isKnown(cold) && (pair == nil || pair.Probed()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout()/4)
	defer cancel()
	for _, t := range []*catalog.Tier{hot, cold} {
		if t != nil {
			t.Wait(ctx)
		}
	}
	if pair != nil {
		pair.Wait(ctx)
	}
}

// timeToCompare is how long the pattern of a metric name is compared with the
// names of metrics that are known.
const timeToCompare = 100 * time.Millisecond

// prepare gathers what the rules need, and what the tiers would be sent.
func (p *Plan) prepare(ctx context.Context) {
	request, datasource, pair := p.query.Request, p.query.Datasource, p.replica.Pair
	now, traits := request.ReceivedAt, request.Endpoint.Traits()
	p.Input = tier.Input{
		Forced: p.query.Forced, ColdParameter: p.query.coldParameter(), Extent: extentOf(request, p.lookback()),
		Threshold: datasource.Threshold, Now: now.UnixMilli(), ScrapeInterval: datasource.ScrapeInterval, Detailed: datasource.Detailed,
		HotReplicated: len(datasource.Hot) > 1,
		Union:         traits.Routing.Has(promapi.UnionForRange), UnionWhenIncomplete: traits.Routing.Has(promapi.UnionForSeries),
	}
	in := &p.Input
	if traits.Routing.Has(promapi.OnlyThanos) {
		in.OnlyTier = tier.Cold
	}
	if p.replica.Hot != nil {
		in.Hot = p.replica.Hot.State(now)
	}
	if pair == nil {
		if datasource.Cold != nil {
			in.Cold = datasource.Cold.State(now)
		}
		in.Completeness, in.CompletenessWhy = tier.Complete, "there is no other tier"
		return
	}
	in.Cold = pair.ColdState(now)
	in.ScrapeInterval = max(in.ScrapeInterval, pair.ScrapeInterval())
	comparing, cancel := context.WithTimeout(ctx, timeToCompare)
	completeness, why, isUnderstood := p.learned.Knowledge.Completeness(comparing, p.key, func() ([]promql.Selector, error) { return selectorsOf(request) })
	cancel()
	in.Completeness, in.CompletenessWhy = completeness, why.For(in.Detailed)
	if traits.Routing.Has(promapi.OwnAtEach) {
		in.Completeness, in.CompletenessWhy = tier.Incomplete, "each tier tells of its own"
	}
	in.EmptyBefore = in.Completeness == tier.Assumed && pair.WasEmpty(p.key)
	if p.learned.Knowledge != nil && isUnderstood {
		p.relabel()
	}
	p.cold = p.explicitDefaults()
}

// lookback is the lookback delta of the request, or else of hot; zero where it is
// not known.
func (p *Plan) lookback() time.Duration {
	return cmp.Or(max(p.query.Request.TimeRange.LookbackDelta, 0), p.learned.Hot.LookbackDelta)
}

// extentOf returns what a request reads at a tier with the given lookback delta;
// zero means the usual one.
func extentOf(request *promapi.Request, lookback time.Duration) promql.Extent {
	times := request.TimeRange
	switch request.Endpoint.Traits().Times {
	case promapi.OneTime, promapi.EachStep:
		query, err := promql.Parse(request.Parameters.Get("query"))
		if err != nil {
			return promql.UnknownExtent(times.Start, times.End)
		}
		extent, err := query.Extent(promql.Evaluation{Start: times.Start, End: times.End, Step: times.Step, LookbackDelta: lookback})
		if err != nil {
			return promql.UnknownExtent(times.Start, times.End)
		}
		return extent
	case promapi.TimeBounds:
		return promql.RangeExtent(times.Start, times.End)
	case promapi.Now:
		return promql.RangeExtent(request.ReceivedAt, request.ReceivedAt)
	default:
		return promql.Extent{Nothing: true}
	}
}
