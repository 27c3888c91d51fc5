package engine

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// mostLead bounds the steps by which a piece of cold begins early.
const mostLead = 500

// errWhole is why most queries are not answered in pieces.
var errWhole = errors.New("nobody asks for pieces of it")

// stepwise is a range query that may be answered in pieces.
type stepwise struct {
	grid tier.Grid
	// hot and cold are the queries for the tiers with their times frozen.
	hot, cold string
	// lead is by how many steps a piece of cold begins early: a tier that
	// deduplicates replicas gives other values at the beginning of what it reads.
	lead int
	// extentAt returns what cold reads at one step.
	extentAt func(at int64) (promql.Extent, error)
}

// stepwise returns the query as one that may be answered in pieces, or an error
// that says why it may not.
func (q Query) stepwise(planned *Planned, learned *catalog.Snapshot) (*stepwise, error) {
	request := q.Request
	switch {
	case q.Strategy != tier.StrategySplit && q.Caching == nil:
		return nil, errWhole
	case request.Endpoint != promapi.QueryRange:
		return nil, errors.New("it is no range query")
	case q.Splicing == nil:
		return nil, errors.New("answers are not put together here")
	case request.Parameters.Get("stats") != "" || request.Parameters.Get("cost") != "":
		return nil, errors.New("it asks for statistics of the evaluation, which are about one tier")
	}
	times := request.TimeRange
	grid, err := tier.NewGrid(times.Start, times.End, times.Step)
	if err != nil {
		return nil, err
	}
	made := &stepwise{grid: grid}
	hot, err := frozen(planned.HotQuery(), times)
	if err != nil {
		return nil, err
	}
	cold, err := frozen(planned.ColdQuery(), times)
	if err != nil {
		return nil, err
	}
	made.hot, made.cold = hot.String(), cold.String()
	lookback := learned.Hot.LookbackDelta
	if times.LookbackDelta > 0 {
		lookback = times.LookbackDelta
	}
	made.extentAt = func(at int64) (promql.Extent, error) {
		moment := time.UnixMilli(at)
		return cold.Extent(promql.Evaluation{Start: moment, End: moment, Step: times.Step, LookbackDelta: lookback})
	}
	if q.Pair != nil && q.Pair.ColdDeduplicates() {
		extent, err := made.extentAt(grid.Start)
		if err != nil {
			return nil, err
		}
		if lookback == 0 {
			lookback = promql.DefaultLookbackDelta
		}
		// After a whole window nothing of the beginning is read any more.
		made.lead = int(min(mostLead, (max(extent.Span, 0)+lookback)/times.Step+1))
	}
	return made, nil
}

// frozen returns the query of a text with the times of @ start() and @ end() in it.
func frozen(text string, times promapi.TimeRange) (*promql.Query, error) {
	query, err := promql.Parse(text)
	if err != nil {
		return nil, errors.New("it is not understood here")
	}
	return query.Frozen(times.Start, times.End)
}

// cut decides whether and where the query is cut. It returns an error that says
// why it is not.
func (q Query) cut(planned *Planned, learned *catalog.Snapshot, routed tier.Decision) (*tier.Cut, error) {
	if q.Strategy != tier.StrategySplit {
		return nil, errors.New("the strategy of the datasource is route")
	}
	if planned.stepwise == nil {
		return nil, planned.notStepwise
	}
	if query, err := promql.Parse(q.Request.Parameters.Get("query")); err == nil && query.HasDefaultSteps() && learned.Hot.EvaluationInterval == 0 {
		return nil, errors.New("a subquery names no step, and hot does not tell its own")
	}
	if q.Pair != nil {
		if reason, found := q.Splicing.unspliced.Get(planned.spliceKey()); found {
			return nil, errors.New(reason)
		}
	}
	cut, err := tier.PlanCut(tier.CutInput{
		Input: planned.Input, Grid: planned.stepwise.grid, Fresh: max(q.Threshold, q.freshness(learned)),
		ExtentAt: planned.stepwise.extentAt, ReplicasAccepted: q.ReplicasAccepted,
	}, routed)
	if err != nil {
		return nil, err
	}
	return &cut, nil
}

// freshness is how far back from now data may still change or come in.
func (q Query) freshness(learned *catalog.Snapshot) time.Duration {
	return max(q.Freshness, learned.Hot.OutOfOrderWindow, learned.Cold.OutOfOrderWindow)
}

// spliceKey identifies a query whose answer could not be put together: what it
// selects, its step and how many steps it has, at one pair of tiers.
func (p *Planned) spliceKey() string {
	return fmt.Sprintf("%p %x %d %d", p.query.Pair, p.key, p.stepwise.grid.Step, p.stepwise.grid.Len())
}

// pieceRequest is what a tier is sent for some steps, both inclusive.
func (s *stepwise) pieceRequest(request *promapi.Request, query string, first, last int) *promapi.Request {
	changed := request.With(url.Values{
		"query": {query}, "start": {promapi.FormatTime(time.UnixMilli(s.grid.At(first)))}, "end": {promapi.FormatTime(time.UnixMilli(s.grid.At(last)))}, "limit": nil,
	})
	return inEncoding(changed, encodingPlain)
}
