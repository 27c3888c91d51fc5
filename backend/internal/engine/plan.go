package engine

import (
	"cmp"
	"context"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// Plan is a decision with everything that carrying it out takes. It is immutable.
type Plan struct {
	tier.Decision
	// Input is what the decision depends on: see tier.Explain.
	Input tier.Input
	// Cut says where the query is cut; nil where it is not, and NotCut says why.
	Cut    *tier.Cut
	NotCut string

	subject
	// replica is the server of hot, empty without hot. others of its source can take its place,
	// in this order.
	replica  Replica
	others   []Replica
	snapshot *catalog.Snapshot
	// routed is the decision for the query as a whole, also where it is cut.
	routed tier.Decision
	// stepwise is the query as one that may be answered in pieces; nil where it
	// may not, and notStepwise says why.
	stepwise    *stepwise
	notStepwise error
	// unjoinable is why it could not be put together from pieces recently; nil if it can be.
	unjoinable *unjoinable
	// merged is a label by which cold merges series that are read, or empty: see catalog.Catalog.Merged.
	merged string
	// hotIsMetricsQL and coldIsMetricsQL are set for a tier that is known to be a VictoriaMetrics.
	hotIsMetricsQL, coldIsMetricsQL bool
	// closed is the tier whose ranges include both of their ends, if those of the other tier do not, or
	// empty: see compareRangeEnds.
	closed tier.Name
	// hot and cold go to the tiers: the request itself, or a rewritten one.
	hot, cold *promapi.Request
	// callOptions are what the calls depend on besides.
	callOptions catalog.CallOptions
	// added are the labels that the answer of hot lacks. isLabelled is set if they are
	// known, and hot can answer with them.
	added      map[string]string
	isLabelled bool
	// ownValue is the value that hot answers with if it has a series that the request selects: see
	// addOwnValue. It is empty for other requests.
	ownValue string
	// hotMatchesNone is set if the selectors of a request for exemplars match no series of
	// hot.
	hotMatchesNone bool
	// isElsewhere is set if the source has all metrics that the request reads, and another one has
	// some of them, too.
	isElsewhere bool
	// names are metric names that a source of hot must have to be complete, as far as they are written.
	names []string
	// further are other sources of hot that take part in the answer.
	further []source
	// comparedUntil is up to when it is known what cold lacks, in milliseconds since the
	// Unix epoch.
	comparedUntil int64
}

// subject is what a plan is about: a query, and the source of hot that may answer it.
type subject struct {
	engine *Engine
	query  Query
	// key identifies what the request selects: see keyOf.
	key promql.Key
	// matching says which sources of hot the request may read. hotSource is one of them.
	matching  matching
	hotSource source
}

// HotQuery returns the PromQL that hot would be sent.
func (p *Plan) HotQuery() string { return p.hot.Parameters.Get("query") }

// Hot returns the server of hot, or nil.
func (p *Plan) Hot() *catalog.Tier { return p.replica.Hot }

// Replica returns the name of the server of hot; empty if hot has no replicas.
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

// Plan decides which tier answers which request. It queries no tier, but waits for the
// first probe of new ones. It returns an Error with status 503 if the datasource has no
// tier, and with status 400 for a match[] that selects everything.
//
// It takes the first source of hot, and of its replicas the first one, that answers without a
// warning, because their coverage differs. If there is a choice of tiers, an instant query
// without a time gets the time of the decision: all attempts read the same samples.
func (e *Engine) Plan(ctx context.Context, query Query) (*Plan, error) {
	if err, selectsAll := selectorError(query.Request); selectsAll {
		return nil, err
	}
	if servers := len(query.Datasource.Hot); servers > 1 || (servers == 1 && query.Datasource.Cold != nil) {
		query.Request = query.Request.AtItsTime()
	}
	about := subject{engine: e, query: query, key: keyOf(query.Request), matching: query.match()}
	var first, unavailable *Plan
	for _, about.hotSource = range about.matching.tried() {
		plan, err := about.plan(ctx)
		if err != nil || plan.answersFromHot() {
			return plan, err
		}
		if first == nil {
			first = plan
		}
		if plan.isElsewhere {
			return first, nil // Any other source that has the metric would find it in this one.
		}
		if unavailable == nil && plan.isCompleteButUnavailable() {
			unavailable = plan
		}
	}
	return first.explainedBy(ctx, unavailable), nil
}

// plan plans for the source. It takes the first replica that answers without a warning. If
// that replica lacks a part of a query below the threshold, one that lacks nothing goes first.
func (s subject) plan(ctx context.Context) (*Plan, error) {
	replicas := inOrder(s.hotSource.replicas, s.key)
	first, err := s.planOn(ctx, replicas, 0)
	if err != nil || (first.answersFromHot() && !first.lacksAPart()) {
		return first, err
	}
	for i := 1; i < len(replicas); i++ {
		if !replicas[i].Hot.Status().Available {
			continue // Do not wait for it.
		}
		plan, err := s.planOn(ctx, replicas, i)
		if err == nil && plan.answersFromHot() && (!first.answersFromHot() || !plan.lacksAPart()) {
			return plan, nil
		}
	}
	return first, nil
}

// answersFromHot reports whether hot answers as it should, or its part of it.
func (p *Plan) answersFromHot() bool {
	return (p.Tier == tier.Hot || p.Cut != nil) && len(p.Warnings) == 0
}

// lacksAPart reports whether cold answers a part only because this replica of hot lacks it.
func (p *Plan) lacksAPart() bool { return p.Cut != nil && p.Input.Extent.Span < p.Input.Threshold }

// coldOnly returns what is known of cold if it is the only tier and answers may be kept, or nil.
func (p *Plan) coldOnly() *catalog.ColdOnly {
	if !p.isCached() {
		return nil
	}
	return p.query.Datasource.ColdOnly
}

// emptySnapshot stands for what is known of a datasource with one tier whose answers are not kept.
var emptySnapshot = &catalog.Snapshot{}

// planOn plans for one of several replicas of the source.
func (s subject) planOn(ctx context.Context, replicas []Replica, i int) (*Plan, error) {
	p := &Plan{subject: s, hot: s.query.Request, cold: s.query.Request, snapshot: emptySnapshot, comparedUntil: math.MaxInt64}
	if len(replicas) > 0 {
		p.replica, p.others = replicas[i], slices.Concat(replicas[:i], replicas[i+1:])
	}
	p.waitForProbes(ctx)
	p.recognize()
	switch {
	case p.replica.Catalog != nil:
		p.snapshot = p.replica.Catalog.Snapshot()
	case p.coldOnly() != nil:
		p.coldOnly().Refresh(ctx)
		p.snapshot = p.coldOnly().Snapshot()
	}
	p.compareRangeEnds()
	p.prepare(ctx)
	p.nameSource()
	var err error
	if p.Decision, err = tier.Plan(p.Input); err != nil {
		return nil, promapi.Errorf(http.StatusServiceUnavailable, promapi.ErrorUnavailable, "%s", err)
	}
	p.uniteExemplars()
	p.routed = p.Decision
	if p.stepwise, p.notStepwise = p.asStepwise(); p.stepwise != nil {
		p.unjoinable = s.engine.unjoinableBecause(p.pieceKey())
	}
	if p.Cut, err = p.cut(); err != nil {
		p.NotCut = err.Error()
	} else {
		p.Decision = p.Input.Split(p.routed)
	}
	if p.isUnknownToThanos() && p.Tier != tier.Hot {
		p.Warnings = append(p.Warnings, unknownToThanos)
	}
	p.addFurther()
	if p.Tier == tier.Both || len(p.further) > 0 {
		p.hot, p.cold = p.hot.Without(promapi.PagingParameters...), p.cold.Without(promapi.PagingParameters...)
	}
	p.callOptions = catalog.CallOptions{Caller: s.query.Caller, DetachOnCancel: s.query.DetachOnCancel, ConfinedTo: s.query.ConfinedTo}
	return p, nil
}

// record records whether hot takes part, unless the request leaves no choice.
func (p *Plan) record() {
	if p.replica.Catalog != nil && p.Rule != 1 && !p.Input.Extent.Nothing && p.Input.OnlyTier == "" {
		why := string(p.Reason)
		if p.Reason == tier.ReasonNotInHot {
			why = p.Input.CompletenessWhy
		}
		p.replica.Catalog.Planned(p.Tier, why)
	}
}

const unknownToThanos = "a label name with a slash cannot be asked of Thanos: values that only the cold tier has are missing"

// isUnknownToThanos reports whether a path can hold the requested label only in the
// escaping of Prometheus, and cold is a Thanos, which returns no values for it.
func (p *Plan) isUnknownToThanos() bool {
	cold := p.query.Datasource.Cold
	return strings.Contains(p.query.Request.Label, "/") && cold != nil && cold.Status().Stores != nil
}

// waitForProbes waits for the first probes, for a quarter of the timeout, and for later ones if
// the last ones are old.
func (p *Plan) waitForProbes(ctx context.Context) {
	hot, cold, evidence := p.replica.Hot, p.query.Datasource.Cold, p.replica.Catalog
	defer catalog.Refresh(ctx, evidence, hot, cold)
	isKnown := func(t *catalog.Tier) bool { return t == nil || t.Probed() }
	if isKnown(hot) && isKnown(cold) && (evidence == nil || evidence.Probed()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout()/4)
	defer cancel()
	for _, t := range []*catalog.Tier{hot, cold} {
		if t != nil {
			t.Wait(ctx)
		}
	}
	if evidence != nil {
		evidence.Wait(ctx)
	}
}

// prepare gathers what the rules need, and what the tiers would be sent.
func (p *Plan) prepare(ctx context.Context) {
	request, datasource, evidence := p.query.Request, p.query.Datasource, p.replica.Catalog
	now, traits := request.ReceivedAt, request.Endpoint.Traits()
	p.Input = tier.Input{
		Forced: p.query.Forced, ColdParameter: p.coldParameter(), Extent: extentOf(request, p.lookback()),
		Threshold: datasource.Threshold, Now: now.UnixMilli(), Detailed: datasource.Detailed,
		HotReplicated: len(p.hotSource.replicas) > 1,
		Union:         traits.Routing.Has(promapi.UnionForRange), UnionWhenIncomplete: traits.Routing.Has(promapi.UnionForSeries),
	}
	in := &p.Input
	if traits.Routing.Has(promapi.OnlyThanos) {
		in.OnlyTier = tier.Cold
	}
	if p.replica.Hot != nil {
		in.Hot = p.replica.Hot.State(now)
	}
	if evidence == nil {
		if datasource.Cold != nil {
			in.Cold = datasource.Cold.State(now)
		}
		in.Completeness, in.CompletenessWhy = tier.Complete, "there is no other tier"
		if len(p.rivals()) > 0 && !p.isUnion() {
			in.Completeness, in.CompletenessWhy = tier.Incomplete, mayReadSeveral
		}
		p.relabel()
		if p.replica.Hot != nil {
			p.addTargetHoles(ctx)
		}
		return
	}
	evidence = evidence.Of(func() ([]promql.Selector, error) { return selectorsOf(request) })
	p.replica.Catalog, in.Hot = evidence, evidence.HotState(now)
	if in.Cold = evidence.ColdState(now); p.matching.why != "" {
		in.Completeness, in.CompletenessWhy, in.NoSource = tier.Incomplete, p.matching.why, true
		p.relabel()
		p.cold = p.explicitDefaults()
		return
	}
	needed := p.snapshot.Evidence.Requires(p.key, func() ([]promql.Selector, error) { return selectorsOf(request) })
	completeness, why := evidence.Completeness(ctx, needed, in.Extent.Oldest, in.Extent.Newest)
	in.Completeness, in.CompletenessWhy, p.names = completeness, why.For(in.Detailed), needed.Names
	if in.Completeness != tier.Incomplete {
		p.addRivals(ctx, needed)
	} else if len(p.matching.candidates) > 1 && len(needed.Names) > 0 {
		p.isElsewhere = p.replica.Hot.HasAll(needed.Names, in.Extent.Oldest)
	}
	if traits.Routing.Has(promapi.PerServer) {
		in.Completeness, in.CompletenessWhy = tier.Incomplete, "each tier tells of its own"
	}
	in.EmptyBefore = in.Completeness == tier.Assumed && evidence.WasEmpty(p.key)
	if needed.Understood {
		p.relabel()
	}
	p.addSampleGaps(ctx)
	p.addMerged(ctx)
	p.addTargetHoles(ctx)
	p.cold = p.explicitDefaults()
}

// lookback is the lookback delta of the request, or else of hot, or of cold if that is the only tier;
// zero if unknown.
func (p *Plan) lookback() time.Duration {
	known := p.snapshot.Hot.LookbackDelta
	if p.coldOnly() != nil {
		known = p.snapshot.Cold.LookbackDelta
	}
	return cmp.Or(max(p.query.Request.TimeRange.LookbackDelta, 0), known)
}

// extentOf returns what a request reads at a tier with the given lookback delta;
// zero means the usual one.
func extentOf(request *promapi.Request, lookback time.Duration) promql.Extent {
	times := request.TimeRange
	switch request.Endpoint.Traits().Times {
	case promapi.OneTime, promapi.EachStep:
		if extent, err := queryExtent(request, lookback); err == nil {
			return extent
		}
		return promql.UnknownExtent(times.Start, times.End)
	case promapi.TimeBounds:
		return promql.RangeExtent(times.Start, times.End)
	case promapi.Now:
		return promql.RangeExtent(request.ReceivedAt, request.ReceivedAt)
	default:
		return promql.Extent{Nothing: true}
	}
}

// queryExtent is extentOf for a query. It returns an error if it cannot be parsed.
func queryExtent(request *promapi.Request, lookback time.Duration) (promql.Extent, error) {
	query, err := promql.Parse(request.Parameters.Get("query"))
	if err != nil {
		return promql.Extent{}, err
	}
	times := request.TimeRange
	return query.Extent(promql.Evaluation{Start: times.Start, End: times.End, Step: times.Step, LookbackDelta: lookback})
}

// ParseError returns the first error of the parser for the query of the request, with its position. It is
// empty if tierproxy can parse the query, and for endpoints that evaluate none.
func (p *Plan) ParseError() string {
	request := p.query.Request
	if times := request.Endpoint.Traits().Times; times != promapi.OneTime && times != promapi.EachStep {
		return ""
	}
	if _, err := promql.Parse(request.Parameters.Get("query")); err != nil {
		return strings.Join(promql.ErrorTexts(err, 1), "")
	}
	return ""
}
