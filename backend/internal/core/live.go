package core

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/live"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/telemetry"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// LiveQuery is a live query of a datasource.
type LiveQuery struct {
	// Query is valid PromQL.
	Query string
	// Step is the time between two evaluations, and Range the length of the window.
	Step, Range time.Duration
	// Namespace confines the query, unless it is empty.
	Namespace string
	// Parameters are those of query_range that change the answer, beside query, start, end and step.
	Parameters url.Values
	// Forced is the tier that the caller asks for, or empty.
	Forced tier.Name
	// Datasource is the key of the datasource in queues: see admission.Caller.
	Datasource uint64
	// Generation identifies the spec of a saved datasource.
	Generation string
	// Resolve returns the datasource, as it is at the time of the call.
	Resolve func(ctx context.Context) (*resolve.Resolved, error)
}

// newHub returns the hub for live queries.
func (c *Core) newHub() *live.Hub {
	metrics := c.Metrics.Live
	return live.New(live.Options{
		Streams: c.Config.Live.MaxStreams, StreamsPerCaller: c.Config.Live.MaxStreamsPerCaller,
		Freshness: time.Duration(c.Config.Routing.Freshness), Memory: admission.NewByteBudget(int64(c.Config.Live.Memory)),
		OnStreams: func(change int) { metrics.Streams.Add(float64(change)) }, OnResumed: metrics.Resumes.Inc, OnDropped: metrics.Dropped.Inc,
	})
}

// PrepareLive returns a live query for Live.Subscribe. It returns the errors of Admit and of Resolve,
// for a query that would fail at each evaluation.
func (c *Core) PrepareLive(ctx context.Context, query LiveQuery) (live.Query, error) {
	resolved, err := query.Resolve(ctx)
	if err != nil {
		return live.Query{}, err
	}
	now := time.Now()
	request, err := query.request(now, now)
	if err != nil {
		return live.Query{}, err
	}
	admitted, err := c.Admit(ctx, engine.Query{Request: request, Caller: query.caller()}, resolved, query.Namespace)
	if err != nil {
		return live.Query{}, err
	}
	defer admitted.OnPlanned()
	parsed, err := promql.Parse(query.Query)
	if err != nil {
		return live.Query{}, promapi.InvalidParameter("query", err)
	}
	made := live.Query{
		Key: query.key(resolved, admitted), Datasource: resolved.Datasource.Name, Step: query.Step, Range: query.Range,
		IsWhole: parsed.NamesTimes() || parsed.Separable() != nil || resolved.SpeaksMetricsQL(), Ahead: aheadOf(parsed, now, query.Step),
	}
	made.Evaluate = func(ctx context.Context, start, end time.Time, isNewest bool) (*live.Answer, error) {
		return c.evaluateLive(ctx, query, start, end, isNewest)
	}
	return made, nil
}

// aheadOf returns how far after a step a query reads, or zero.
func aheadOf(parsed *promql.Query, now time.Time, step time.Duration) time.Duration {
	extent, err := parsed.Extent(promql.Evaluation{Start: now, End: now, Step: step})
	if err != nil || extent.Nothing {
		return 0
	}
	return max(time.Duration(extent.Newest-now.UnixMilli())*time.Millisecond, 0)
}

// key returns a key that is the same for queries with the same answers. admitted is the query as it
// is evaluated, with any times.
func (q *LiveQuery) key(resolved *resolve.Resolved, admitted engine.Query) string {
	parameters := maps.Clone(admitted.Request.Parameters)
	for _, name := range []string{"start", "end"} {
		delete(parameters, name)
	}
	return fmt.Sprintf("%q %q %q %q %t %q", resolved.Label, q.Generation, parameters.Encode(), admitted.ConfinedTo, admitted.ReadsNothing, q.Forced)
}

func (q *LiveQuery) caller() admission.Caller {
	return admission.Caller{Datasource: q.Datasource, ID: CallerKey("live")}
}

// request returns the request for some steps.
func (q *LiveQuery) request(start, end time.Time) (*promapi.Request, error) {
	parameters := url.Values{}
	for name, values := range q.Parameters {
		parameters[name] = slices.Clone(values)
	}
	parameters.Set("query", q.Query)
	parameters.Set("start", promapi.FormatTime(start))
	parameters.Set("end", promapi.FormatTime(end))
	parameters.Set("step", strconv.FormatFloat(q.Step.Seconds(), 'f', -1, 64))
	return promapi.NewRequest(promapi.QueryRange, "/api/v1/query_range", parameters, time.Now())
}

// evaluateLive evaluates steps of a live query: see live.Query.
func (c *Core) evaluateLive(ctx context.Context, query LiveQuery, start, end time.Time, isNewest bool) (_ *live.Answer, err error) {
	finished, err := c.Begin(promapi.QueryRange)
	if err != nil {
		return nil, err
	}
	defer finished()
	defer func() { c.Metrics.CountExecuted(ctx, promapi.QueryRange, statusOf(err)) }()
	resolved, err := query.Resolve(ctx)
	if err != nil {
		return nil, err
	}
	request, err := query.request(start, end)
	if err != nil {
		return nil, err
	}
	made := engine.Query{Request: request, Caller: query.caller(), Forced: query.Forced}
	made.NoRead, made.NoStore = isNewest, isNewest
	admitted, err := c.Admit(ctx, made, resolved, query.Namespace)
	if err != nil {
		return nil, err
	}
	defer admitted.OnPlanned()
	response, err := c.Engine.Do(ctx, admitted)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.Tier != "" {
		c.Metrics.Count(response.Tier, response.Reason, telemetry.OutcomeOf(response.Status))
	}
	matrix, bytes, err := response.ReadMatrix(ctx, c.Live.Memory().Of(resolved.Datasource.Name), live.ErrNoMemory)
	if err != nil {
		return nil, &engine.CallError{Tier: response.Tier, Reason: response.Reason, Err: err}
	}
	return &live.Answer{Matrix: matrix, Bytes: bytes, IsApart: response.IsApart(), Tier: string(response.Tier), Reason: string(response.Reason), Source: response.Source}, nil
}

// statusOf returns the HTTP status for the result of a query.
func statusOf(err error) int {
	if err == nil {
		return http.StatusOK
	}
	return promapi.AsError(err).Status
}
