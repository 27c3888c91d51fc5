package engine

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// Planned is a decision with everything that carrying it out takes.
type Planned struct {
	tier.Decision
	// Input is what the decision depends on: tier.Explain says what every rule
	// makes of it.
	Input tier.Input
	// Cut says where the query is cut; nil where it is not, and NotCut says why.
	Cut    *tier.Cut
	NotCut string

	// routed is the decision for the query as a whole, also where it is cut.
	routed tier.Decision
	// stepwise is the query as one that may be answered in pieces; nil where it
	// may not, and notStepwise says why.
	stepwise    *stepwise
	notStepwise error
	// hot and cold are what goes to the tiers: the request itself, or one that
	// makes the tier answer as is meant.
	hot, cold *promapi.Request
	// added are the labels that the answer of hot lacks.
	added map[string]string
	// key is keyOf the request.
	key promql.Key
	// query is what was planned: its Hot is the replica that was chosen.
	query Query
}

// HotQuery and ColdQuery return the PromQL that hot or cold would be sent.
func (p *Planned) HotQuery() string { return p.hot.Parameters.Get("query") }

// ColdQuery returns the PromQL that cold would be sent.
func (p *Planned) ColdQuery() string { return p.cold.Parameters.Get("query") }

// Plan decides which tier is asked, and what. It asks no tier; it waits for
// the first probe of tiers that nobody asked for before. It returns an Error
// with status 503 when the datasource has no tier, and with status 400 for a
// match[] that selects everything.
//
// Where hot has replicas, the first one that can answer without a warning
// counts: what each of them covers depends on its own restarts.
//
// Where there is a choice, an instant query without a time is sent with the one
// that the decision was made for: a tier that evaluates it some moments later could
// read samples that the decision did not count in, and a second try others than
// the first.
func Plan(ctx context.Context, query Query) (*Planned, error) {
	if err := refuse(query.Request); err != nil {
		return nil, err
	}
	if (query.Hot != nil && query.Cold != nil) || len(query.Others) > 0 {
		query.Request = query.Request.AtItsTime()
	}
	first, err := planOne(ctx, query)
	if err != nil || first.answersFromHot() {
		return first, err
	}
	for i, other := range query.Others {
		if !other.Hot.Status().Available {
			continue // Nor is it waited for.
		}
		next := query.on(i)
		next.Others = append([]Replica{{Hot: query.Hot, Pair: query.Pair}}, next.Others...)
		if planned, err := planOne(ctx, next); err == nil && planned.answersFromHot() {
			return planned, nil
		}
	}
	return first, nil
}

// Replica returns the name of the server of hot that was planned for; empty
// where hot is asked as a whole.
func (p *Planned) Replica() string {
	if p.query.Hot == nil {
		return ""
	}
	return p.query.Hot.Replica()
}

// answersFromHot tells whether hot answers as it should, or its part of it.
func (p *Planned) answersFromHot() bool {
	return (p.Tier == tier.Hot || p.Cut != nil) && len(p.Warnings) == 0
}

// planOne plans for one replica of hot.
func planOne(ctx context.Context, query Query) (*Planned, error) {
	query.wait(ctx)
	learned := &catalog.Snapshot{}
	if query.Pair != nil {
		learned = query.Pair.Snapshot()
	}
	planned := query.prepare(ctx, learned)
	decision, err := tier.Plan(planned.Input)
	if err != nil {
		return nil, promapi.Errorf(http.StatusServiceUnavailable, promapi.ErrorUnavailable, "%s", err)
	}
	planned.Decision, planned.routed = decision, decision
	planned.stepwise, planned.notStepwise = query.stepwise(planned, learned)
	if planned.Cut, err = query.cut(planned, learned, decision); err != nil {
		planned.NotCut = err.Error()
	} else {
		planned.Decision = planned.Input.Split(decision)
	}
	if query.isUnknownToThanos() && planned.Tier != tier.Hot {
		planned.Warnings = append(planned.Warnings, unknownToThanos)
	}
	return planned, nil
}

const unknownToThanos = "a label name with a slash cannot be asked of Thanos: values that only the cold tier has are missing"

// isUnknownToThanos reports whether the label whose values are asked for has a
// name that a path can hold only in the escaping of Prometheus, and cold is a
// Thanos, which does not know it and answers with no values.
func (q Query) isUnknownToThanos() bool {
	return strings.Contains(q.Request.Label, "/") && q.Cold != nil && q.Cold.Status().Stores != nil
}

// wait waits until the tiers are known, for a part of the time that there is.
func (q Query) wait(ctx context.Context) {
	isKnown := func(each *catalog.Tier) bool { return each == nil || each.Probed() }
	if isKnown(q.Hot) && isKnown(q.Cold) && (q.Pair == nil || q.Pair.Tried()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, q.timeout()/4)
	defer cancel()
	for _, each := range []*catalog.Tier{q.Hot, q.Cold} {
		if each != nil {
			each.Wait(ctx)
		}
	}
	if q.Pair != nil {
		q.Pair.Wait(ctx)
	}
}

// timeToCompare is how long the pattern of a metric name is compared with the
// names of metrics that are known.
const timeToCompare = 100 * time.Millisecond

// prepare gathers what the rules need, and what the tiers would be sent.
func (q Query) prepare(ctx context.Context, learned *catalog.Snapshot) *Planned {
	now := q.Request.ReceivedAt
	planned := &Planned{hot: q.Request, cold: q.Request, query: q}
	planned.Input = tier.Input{
		Forced: q.Forced, ColdParameter: q.coldParameter(),
		Threshold: q.Threshold, Now: now.UnixMilli(), ScrapeInterval: q.ScrapeInterval, Detailed: q.Detailed,
	}
	in := &planned.Input
	in.HotReplicated = q.Replicated
	if q.Hot != nil {
		in.Hot = q.Hot.State(now)
	}
	if q.Cold != nil {
		in.Cold = q.Cold.State(now)
	}
	lookback := learned.Hot.LookbackDelta
	if q.Pair != nil {
		in.Cold = q.Pair.ColdState(now)
		in.ScrapeInterval = max(in.ScrapeInterval, q.Pair.ScrapeInterval())
	}
	in.Extent = extent(q.Request, lookback)
	endpoint := endpointRules[q.Request.Endpoint]
	in.OnlyTier, in.Union, in.UnionWhenIncomplete = endpoint.only, endpoint.union, endpoint.unionWhenIncomplete
	planned.key = keyOf(q.Request)
	comparing, cancel := context.WithTimeout(ctx, timeToCompare)
	var (
		why          tier.Note
		isUnderstood bool
	)
	in.Completeness, why, isUnderstood = learned.Knowledge.Completeness(comparing, planned.key,
		func() ([]promql.Selector, error) { return endpoint.selectors(q.Request) })
	in.CompletenessWhy = why.For(q.Detailed)
	cancel()
	if endpoint.ofEach {
		in.Completeness, in.CompletenessWhy = tier.Incomplete, "each tier tells of its own"
	}
	if q.Pair == nil {
		// One tier alone holds everything there is.
		in.Completeness, in.CompletenessWhy = tier.Complete, "there is no other tier"
		return planned
	}
	in.EmptyBefore = in.Completeness == tier.Assumed && q.Pair.WasEmpty(planned.key)
	if learned.Knowledge != nil && isUnderstood {
		q.relabel(planned, learned.Knowledge)
	}
	planned.cold = q.explicitDefaults(learned, in)
	return planned
}

// relabel makes hot answer with the external labels that its series carry in
// cold.
func (q Query) relabel(planned *Planned, knowledge *tier.SeriesEvidence) {
	added := knowledge.InjectedLabels
	if len(added) == 0 {
		return
	}
	var err error
	switch q.Request.Endpoint {
	case promapi.Query, promapi.QueryRange:
		var query, relabelled *promql.Query
		if query, err = promql.Parse(q.Request.Parameters.Get("query")); err != nil {
			break
		}
		if relabelled, err = query.WithLabels(added); err == nil && relabelled != query {
			planned.hot = q.Request.With(url.Values{"query": {relabelled.String()}})
		}
	case promapi.Series, promapi.Labels, promapi.LabelValues:
		planned.added = added
		planned.hot, err = relabelMatchers(q.Request, added)
	case promapi.Alerts:
		planned.added = added
	case promapi.QueryExemplars:
		planned.added = added
		var query *promql.Query
		if query, err = promql.Parse(q.Request.Parameters.Get("query")); err != nil {
			break
		}
		if query, err = query.WithLabelsInSelectors(added); err == nil {
			planned.hot = q.Request.With(url.Values{"query": {query.String()}})
		}
	default:
		return
	}
	if err == nil && len(knowledge.ConflictingLabels) > 0 {
		err = errors.New("series of hot carry the external label " + strings.Join(knowledge.ConflictingLabels, ", ") + " themselves")
	}
	if err != nil {
		planned.hot, planned.added = q.Request, nil
		planned.Input.Unlabelled = tier.Note{Detail: firstLine(err), Public: promql.ErrNotRewritable.Error()}.For(q.Detailed)
	}
}

// relabelMatchers takes matchers on external labels out of the match[] of a
// metadata request.
func relabelMatchers(request *promapi.Request, added map[string]string) (*promapi.Request, error) {
	if _, is := added[request.Label]; is {
		return nil, errors.New("hot has no values of its external label " + request.Label)
	}
	texts := request.Parameters["match[]"]
	if len(texts) == 0 {
		return request, nil
	}
	var changed []string
	for _, text := range texts {
		selector, err := promql.ParseSelector(text)
		if err != nil {
			return nil, err
		}
		relabelled, err := selector.WithLabels(added)
		if err != nil {
			return nil, err
		}
		changed = append(changed, relabelled.String())
	}
	return request.With(url.Values{"match[]": changed}), nil
}

// Extent returns what a request reads.
func Extent(request *promapi.Request) promql.Extent { return extent(request, 0) }

// extent is Extent for a tier with the given lookback delta; zero means the
// usual one.
func extent(request *promapi.Request, lookback time.Duration) promql.Extent {
	times := request.TimeRange
	switch request.Endpoint {
	case promapi.Query, promapi.QueryRange:
		if times.LookbackDelta > 0 {
			lookback = times.LookbackDelta
		}
		query, err := promql.Parse(request.Parameters.Get("query"))
		if err != nil {
			return promql.UnknownExtent(times.Start, times.End)
		}
		extent, err := query.Extent(promql.Evaluation{Start: times.Start, End: times.End, Step: times.Step, LookbackDelta: lookback})
		if err != nil {
			return promql.UnknownExtent(times.Start, times.End)
		}
		return extent
	case promapi.Series, promapi.Labels, promapi.LabelValues, promapi.QueryExemplars:
		return promql.RangeExtent(times.Start, times.End)
	default:
	}
	if endpointRules[request.Endpoint].perSeries {
		// What is there now.
		return promql.RangeExtent(request.ReceivedAt, request.ReceivedAt)
	}
	return promql.Extent{Nothing: true}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
