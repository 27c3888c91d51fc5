package engine

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// apiError answers with an error of the Prometheus API.
func apiError(status int, errorType, message string) http.HandlerFunc {
	return faketier.Status(status, fmt.Sprintf(`{"status":"error","errorType":%q,"error":%q}`, errorType, message))
}

// storeUnavailable is what a Thanos answers whose store has gone, without partial responses.
const storeUnavailable = `expanding series: proxy Series(): rpc error: code = Aborted desc = fetch series for {cluster="lab"} Addr: 10.0.0.1:10901 ` +
	`LabelSets: {cluster="lab"} MinTime: 0 MaxTime: 1: rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: connection refused"`

// faultsOfCold are answers that are about cold itself, not about the query.
func faultsOfCold() map[string]http.HandlerFunc {
	faults := map[string]http.HandlerFunc{
		"429 of the API":      apiError(429, "too_many_requests", "too many outstanding requests"),
		"422 without a store": apiError(422, "execution", "expanding series: No StoreAPIs available"),
		"422 of a lost store": apiError(422, "execution", storeUnavailable),
	}
	for _, status := range []int{429, 500, 502, 503, 504, 520} {
		faults[fmt.Sprintf("%d of a proxy", status)] = faketier.Status(status, "<html>no</html>")
	}
	for _, status := range []int{500, 503} {
		faults[fmt.Sprintf("%d of the API", status)] = apiError(status, "internal", "storage is closed")
	}
	return faults
}

func TestFallBack_HotAnswersForAFaultOfCold(t *testing.T) {
	now := time.Now()
	bounds := url.Values{"start": {promapi.FormatTime(now.Add(-3 * time.Hour))}, "end": {promapi.FormatTime(now)}}
	bounded := func(name, value string) url.Values {
		parameters := maps.Clone(bounds)
		parameters.Set(name, value)
		return parameters
	}
	for name, fault := range faultsOfCold() {
		t.Run(name, func(t *testing.T) {
			p, both := learnedTiers(t, toldByHot, toldByThanos)
			p.cold.Handle(fault)
			for _, asked := range []struct {
				endpoint   promapi.Endpoint
				path       string
				parameters url.Values
				data       string
			}{
				{promapi.Query, "query", url.Values{"query": {"sum(count_over_time(node_load1[3h]))"}}, `{"resultType":"vector","result":[]}`},
				{promapi.Series, "series", bounded("match[]", "node_load1"), `[]`},
				{promapi.Labels, "labels", bounded("match[]", "node_load1"), `[]`},
				{promapi.LabelValues, "label/job/values", bounded("match[]", "node_load1"), `[]`},
			} {
				p.hot.Handle(faketier.Status(200, fmt.Sprintf(`{"status":"success","data":%s}`, asked.data)))
				response, text := p.ask(t, both, asked.endpoint, "/api/v1/"+asked.path, asked.parameters)
				require.Equal(t, []any{tier.Hot, tier.ReasonColdFailed, 200}, []any{response.Tier, response.Reason, response.Status}, "%s: %s", asked.path, text)
				require.JSONEq(t, fmt.Sprintf(`{"status":"success","data":%s}`, asked.data), text)
			}
			require.True(t, p.coldClient.Status().Available, "the answer to one query says nothing of the next")
		})
	}
}

func TestAssemble_HotAnswersForAFaultOfCold(t *testing.T) {
	for name, fault := range faultsOfCold() {
		t.Run(name, func(t *testing.T) {
			p := newCachedTiers(t)
			p.cold.Handle(fault)
			for _, strategy := range []tier.Strategy{tier.StrategySplit, tier.StrategyRoute} {
				query := p.at(t, 0, 4*time.Hour, nil)
				query.Strategy = strategy
				require.Equal(t, tier.ReasonColdFailed, p.do(t, query).Reason, "%s", strategy)
			}
			p.probes(t, 3)
			require.Zero(t, p.cache.Stats().Entries)
		})
	}
}

func TestFallBack_ErrorsOfTheQueryAreAnswers(t *testing.T) {
	for name, message := range map[string]string{
		"an execution error":   "vector cannot contain metrics with the same labelset",
		"too many samples":     "query processing would load too many samples into memory in query execution",
		"a limit of a store":   "expanding series: proxy Series(): rpc error: code = Aborted desc = receive series from Addr: a: rpc error: code = ResourceExhausted desc = exceeded series limit: limit 1 violated (got 2)",
		"an old limit":         "expanding series: proxy Series(): rpc error: code = Aborted desc = fetch series for block 01: exceeded series limit: limit 1 violated (got 2)",
		"a limit by its code":  "proxy Series(): rpc error: code = Aborted desc = receive series from Addr: a: rpc error: code = Code(422) desc = exceeded bytes limit",
		"a matcher of a store": "proxy Series(): rpc error: code = InvalidArgument desc = no matchers specified (excluding selector labels)",
		"a label value":        `vector cannot contain {error="rpc error: code = "}`,
	} {
		t.Run(name, func(t *testing.T) {
			p, both := learnedTiers(t, toldByHot, toldByThanos)
			p.cold.Handle(apiError(422, "execution", message))
			response, text := p.ask(t, both, promapi.Query, "/api/v1/query", url.Values{"query": {"count_over_time(node_load1[3h])"}})
			require.Equal(t, []any{tier.Cold, 422}, []any{response.Tier, response.Status})
			require.JSONEq(t, fmt.Sprintf(`{"status":"error","errorType":"execution","error":%q}`, message), text)
			require.Empty(t, p.hot.Requests())
		})
	}
	t.Run("a query that takes too long", func(t *testing.T) {
		p, both := learnedTiers(t, toldByHot, toldByThanos)
		p.cold.Handle(apiError(422, "execution", "expanding series: context deadline exceeded"))
		response, text := p.ask(t, both, promapi.Query, "/api/v1/query", url.Values{"query": {"count_over_time(node_load1[3h])"}})
		require.Equal(t, []any{tier.Cold, 503}, []any{response.Tier, response.Status})
		require.JSONEq(t, `{"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}`, text)
	})
}

func TestFinish_AFaultOfColdThatHotCannotAnswer(t *testing.T) {
	limited := func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Retry-After", "7")
		apiError(429, "too_many_requests", "too many outstanding requests")(w, request)
	}
	for name, test := range map[string]struct {
		fault    http.HandlerFunc
		status   int
		expected string
	}{
		"429 of the API":      {limited, 429, `{"status":"error","errorType":"unavailable","error":"too many outstanding requests"}`},
		"429 of a proxy":      {faketier.Status(429, "slow down"), 429, `{"status":"error","errorType":"unavailable","error":"the cold tier answered with status 429 (Too Many Requests)"}`},
		"500 of the API":      {apiError(500, "internal", "storage is closed"), 500, `{"status":"error","errorType":"internal","error":"storage is closed"}`},
		"another error type":  {apiError(503, "503", "a storage node is unavailable"), 503, `{"status":"error","errorType":"unavailable","error":"a storage node is unavailable"}`},
		"422 without a store": {apiError(422, "execution", "No StoreAPIs available"), 503, `{"status":"error","errorType":"unavailable","error":"No StoreAPIs available"}`},
	} {
		t.Run(name, func(t *testing.T) {
			p, both := learnedTiers(t, toldByHot, toldByThanos)
			p.cold.Handle(test.fault)
			for _, query := range []string{"count_over_time(node_load1[30d])", "count_over_time(up[3h])"} {
				response, text := p.ask(t, both, promapi.Query, "/api/v1/query", url.Values{"query": {query}})
				require.Equal(t, []any{tier.Cold, test.status}, []any{response.Tier, response.Status}, query)
				require.JSONEq(t, test.expected, text)
				if name == "429 of the API" {
					require.Equal(t, "7", response.Header.Get("Retry-After"))
				}
			}
			require.Empty(t, p.hot.Requests(), "hot does not hold everything")
		})
	}
}

// If hot cannot answer either, the caller gets the error of cold: the rules chose cold.
func TestFallBack_ColdsErrorCountsIfHotFailsToo(t *testing.T) {
	limited := func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Retry-After", "7")
		apiError(429, "too_many_requests", "too many outstanding requests")(w, request)
	}
	for name, test := range map[string]struct {
		hot   http.HandlerFunc
		queue bool // of hot is full
	}{
		"hot's queue is full":         {hot: faketier.Success, queue: true},
		"hot is overloaded as well":   {hot: faketier.Status(503, "")},
		"hot is limited as well":      {hot: faketier.Status(429, "")},
		"hot closes the connection":   {hot: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		"hot is no Prometheus at all": {hot: faketier.Status(200, "<html>")},
	} {
		t.Run(name, func(t *testing.T) {
			p := newSplitTiers(t, told{})
			if test.queue {
				calls := admission.NewController(admission.Limits{Concurrent: 1, Wait: time.Millisecond}, nil)
				p.hotClient = probedTier(t, p.hot.URL, catalog.TierOptions{Name: tier.Hot, Calls: calls})
				fill(t, calls)
			}
			p.hot.Handle(test.hot)
			p.cold.Handle(limited)
			for _, strategy := range []tier.Strategy{tier.StrategySplit, tier.StrategyRoute} {
				query := p.rangeQuery(t, url.Values{"start": {promapi.FormatTime(time.Now().Add(-30 * time.Minute))}})
				query.Strategy = strategy
				response, err := do(t.Context(), query)
				require.NoError(t, err, "%s", strategy)
				require.Equal(t, []any{tier.Cold, 429, "7"}, []any{response.Tier, response.Status, response.Header.Get("Retry-After")}, "%s", strategy)
				require.JSONEq(t, `{"status":"error","errorType":"unavailable","error":"too many outstanding requests"}`, body(t, response))
			}
		})
	}
}

// fill takes the only slot of a tier until the end of the test.
func fill(t *testing.T, calls *admission.Controller) {
	t.Helper()
	entered := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = calls.Do(t.Context(), admission.Call{Send: func(ctx context.Context) (*http.Response, error) {
			close(entered)
			<-ctx.Done()
			return nil, ctx.Err()
		}})
	}()
	<-entered
	t.Cleanup(func() { <-done })
}

// Cold's queue in the gateway is full: hot's own queue decides whether it answers.
func TestFallBack_HotAnswersWhileColdsQueueIsFull(t *testing.T) {
	p := newSplitTiers(t, told{})
	calls := admission.NewController(admission.Limits{Concurrent: 1, Wait: time.Millisecond}, nil)
	p.coldClient = probedTier(t, p.cold.URL, catalog.TierOptions{Name: tier.Cold, Calls: calls})
	fill(t, calls)
	for _, strategy := range []tier.Strategy{tier.StrategySplit, tier.StrategyRoute} {
		query := p.rangeQuery(t, nil)
		query.Strategy = strategy
		response, err := do(t.Context(), query)
		require.NoError(t, err)
		require.Equal(t, []any{tier.Hot, tier.ReasonColdFailed}, []any{response.Tier, response.Reason}, "%s", strategy)
		_ = body(t, response)
	}
	require.True(t, p.coldClient.Status().Available)
	p.hot.Handle(exemplarsOf(`"a":"1"`, "a@1"))
	now := time.Now()
	_, text := p.ask(t, p.both, promapi.QueryExemplars, "/api/v1/query_exemplars", url.Values{
		"query": {"up"}, "start": {promapi.FormatTime(now.Add(-time.Hour))}, "end": {promapi.FormatTime(now)},
	})
	require.Contains(t, text, "the cold tier failed: what only that one holds is missing")
	query := p.rangeQuery(t, url.Values{"start": {promapi.FormatTime(time.Now().Add(-30 * 24 * time.Hour))}, "step": {"3600"}})
	query.Strategy = tier.StrategyRoute
	_, err := do(t.Context(), query)
	var refused *promapi.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, []any{503, promapi.ErrorUnavailable}, []any{refused.Status, refused.Type}, "hot does not hold it")
	require.NotZero(t, refused.RetryAfter)
}
