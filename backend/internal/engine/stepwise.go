package engine

import (
	"cmp"
	"errors"
	"net/url"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// mostLead bounds the steps by which a piece of cold starts early.
const mostLead = 500

// errWhole is why most queries are not answered in pieces.
var errWhole = errors.New("neither the strategy of the datasource nor the cache asks for pieces of it")

// errSubqueryWithoutStep is why a query is not cut whose subquery could have other steps at
// each tier.
var errSubqueryWithoutStep = errors.New("a subquery names no step, and hot does not tell its own")

// stepwise is a range query that may be answered in pieces.
type stepwise struct {
	grid tier.Grid
	// hot and cold are the queries for the tiers with their times frozen.
	hot, cold *promql.Query
	// lead is by how many steps a piece of cold starts early: deduplication of replicas
	// changes values at the start of what is read.
	lead int
	// extentAt returns what cold reads at one step.
	extentAt func(at int64) (promql.Extent, error)
}

// asStepwise returns an error that says why the query is not answered in pieces.
func (p *Plan) asStepwise() (*stepwise, error) {
	request, times := p.query.Request, p.query.Request.TimeRange
	switch {
	case p.query.Datasource.Strategy != tier.StrategySplit && !p.isCached():
		return nil, errWhole
	case request.Endpoint.Traits().Cutting != promapi.CutAtStep:
		return nil, errors.New("it is no range query")
	case p.speaksMetricsQL(tier.Cold):
		return nil, languageError(tier.Cold)
	case request.Parameters.Get("stats") != "" || request.Parameters.Get("cost") != "":
		return nil, errors.New("it asks for statistics of the evaluation, which are about one tier")
	}
	grid, err := tier.NewGrid(times.Start, times.End, times.Step)
	if err != nil {
		return nil, err
	}
	made := &stepwise{grid: grid}
	if made.hot, err = frozen(p.hot); err != nil {
		return nil, err
	}
	if made.cold = made.hot; p.cold != p.hot {
		if made.cold, err = frozen(p.cold); err != nil {
			return nil, err
		}
	}
	lookback := p.lookback()
	made.extentAt = func(at int64) (promql.Extent, error) {
		moment := time.UnixMilli(at)
		return made.cold.Extent(promql.Evaluation{Start: moment, End: moment, Step: times.Step, LookbackDelta: lookback})
	}
	if p.coldDeduplicates() {
		extent, err := made.extentAt(grid.Start)
		if err != nil {
			return nil, err
		}
		// After a whole window, nothing that was read at first is read any more.
		made.lead = int(min(mostLead, (max(extent.Span, 0)+cmp.Or(lookback, promql.DefaultLookbackDelta))/times.Step+1))
	}
	return made, nil
}

// coldDeduplicates reports whether cold may merge the series of replicas.
func (p *Plan) coldDeduplicates() bool {
	switch evidence, alone := p.replica.Catalog, p.coldOnly(); {
	case evidence != nil:
		return evidence.ColdDeduplicates()
	case alone != nil:
		parameters := p.query.Request.Parameters
		return parameters.Get("dedup") != "false" && (alone.Deduplicates() || len(parameters["replicaLabels[]"]) > 0)
	}
	return false
}

// frozen returns the query of a request with its times frozen: see promql.Query.Frozen.
func frozen(request *promapi.Request) (*promql.Query, error) {
	query, err := promql.Parse(request.Parameters.Get("query"))
	if err != nil {
		return nil, err
	}
	return query.Frozen(request.TimeRange.Start, request.TimeRange.End)
}

// cut decides where the query is cut. It returns an error that says why it is not.
func (p *Plan) cut() (*tier.Cut, error) {
	datasource := p.query.Datasource
	if datasource.Strategy != tier.StrategySplit {
		return nil, errors.New("the strategy of the datasource is route")
	}
	if p.stepwise == nil {
		return nil, p.notStepwise
	}
	if p.speaksMetricsQL(tier.Hot) {
		return nil, languageError(tier.Hot)
	}
	if p.closed != "" {
		return nil, rangeEndsError(p.closed)
	}
	if p.snapshot.Hot.EvaluationInterval == 0 {
		if query, err := promql.Parse(p.query.Request.Parameters.Get("query")); err == nil && query.HasDefaultSteps() {
			return nil, errSubqueryWithoutStep
		}
	}
	if p.unjoinable != nil {
		return nil, p.unjoinable
	}
	cut, err := tier.PlanCut(tier.CutInput{
		Input: p.Input, Grid: p.stepwise.grid, Fresh: max(datasource.Threshold, p.freshness()),
		ExtentAt: p.stepwise.extentAt, ReplicasAccepted: datasource.ReplicasAccepted,
	}, p.routed)
	if err != nil {
		return nil, err
	}
	return &cut, nil
}

// pieceKey identifies a query in Engine.unjoinable, by what can make it too large.
type pieceKey struct {
	catalog *catalog.Catalog
	cold    *catalog.Tier
	key     promql.Key
	// step is in milliseconds, and steps are how many there are.
	step  int64
	steps int
}

// pieceKey returns the key of the query.
func (p *Plan) pieceKey() pieceKey {
	grid := &p.stepwise.grid
	return pieceKey{catalog: p.replica.Catalog, cold: p.query.Datasource.Cold, key: p.key, step: grid.Step, steps: grid.Len()}
}

// pieceAttempt returns the attempt that asks for a piece.
func (p *Plan) pieceAttempt(missing *piece) attempt {
	steps := p.stepwise
	a := p.attempt(tier.Decision{Tier: missing.from, Reason: p.Reason, Fallback: p.fallbackOfPiece(missing.from)})
	a.reading, a.headroom = decoded, missing.headroom
	query, first := steps.cold, missing.first
	if missing.from == tier.Hot {
		query = steps.hot
	}
	if p.startsEarly(missing.from) {
		first -= steps.lead
	}
	a.request = a.request.With(url.Values{
		"query": {query.String()}, "start": {steps.timeOf(first)}, "end": {steps.timeOf(missing.last)}, "limit": nil,
	})
	return a
}

// startsEarly reports whether the pieces of a tier start before the step that they are for. One server of
// hot has no replicas to deduplicate.
func (p *Plan) startsEarly(from tier.Name) bool {
	known := p.snapshot.Evidence
	return p.stepwise.lead > 0 && (from == tier.Cold || (known != nil && known.HotSources != nil))
}

// timeOf returns an evaluation time as a parameter.
func (s *stepwise) timeOf(i int) string { return promapi.FormatTime(time.UnixMilli(s.grid.At(i))) }

// fallbackOfPiece returns the tier that takes over after a failure.
func (p *Plan) fallbackOfPiece(from tier.Name) tier.Name {
	switch {
	case p.Cut == nil:
		return p.Fallback
	case from == tier.Hot:
		return tier.Cold
	}
	if _, ok := p.Input.ColdFailed(); ok {
		return tier.Hot
	}
	return ""
}
