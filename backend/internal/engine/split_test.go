package engine

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// steps answers range queries as a server does whose series have a value that
// follows from the time alone; each series is there in a part of the time only.
func steps(names ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		_ = request.ParseForm()
		number := func(name string) float64 { value, _ := strconv.ParseFloat(request.Form.Get(name), 64); return value }
		start, end, step := int64(number("start")*1000+0.5), int64(number("end")*1000+0.5), int64(number("step")*1000+0.5)
		if step <= 0 {
			http.Error(w, "no step", http.StatusBadRequest)
			return
		}
		_, _ = fmt.Fprint(w, stepsAnswer(names, start, end, step))
	}
}

func stepsAnswer(names []string, start, end, step int64) string {
	var series []string
	for _, name := range slices.Sorted(slices.Values(names)) {
		var values []string
		for at := start; at <= end; at += step {
			if strings.HasPrefix(name, "gaps") && at/60_000%3 == 0 {
				continue
			}
			values = append(values, fmt.Sprintf(`[%d.%03d,"%d"]`, at/1000, at%1000, at/1000%977))
		}
		if len(values) > 0 {
			series = append(series, fmt.Sprintf(`{"metric":{"name":%q},"values":[%s]}`, name, strings.Join(values, ",")))
		}
	}
	return fmt.Sprintf(`{"status":"success","data":{"resultType":"matrix","result":[%s]}}`, strings.Join(series, ","))
}

// splitTiers are two fakes that hold the same series.
type splitTiers struct {
	*tiers
	both   *catalog.Catalog
	engine *Engine
}

func newSplitTiers(t *testing.T, cold told) *splitTiers {
	t.Helper()
	return newLaggingSplitTiers(t, cold, 0)
}

func newLaggingSplitTiers(t *testing.T, cold told, lag time.Duration) *splitTiers {
	t.Helper()
	hot := told{"/label/__name__": `["up"]`, "/status/config": `{"yaml":"global: {evaluation_interval: 30s}"}`}
	p, both := laggingTiers(t, hot, cold, lag)
	p.hot.Handle(steps("a", "gaps"))
	p.cold.Handle(steps("a", "gaps"))
	return &splitTiers{tiers: p, both: both, engine: New(Options{PieceBytes: 10 << 20})}
}

// rangeQuery asks for the last hours.
func (p *splitTiers) rangeQuery(t *testing.T, more url.Values) asking {
	t.Helper()
	now := time.Now()
	parameters := url.Values{"query": {"up"}, "start": {promapi.FormatTime(now.Add(-4 * time.Hour))}, "end": {promapi.FormatTime(now)}, "step": {"60"}}
	for name, values := range more {
		parameters[name] = values
	}
	request, err := promapi.NewRequest(promapi.QueryRange, "/api/v1/query_range", parameters, now)
	require.NoError(t, err)
	return asking{
		Request: request, Hot: p.hotClient, Cold: p.coldClient, Catalog: p.both, Threshold: 15 * time.Minute, Timeout: 5 * time.Second,
		Strategy: tier.StrategySplit, Freshness: 10 * time.Minute, engine: p.engine,
	}
}

// whole is what one server would answer.
func whole(query asking, names ...string) string {
	times := query.Request.TimeRange
	return stepsAnswer(names, times.Start.UnixMilli(), times.End.UnixMilli(), times.Step.Milliseconds())
}

func TestAssemble_JoinsThePiecesOfACut(t *testing.T) {
	p := newSplitTiers(t, told{})
	query := p.rangeQuery(t, nil)
	planned, err := plan(t.Context(), query)
	require.NoError(t, err)
	require.NotNil(t, planned.Cut, planned.NotCut)
	response, err := do(t.Context(), query)
	require.NoError(t, err)
	require.Equal(t, []any{tier.Both, tier.ReasonSplit, 200}, []any{response.Tier, response.Reason, response.Status})
	text := body(t, response)
	require.Equal(t, whole(query, "a", "gaps"), text, "as one server would have answered, to the byte")
	require.EqualValues(t, len(text), response.ContentLength)
	require.Zero(t, p.engine.held(), "the memory is given back")

	hot, cold := p.hot.Requests()[0].Parameters, p.cold.Requests()[0].Parameters
	require.Equal(t, query.Request.Parameters.Get("start"), cold.Get("start"))
	grid := planned.Cut.Grid
	require.Equal(t, promapi.FormatTime(time.UnixMilli(grid.At(planned.Cut.Runs[1].First))), hot.Get("start"), "the first step within the threshold")
	require.Equal(t, promapi.FormatTime(time.UnixMilli(grid.At(planned.Cut.Runs[1].First-1))), cold.Get("end"))
	require.Equal(t, 15*time.Minute, query.Request.TimeRange.End.Sub(time.UnixMilli(grid.At(planned.Cut.Runs[1].First))))
}

func TestAssemble_TimesAndParametersOfPieces(t *testing.T) {
	p := newSplitTiers(t, told{})
	query := p.rangeQuery(t, url.Values{"query": {`up - up @ end() + sum_over_time(up[1m:])`}, "limit": {"1"}, "timeout": {"4s"}, "dedup": {"true"}})
	query.QueryParams = map[string]string{"dedup": "true"}
	response, err := do(t.Context(), query)
	require.NoError(t, err)
	require.Equal(t, tier.ReasonSplit, response.Reason)
	text := body(t, response)
	require.Contains(t, text, `"warnings":["results truncated due to limit"]`)
	require.Equal(t, 1, strings.Count(text, `"metric"`))
	end := promapi.FormatTime(query.Request.TimeRange.End)
	for name, sent := range map[string]faketier.Request{"hot": p.hot.Requests()[0], "cold": p.cold.Requests()[0]} {
		require.Contains(t, sent.Parameters.Get("query"), "up @ "+end, name)
		require.False(t, sent.Parameters.Has("limit"), "the limit is that of the whole")
		require.Equal(t, "4s", sent.Parameters.Get("timeout"))
		require.Equal(t, name == "cold", sent.Parameters.Has("dedup"))
	}
}

func TestAssemble_PiecesOfADeduplicatingColdStartEarly(t *testing.T) {
	p := newSplitTiers(t, told{"/status/flags": `{"query.replica-label":"[replica]"}`})
	query := p.rangeQuery(t, url.Values{"query": {`rate(up[10m])`}})
	response, err := do(t.Context(), query)
	require.NoError(t, err)
	require.Equal(t, tier.ReasonSplit, response.Reason)
	require.Equal(t, whole(query, "a", "gaps"), body(t, response), "what came early is dropped")
	start := query.Request.TimeRange.Start.Add(-16 * time.Minute) // window and lookback, and one step
	require.Equal(t, promapi.FormatTime(start), p.cold.Requests()[0].Parameters.Get("start"))
	require.Equal(t, promapi.FormatTime(query.Request.TimeRange.End.Add(-15*time.Minute)), p.hot.Requests()[0].Parameters.Get("start"), "that of hot does not")
}

// The steps before the first one of the query can have what a tier refuses, such as two series of a join where the
// version of an application changed. The whole has no such steps.
func TestAssemble_ColdRefusesStepsBeforeTheFirst(t *testing.T) {
	p := newSplitTiers(t, told{"/status/flags": `{"query.replica-label":"[replica]"}`})
	query := p.rangeQuery(t, nil)
	start, answers, refusal := promapi.FormatTime(query.Request.TimeRange.Start), steps("a", "gaps"), `{"status":"error","errorType":"execution","error":"found duplicate series"}`
	p.cold.Handle(func(w http.ResponseWriter, request *http.Request) {
		if request.FormValue("start") != start {
			faketier.Status(422, refusal)(w, request)
			return
		}
		answers(w, request)
	})
	response, err := do(t.Context(), query)
	require.NoError(t, err)
	require.Equal(t, []any{tier.Cold, tier.ReasonAtOrAboveThreshold, 200}, []any{response.Tier, response.Reason, response.Status})
	require.Equal(t, whole(query, "a", "gaps"), body(t, response))

	p.cold.Handle(faketier.Status(422, refusal))
	response, err = do(t.Context(), query)
	require.NoError(t, err)
	require.Equal(t, []any{tier.Cold, 422}, []any{response.Tier, response.Status})
	require.JSONEq(t, refusal, body(t, response))
	require.Zero(t, p.engine.held())
}

func TestPlan_QueriesThatAreNotCut(t *testing.T) {
	p := newSplitTiers(t, told{})
	for reason, change := range map[string]func(*asking){
		"the strategy of the datasource is route": func(query *asking) { query.Strategy = "" },
		"several replicas":                        func(query *asking) { query.Replicated = true },
		"asks for one tier":                       func(query *asking) { query.Forced = tier.Cold },
		"below the threshold":                     func(query *asking) { query.Threshold = 5 * time.Hour },
		"statistics":                              func(query *asking) { query.Request = query.Request.With(url.Values{"stats": {"all"}}) },
		"range()":                                 func(query *asking) { query.Request = query.Request.With(url.Values{"query": {"up * range()"}}) },
		"is no range query":                       func(query *asking) { query.Request = request(t, up) },
	} {
		query := p.rangeQuery(t, nil)
		change(&query)
		planned, err := plan(t.Context(), query)
		require.NoError(t, err)
		require.Nil(t, planned.Cut)
		require.Contains(t, planned.NotCut, reason)
		require.NotEqual(t, tier.Both, planned.Tier)
	}
	accepted := p.rangeQuery(t, nil)
	accepted.Replicated, accepted.ReplicasAccepted = true, true
	planned, err := plan(t.Context(), accepted)
	require.NoError(t, err)
	require.NotNil(t, planned.Cut)
}

func TestAssemble_OneTierOfACutFails(t *testing.T) {
	moved := func(w http.ResponseWriter, request *http.Request) {
		_ = request.ParseForm()
		start, _ := strconv.ParseFloat(request.Form.Get("start"), 64)
		_, _ = fmt.Fprint(w, stepsAnswer([]string{"a"}, int64(start*1000)/60_000*60_000+77, int64(start*1000)+600_000, 60_000))
	}
	cutOff := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"name":"a"},"values":[`)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	for name, test := range map[string]struct {
		hot, cold http.HandlerFunc
		tier      tier.Name
		reason    tier.Reason
		status    int
	}{
		"hot refuses":             {hot: faketier.Status(503, ""), tier: tier.Cold, reason: tier.ReasonHotFailed},
		"hot breaks off":          {hot: cutOff, tier: tier.Cold, reason: tier.ReasonHotFailed},
		"hot hangs":               {hot: faketier.Hang, tier: tier.Cold, reason: tier.ReasonHotFailed},
		"hot does not understand": {hot: faketier.Status(400, `{"status":"error","errorType":"bad_data","error":"no"}`), tier: tier.Cold, reason: tier.ReasonHotFailed},
		"hot is no Prometheus":    {hot: faketier.Success, tier: tier.Cold, reason: tier.ReasonAtOrAboveThreshold},
		"cold refuses":            {cold: faketier.Status(502, ""), tier: tier.Hot, reason: tier.ReasonColdFailed},
		"cold breaks off":         {cold: cutOff, tier: tier.Hot, reason: tier.ReasonColdFailed},
		"cold refuses the query":  {cold: faketier.Status(422, `{"status":"error","errorType":"execution","error":"no"}`), tier: tier.Cold, reason: tier.ReasonSplit, status: 422},
		"hot moves the steps":     {hot: moved, tier: tier.Cold, reason: tier.ReasonAtOrAboveThreshold},
		"hot has nothing":         {hot: steps(), tier: tier.Cold, reason: tier.ReasonHotEmpty},
	} {
		t.Run(name, func(t *testing.T) {
			p := newSplitTiers(t, told{})
			if test.hot != nil {
				p.hot.Handle(test.hot)
			}
			if test.cold != nil {
				p.cold.Handle(test.cold)
			}
			query := p.rangeQuery(t, nil)
			if name == "hot hangs" {
				query.Timeout = 800 * time.Millisecond
			}
			response, err := do(t.Context(), query)
			require.NoError(t, err)
			text := body(t, response)
			require.Equal(t, []any{test.tier, test.reason}, []any{response.Tier, response.Reason}, text)
			require.Zero(t, p.engine.held())
			if test.status != 0 {
				require.Equal(t, test.status, response.Status)
				return
			}
			var got, expected any
			require.NoError(t, json.Unmarshal([]byte(text), &got))
			require.NoError(t, json.Unmarshal([]byte(whole(query, "a", "gaps")), &expected))
			if object, ok := got.(map[string]any); ok {
				delete(object, "warnings") // That hot was only assumed to be complete.
			}
			require.Equal(t, expected, got)
		})
	}
}

// An error of the query is the answer where cold does not reach as far: without the
// newest samples it may not see what is wrong.
func TestAssemble_HotRefusesAQueryThatColdDoesNotCover(t *testing.T) {
	p := newLaggingSplitTiers(t, told{}, 2*time.Hour)
	refusal := `{"status":"error","errorType":"execution","error":"vector cannot contain metrics with the same labelset"}`
	p.hot.Handle(faketier.Status(422, refusal))
	query := p.rangeQuery(t, nil)
	planned, err := plan(t.Context(), query)
	require.NoError(t, err)
	require.NotNil(t, planned.Cut, planned.NotCut)
	response, err := do(t.Context(), query)
	require.NoError(t, err)
	require.Equal(t, []any{tier.Hot, tier.ReasonSplit, 422}, []any{response.Tier, response.Reason, response.Status})
	require.JSONEq(t, refusal, body(t, response))
	require.Zero(t, p.engine.held())
}

func TestAssemble_BothTiersOfACutFail(t *testing.T) {
	p := newSplitTiers(t, told{})
	p.hot.Handle(faketier.Status(503, ""))
	p.cold.Handle(faketier.Hang)
	query := p.rangeQuery(t, nil)
	query.Timeout = 400 * time.Millisecond
	_, err := do(t.Context(), query)
	requireError(t, err, 503, promapi.ErrorTimeout, "the cold tier did not answer within 400ms")
}

func TestAssemble_RoutesAnswersThatAreTooLarge(t *testing.T) {
	p := newSplitTiers(t, told{})
	p.engine = New(Options{PieceBytes: 1000})
	for range 2 {
		query := p.rangeQuery(t, nil)
		response, err := do(t.Context(), query)
		require.NoError(t, err)
		require.Equal(t, []any{tier.Cold, tier.ReasonAtOrAboveThreshold, true}, []any{response.Tier, response.Reason, response.TooLarge})
		require.Equal(t, whole(query, "a", "gaps"), body(t, response))
		require.Zero(t, p.engine.held())
		planned, err := plan(t.Context(), p.rangeQuery(t, nil))
		require.NoError(t, err)
		require.Contains(t, planned.NotCut, "too large", "the next query is not tried in pieces again")
	}
	require.LessOrEqual(t, len(p.hot.Requests()), 1)
}

// A query that finds the memory taken is cut the next time.
func TestAssemble_MemoryThatOthersTakeIsNotRemembered(t *testing.T) {
	p := newSplitTiers(t, told{})
	p.engine = New(Options{PieceBytes: 1 << 20})
	other := &reservation{of: p.engine.pieceBudget.Of("one")}
	require.NoError(t, other.acquire(500<<10))
	for _, expected := range []tier.Name{tier.Cold, tier.Both} {
		query := p.rangeQuery(t, nil)
		response, err := do(t.Context(), query)
		require.NoError(t, err)
		require.Equal(t, []any{expected, expected == tier.Cold}, []any{response.Tier, response.TooLarge})
		require.Equal(t, whole(query, "a", "gaps"), body(t, response))
		other.release()
	}
}

func TestAssemble_MemoryOfPiecesIsBounded(t *testing.T) {
	engine := New(Options{PieceBytes: 400 << 10}) // One datasource may hold half of it.
	held := &reservation{of: engine.pieceBudget.Of("one")}
	text, err := held.readBody(&Response{Body: io.NopCloser(strings.NewReader(strings.Repeat("x", 190<<10))), ContentLength: 190 << 10})
	require.NoError(t, err)
	require.Len(t, text, 190<<10)
	other := &reservation{of: engine.pieceBudget.Of("one")}
	_, err = other.readBody(&Response{Body: io.NopCloser(strings.NewReader("x")), ContentLength: -1})
	require.ErrorIs(t, err, errTooLarge)
	held.release()
	text, err = other.readBody(&Response{Body: io.NopCloser(strings.NewReader(strings.Repeat("y", 100<<10))), ContentLength: -1})
	require.NoError(t, err)
	require.Len(t, text, 100<<10)
	other.release()
	other.release()
	require.Zero(t, engine.held())
}
