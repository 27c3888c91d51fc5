package engine

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// told is what a fake tier answers to the gateway's own questions, by a part of
// the path or of the query; the rest is as in faketier.
type told map[string]string

func (answers told) handler() http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		if strings.HasSuffix(request.URL.Path, "/series") && strings.Contains(request.URL.Query().Get("match[]"), "!=") {
			_, _ = fmt.Fprintf(w, `{"status":"success","data":%s}`, answers.ofOthers(request.URL.Query().Get("match[]")))
			return
		}
		asked := request.URL.Path + "?" + request.URL.Query().Get("query") + strings.Join(request.URL.Query()["match[]"], " ")
		for part, data := range answers {
			if strings.Contains(asked, part) {
				_, _ = fmt.Fprintf(w, `{"status":"success","data":%s}`, data)
				return
			}
		}
		if strings.HasSuffix(request.URL.Path, "/label/replica/values") {
			_, _ = fmt.Fprint(w, `{"status":"success","data":[]}`)
			return
		}
		faketier.Probes(w, request)
	}
}

// ofOthers returns a series of another source that a selector names, of the names at "others".
func (answers told) ofOthers(selector string) string {
	for _, name := range strings.Fields(answers["others"]) {
		if regexp.MustCompile(`["|]` + name + `["|]`).MatchString(selector) {
			return fmt.Sprintf(`[{"__name__":%q}]`, name)
		}
	}
	return "[]"
}

// learnedTiers are two fakes that tell who they are.
func learnedTiers(t *testing.T, hot, cold told) (*tiers, *catalog.Catalog) {
	t.Helper()
	return laggingTiers(t, hot, cold, 0)
}

// laggingTiers is a learnedTiers whose cold tier is behind.
func laggingTiers(t *testing.T, hot, cold told, lag time.Duration) (*tiers, *catalog.Catalog) {
	t.Helper()
	p := &tiers{hot: faketier.New(), cold: faketier.New()}
	t.Cleanup(p.hot.Close)
	t.Cleanup(p.cold.Close)
	p.hot.HandleProbes(hot.handler())
	p.cold.HandleProbes(cold.handler())
	p.hotClient, p.coldClient = probed(t, tier.Hot, p.hot.URL), probedTier(t, p.cold.URL, catalog.TierOptions{Name: tier.Cold, TierSettings: catalog.TierSettings{Lag: lag}})
	return p, catalogOf(t, p.hotClient, p.coldClient)
}

// catalogOf returns the catalog of two tiers, which has learned.
func catalogOf(t *testing.T, hot, cold *catalog.Tier) *catalog.Catalog {
	t.Helper()
	both := catalog.New(catalog.Options{Hot: hot, Cold: cold, LearnInterval: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { both.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	both.Wait(t.Context())
	require.Empty(t, both.Snapshot().Error)
	return both
}

var (
	toldByHot = told{
		"/status/config": `{"yaml":"global:\n  scrape_interval: 30s\n  evaluation_interval: 30s\n  external_labels: {cluster: lab, replica: a}\n"}`,
		"/status/flags":  `{"query.lookback-delta":"5m"}`, "/label/__name__": `["up","node_load1"]`, "/label/cluster": `[]`,
	}
	toldByThanos = told{
		"/status/flags": `{"query.replica-label":"[replica]","query.default-evaluation-interval":"1m0s","query.auto-downsampling":"true","query.lookback-delta":"7m"}`,
		"/stores": `{"sidecar":[{"name":"a","lastError":null,"labelSets":[{"cluster":"lab","replica":"a"},{"cluster":"lab","replica":"b"}],"minTime":0,"maxTime":9223372036854775807}],
			"store":[{"name":"b","lastError":null,"labelSets":[{"cluster":"other"}],"minTime":0,"maxTime":9223372036854775807}]}`,
		"others": "up",
	}
)

func (p *tiers) ask(t *testing.T, both *catalog.Catalog, endpoint promapi.Endpoint, path string, parameters url.Values) (*Response, string) {
	t.Helper()
	request, err := promapi.NewRequest(endpoint, path, parameters, time.Now())
	require.NoError(t, err)
	response, err := do(t.Context(), asking{Request: request, Hot: p.hotClient, Cold: p.coldClient, Catalog: both, Threshold: 15 * time.Minute, Timeout: 5 * time.Second})
	require.NoError(t, err)
	return response, body(t, response)
}

func TestPlan_FollowsTheCatalog(t *testing.T) {
	_, both := learnedTiers(t, toldByHot, toldByThanos)
	learned := both.Snapshot()
	require.Equal(t, map[string]string{"cluster": "lab"}, learned.Evidence.HotLabels, "without the replica label")
	require.Equal(t, learned.Evidence.HotLabels, learned.Evidence.InjectedLabels)
	require.Equal(t, []map[string]string{{"cluster": "lab"}, {"cluster": "other"}}, learned.Evidence.Sources)
	require.Equal(t, []any{30 * time.Second, time.Minute}, []any{learned.Hot.EvaluationInterval, learned.Cold.EvaluationInterval})
	require.True(t, learned.Cold.AutoDownsampling)
	require.Empty(t, learned.AssumedReason)

	// A cold tier that lists no stores is asked for the values of hot's labels.
	_, both = learnedTiers(t, told{
		"/status/config": `{"yaml":"global: {external_labels: {cluster: lab}}"}`, "/label/__name__": `["up"]`, "/label/cluster": `[]`,
	}, told{
		`/label/cluster/values`: `["lab","third"]`,
	})
	require.Equal(t, []map[string]string{{"cluster": "lab"}, {}, {"cluster": "third"}}, both.Snapshot().Evidence.Sources)

	// One that does not have hot's labels cannot tell.
	_, both = learnedTiers(t, toldByHot, told{"/label/": `[]`, "/series": `[]`})
	require.False(t, both.Snapshot().Evidence.SourcesKnown)
	require.Empty(t, both.Snapshot().Evidence.InjectedLabels)
	require.Contains(t, both.Snapshot().AssumedReason, "assumed")
}

func TestRetry_RewrittenQueryThatFailsGoesToCold(t *testing.T) {
	p, both := learnedTiers(t, toldByHot, toldByThanos)
	p.hot.Handle(faketier.Status(422, `{"status":"error","errorType":"execution","error":"vector cannot contain metrics with the same labelset"}`))
	response, text := p.ask(t, both, promapi.Query, "/api/v1/query", url.Values{"query": {"node_load1"}})
	require.Equal(t, []any{tier.Cold, tier.ReasonHotFailed, 200}, []any{response.Tier, response.Reason, response.Status}, text)
	require.Contains(t, p.hot.Requests()[0].Parameters.Get("query"), `label_replace(node_load1, "cluster", "lab", "", "")`)
	require.Equal(t, "node_load1", p.cold.Requests()[0].Parameters.Get("query"), "as it was written")
	// What was not rewritten fails as it is.
	response, _ = p.ask(t, both, promapi.Query, "/api/v1/query", url.Values{"query": {"sum(node_load1)"}})
	require.Equal(t, []any{tier.Hot, 422}, []any{response.Tier, response.Status})
	// Where cold fails too, it is not the rewriting.
	p.cold.Handle(faketier.Status(400, `{"status":"error","errorType":"bad_data","error":"unknown function"}`))
	response, _ = p.ask(t, both, promapi.Query, "/api/v1/query", url.Values{"query": {"node_load1"}})
	require.Equal(t, []any{tier.Hot, 422}, []any{response.Tier, response.Status})
}

func TestRetry_EmptyAnswerOfHotGoesToCold(t *testing.T) {
	p, both := learnedTiers(t, told{"/label/__name__": `["up"]`}, told{})
	const nothing = `{"status":"success","data":{"resultType":"vector","result":[]}}`
	p.hot.Handle(faketier.Status(200, nothing))
	for range 3 {
		response, text := p.ask(t, both, promapi.Query, "/api/v1/query", url.Values{"query": {`up{job="x"}`}})
		require.Equal(t, []any{tier.Cold, tier.ReasonHotEmpty}, []any{response.Tier, response.Reason})
		require.JSONEq(t, faketier.Vector("1"), text)
	}
	require.Len(t, p.hot.Requests(), 1, "it is remembered for a while")
	// What hot does not have at all goes to cold at once.
	response, _ := p.ask(t, both, promapi.Query, "/api/v1/query", url.Values{"query": {`other`}})
	require.Equal(t, []any{tier.Cold, tier.ReasonNotInHot}, []any{response.Tier, response.Reason})
	// If cold fails, nothing is what there is.
	p.cold.Handle(faketier.Status(503, ""))
	response, text := p.ask(t, both, promapi.Query, "/api/v1/query", url.Values{"query": {`up{job="y"}`}})
	require.Equal(t, []any{tier.Hot, tier.ReasonBelowThreshold}, []any{response.Tier, response.Reason})
	require.JSONEq(t, nothing, text)
}

func TestFallBack_HotAnswersAfterColdFailed(t *testing.T) {
	p, both := learnedTiers(t, told{"/label/__name__": `["up"]`}, told{})
	p.cold.Handle(faketier.Status(503, ""))
	response, text := p.ask(t, both, promapi.Query, "/api/v1/query", url.Values{"query": {`count_over_time(up[1h])`}})
	require.Equal(t, []any{tier.Hot, tier.ReasonColdFailed}, []any{response.Tier, response.Reason})
	require.Contains(t, text, "only assumed that hot has every series")
	response, text = p.ask(t, both, promapi.Query, "/api/v1/query", url.Values{"query": {`count_over_time(up[30d])`}})
	require.Equal(t, []any{tier.Cold, 503}, []any{response.Tier, response.Status}, "hot does not hold it")
	require.JSONEq(t, `{"status":"error","errorType":"unavailable","error":"the cold tier answered with status 503 (Service Unavailable)"}`, text)
}

func TestPlan_MakesDefaultsExplicit(t *testing.T) {
	p, both := learnedTiers(t, toldByHot, toldByThanos)
	ask := func(parameters url.Values) url.Values {
		t.Helper()
		response, _ := p.ask(t, both, promapi.QueryRange, "/api/v1/query_range", parameters)
		require.Equal(t, tier.Cold, response.Tier)
		requests := p.cold.Requests()
		return requests[len(requests)-1].Parameters
	}
	end := time.Now()
	over := func(span time.Duration, query, step string) url.Values {
		return url.Values{"query": {query}, "start": {fmt.Sprint(end.Add(-span).Unix())}, "end": {fmt.Sprint(end.Unix())}, "step": {step}}
	}
	seen := ask(over(time.Hour, "max_over_time(node_load1[1h:])", "60"))
	require.Equal(t, []string{"max_over_time(node_load1[1h:30s])", "5m", ""}, []string{seen.Get("query"), seen.Get("lookback_delta"), seen.Get("max_source_resolution")})
	seen = ask(over(20*time.Hour, "sum(node_load1)", "1800"))
	require.Equal(t, []string{"sum(node_load1)", "0s"}, []string{seen.Get("query"), seen.Get("max_source_resolution")}, "hot holds it raw")
	values := over(20*time.Hour, "sum(node_load1)", "1800")
	values.Set("lookback_delta", "1m")
	require.Equal(t, "1m", ask(values).Get("lookback_delta"), "the caller's own wins")

	response, text := p.ask(t, both, promapi.QueryRange, "/api/v1/query_range", over(240*time.Hour, "sum(node_load1)", "1800"))
	require.Equal(t, tier.Cold, response.Tier)
	require.Contains(t, text, "downsamples by itself")
}

func TestPlan_MakesDefaultsOfThanosExplicit(t *testing.T) {
	told := maps.Clone(toldByThanos)
	told["/status/flags"] = `{"query.replica-label":"[replica]","query.instant.default.max_source_resolution":"1h","query.metadata.default-time-range":"24h0m0s"}`
	p, both := learnedTiers(t, toldByHot, told)
	ask := func(endpoint promapi.Endpoint, path string, parameters url.Values) (url.Values, string) {
		t.Helper()
		response, text := p.ask(t, both, endpoint, path, parameters)
		require.Equal(t, tier.Cold, response.Tier)
		requests := p.cold.Requests()
		return requests[len(requests)-1].Parameters, text
	}
	seen, text := ask(promapi.Query, "/api/v1/query", url.Values{"query": {"count_over_time(node_load1[1h])"}})
	require.Equal(t, "0s", seen.Get("max_source_resolution"))
	require.NotContains(t, text, "downsamples")
	_, text = ask(promapi.Query, "/api/v1/query", url.Values{"query": {"count_over_time(node_load1[30d])"}})
	require.Contains(t, text, "downsamples by itself", "it may have no raw data that old")
	for endpoint, path := range map[promapi.Endpoint]string{promapi.Series: "/api/v1/series", promapi.Labels: "/api/v1/labels", promapi.LabelValues: "/api/v1/label/job/values"} {
		seen, _ = ask(endpoint, path, url.Values{"match[]": {"up"}})
		require.Equal(t, "0", seen.Get("start"), "from the beginning, as with hot")
		seen, _ = ask(endpoint, path, url.Values{"match[]": {"up"}, "start": {"7"}})
		require.Equal(t, "7", seen.Get("start"))
	}
}

func TestPlan_ColdThatIsNoPrometheusGetsAStart(t *testing.T) {
	for name, test := range map[string]struct {
		cold  told
		start string
	}{
		"a store that does not show its configuration": {told{"/label/": `[]`, "/series": `[]`}, "0"},
		"a store with an empty configuration":          {told{"/label/": `[]`, "/series": `[]`, "/status/config": `{"yaml":""}`}, "0"},
		"a Prometheus":                                 {told{"/label/": `[]`, "/series": `[]`, "/status/config": `{"yaml":"global: {}"}`}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, both := learnedTiers(t, toldByHot, test.cold)
			_, _ = p.ask(t, both, promapi.LabelValues, "/api/v1/label/job/values", url.Values{"match[]": {"elsewhere"}})
			require.Equal(t, test.start, p.cold.Requests()[0].Parameters.Get("start"))
		})
	}
}

func TestDecode_MetadataOfHotGetsItsExternalLabels(t *testing.T) {
	p, both := learnedTiers(t, toldByHot, toldByThanos)
	window := url.Values{"start": {fmt.Sprint(time.Now().Add(-5 * time.Minute).Unix())}, "match[]": {`node_load1{cluster="lab"}`}}
	p.hot.Handle(faketier.Status(200, `{"status":"success","data":[{"__name__":"node_load1","job":"a"}]}`))
	response, text := p.ask(t, both, promapi.Series, "/api/v1/series", window)
	require.Equal(t, tier.Hot, response.Tier)
	require.JSONEq(t, `{"status":"success","data":[{"__name__":"node_load1","job":"a","cluster":"lab"}]}`, text)
	require.Equal(t, `{__name__="node_load1"}`, p.hot.Requests()[0].Parameters.Get("match[]"))
	p.hot.Handle(faketier.Status(200, `{"status":"success","data":["__name__","job"]}`))
	_, text = p.ask(t, both, promapi.Labels, "/api/v1/labels", window)
	require.JSONEq(t, `{"status":"success","data":["__name__","cluster","job"]}`, text)
	response, _ = p.ask(t, both, promapi.LabelValues, "/api/v1/label/cluster/values", window)
	require.Equal(t, []any{tier.Cold, tier.ReasonNotInHot}, []any{response.Tier, response.Reason})
}

func TestUnite_JoinsBothTiers(t *testing.T) {
	lagging := told{"max(timestamp(up{": fmt.Sprintf(`{"resultType":"vector","result":[{"metric":{},"value":[1,"%d"]}]}`, time.Now().Add(-2*time.Hour).Unix())}
	for part, data := range toldByThanos {
		lagging[part] = data
	}
	p, both := learnedTiers(t, toldByHot, lagging)
	p.hot.Handle(faketier.Status(200, `{"status":"success","data":["b","d"],"warnings":["of hot"]}`))
	p.cold.Handle(faketier.Status(200, `{"status":"success","data":["a","b","c"]}`))
	parameters := url.Values{"match[]": {"node_load1"}}
	response, text := p.ask(t, both, promapi.LabelValues, "/api/v1/label/job/values", parameters)
	require.Equal(t, []any{tier.Both, tier.ReasonOlderThanHot}, []any{response.Tier, response.Reason})
	require.JSONEq(t, `{"status":"success","data":["a","b","c","d"],"warnings":["of hot"]}`, text)
	parameters.Set("limit", "3")
	_, text = p.ask(t, both, promapi.LabelValues, "/api/v1/label/job/values", parameters)
	require.JSONEq(t, `{"status":"success","data":["a","b","c"],"warnings":["of hot","results truncated due to limit"]}`, text)

	p.hot.Handle(faketier.Hang)
	request, err := promapi.NewRequest(promapi.LabelValues, "/api/v1/label/job/values", parameters, time.Now())
	require.NoError(t, err)
	response, err = do(t.Context(), asking{Request: request, Hot: p.hotClient, Cold: p.coldClient, Catalog: both, Threshold: time.Minute, Timeout: 300 * time.Millisecond})
	require.NoError(t, err)
	require.Contains(t, body(t, response), "the hot tier failed: what only that one holds is missing")
}

func TestUnite_JoinsRulesAndAlerts(t *testing.T) {
	p, both := learnedTiers(t, toldByHot, toldByThanos)
	group := func(name, rule, more string) string {
		return fmt.Sprintf(`{"name":%q,"file":"f.yml","rules":[{"type":"alerting","name":%q,"query":"up == 0"%s}]}`, name, rule, more)
	}
	tagged := func(group, of string) string {
		if of != "cold" {
			of += `","source":"{cluster=\"lab\"}`
		}
		return strings.Replace(group, `{"name"`, `{"tier":"`+of+`","name"`, 1)
	}
	groups := func(list ...string) string {
		return `{"status":"success","data":{"groups":[` + strings.Join(list, ",") + `]}}`
	}
	own, shared, ofRuler := group("own", "A", `,"health":"ok"`), group("shared", "B", `,"lastEvaluation":"now"`), group("ruler", "A", "")
	p.hot.Handle(faketier.Status(200, groups(own, shared)))
	p.cold.Handle(faketier.Status(200, groups(group("shared", "B", `,"lastEvaluation":"earlier","labels":{"cluster":"lab"}`), ofRuler)))
	response, text := p.ask(t, both, promapi.Rules, "/api/v1/rules", url.Values{"group_limit": {"1"}, "type": {"alert"}})
	require.Equal(t, []any{tier.Both, tier.ReasonNotInHot}, []any{response.Tier, response.Reason})
	require.JSONEq(t, groups(tagged(own, "hot"), tagged(shared, "hot,cold"), tagged(ofRuler, "cold")), text)
	for _, each := range []*faketier.Tier{p.hot, p.cold} {
		requests := each.Requests()
		require.Equal(t, url.Values{"type": {"alert"}}, requests[len(requests)-1].Parameters, "the union has no pages")
	}

	alerts := func(list ...string) string {
		return `{"status":"success","data":{"alerts":[` + strings.Join(list, ",") + `]}}`
	}
	p.hot.Handle(faketier.Status(200, alerts(`{"labels":{"alertname":"A"},"state":"firing"}`, `{"labels":{"alertname":"B"},"state":"pending"}`)))
	p.cold.Handle(faketier.Status(200, alerts(`{"labels":{"alertname":"B","cluster":"lab"},"state":"inactive"}`, `{"labels":{"alertname":"A","cluster":"other"},"state":"firing"}`)))
	_, text = p.ask(t, both, promapi.Alerts, "/api/v1/alerts", url.Values{})
	require.JSONEq(t, alerts(
		`{"labels":{"alertname":"A","cluster":"lab"},"state":"firing","tier":"hot","source":"{cluster=\"lab\"}"}`,
		`{"labels":{"alertname":"B","cluster":"lab"},"state":"pending","tier":"hot,cold","source":"{cluster=\"lab\"}"}`,
		`{"labels":{"alertname":"A","cluster":"other"},"state":"firing","tier":"cold"}`,
	), text)

	// A store without rules has none to add; one that fails may have.
	p.cold.Handle(faketier.Status(404, "404 page not found"))
	response, text = p.ask(t, both, promapi.Rules, "/api/v1/rules", url.Values{})
	require.Equal(t, []any{tier.Hot, tier.ReasonOnlyTier}, []any{response.Tier, response.Reason})
	require.NotContains(t, text, "warnings")
	p.cold.Handle(faketier.Status(503, "down"))
	_, text = p.ask(t, both, promapi.Rules, "/api/v1/rules", url.Values{})
	require.Contains(t, text, "the cold tier failed: what only that one holds is missing")
}

func TestFinish_ErrorsReadLikeThoseOfPrometheus(t *testing.T) {
	p := newTiers(t)
	for _, test := range []struct {
		query, answer string
		status        int
		expected      string
	}{
		{"sum(", `{"status":"error","errorType":"bad_data","error":"words of Thanos"}`, 400,
			`{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis"}`},
		{"up", `{"status":"error","errorType":"execution","error":"expanding series: context deadline exceeded"}`, 422,
			`{"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}`},
		{"up", `{"status":"error","errorType":"execution","error":"something else"}`, 422, `{"status":"error","errorType":"execution","error":"something else"}`},
		{"up", `<html>forbidden</html>`, 403, `{"status":"error","errorType":"forbidden","error":"the cold tier answered with status 403 (Forbidden)"}`},
	} {
		p.cold.Handle(faketier.Status(test.status, test.answer))
		query := p.query(t, url.Values{"query": {test.query}})
		query.Hot = nil
		response, err := do(t.Context(), query)
		require.NoError(t, err)
		require.JSONEq(t, test.expected, body(t, response))
		if strings.Contains(test.expected, "timeout") {
			require.Equal(t, http.StatusServiceUnavailable, response.Status)
		}
	}
}

// A hot tier may be a Thanos Query or a VictoriaMetrics.
func TestDecode_LimitsQueries(t *testing.T) {
	for _, name := range tier.Names() {
		t.Run(string(name), func(t *testing.T) { testDecodeLimitsQueriesAt(t, name) })
	}
}

func testDecodeLimitsQueriesAt(t *testing.T, name tier.Name) {
	p := newTiers(t)
	asked := map[tier.Name]*faketier.Tier{tier.Hot: p.hot, tier.Cold: p.cold}[name]
	asked.Handle(faketier.Status(200, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"1"},"value":[1,"1"]},{"metric":{"a":"2"},"value":[1,"2"]}],"analysis":{}}}`))
	query := p.query(t, url.Values{"query": {"up"}, "limit": {"1"}})
	if name == tier.Cold {
		query.Hot = nil
	}
	response, err := do(t.Context(), query)
	require.NoError(t, err)
	require.Equal(t, name, response.Tier)
	require.JSONEq(t, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"1"},"value":[1,"1"]}],"analysis":{}},"warnings":["results truncated due to limit"]}`, body(t, response))
}

func TestRetry_EndpointThatOneTierDoesNotKnow(t *testing.T) {
	p := newTiers(t)
	p.hot.Handle(faketier.Status(404, "404 page not found"))
	request, err := promapi.NewRequest(promapi.Rules, "/api/v1/rules", url.Values{}, time.Now())
	require.NoError(t, err)
	query := p.query(t, up)
	query.Request = request
	response, err := do(t.Context(), query)
	require.NoError(t, err)
	require.Equal(t, []any{tier.Cold, tier.ReasonOnlyTier}, []any{response.Tier, response.Reason})
	require.NoError(t, response.Body.Close())
}

func TestPlan_RefusesSelectorsThatPrometheusRefuses(t *testing.T) {
	p, both := learnedTiers(t, toldByHot, toldByThanos)
	for _, wrong := range []struct {
		endpoint  promapi.Endpoint
		path      string
		matchers  []string
		complaint string
	}{
		{promapi.Series, "/api/v1/series", []string{"up", `{job=~".*"}`}, `invalid parameter "match[]": match[] must contain at least one non-empty matcher`},
		{promapi.Labels, "/api/v1/labels", []string{"{}"}, `match[] must contain at least one non-empty matcher`},
		{promapi.LabelValues, "/api/v1/label/job/values", []string{`{job=""}`}, `match[] must contain at least one non-empty matcher`},
	} {
		request, err := promapi.NewRequest(wrong.endpoint, wrong.path, url.Values{"match[]": wrong.matchers}, time.Now())
		require.NoError(t, err)
		_, err = do(t.Context(), asking{Request: request, Hot: p.hotClient, Cold: p.coldClient, Catalog: both, Threshold: 15 * time.Minute, Timeout: 5 * time.Second})
		requireError(t, err, http.StatusBadRequest, promapi.ErrorBadData, wrong.complaint)
	}
	require.Empty(t, append(p.hot.Requests(), p.cold.Requests()...), "no tier is asked")
}

// A tier that refuses a rewritten query names places in a text that the caller
// has never seen.
func TestFinish_PositionsAreThoseOfTheOriginalQuery(t *testing.T) {
	p, both := learnedTiers(t, toldByHot, toldByThanos)
	for _, each := range []*faketier.Tier{p.hot, p.cold} {
		each.Handle(func(w http.ResponseWriter, _ *http.Request) {
			requests := each.Requests()
			query := requests[len(requests)-1].Parameters.Get("query")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"status":"error","errorType":"bad_data","error":"1:%d: parse error: unknown"}`, 1+strings.Index(query, "node_load1"))
		})
	}
	response, text := p.ask(t, both, promapi.Query, "/api/v1/query", url.Values{"query": {`abs(node_load1)`}})
	require.Equal(t, http.StatusBadRequest, response.Status)
	require.JSONEq(t, `{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error: unknown"}`, text)
	requests := p.hot.Requests()
	require.Equal(t, `abs(node_load1)`, requests[len(requests)-1].Parameters.Get("query"))
}

func TestPlan_WarnsOfCounterResetsThatColdCorrects(t *testing.T) {
	p, both := learnedTiers(t, toldByHot, toldByThanos)
	p.cold.Handle(faketier.Status(200, faketier.Vector("7")))
	for query, warned := range map[string]bool{`resets(up[5m])`: true, `rate(up[5m:1m])`: true, `rate(up[5m])`: false, `up`: false} {
		response, _ := p.ask(t, both, promapi.Query, "/api/v1/query", url.Values{"query": {query}})
		require.Equal(t, tier.Cold, response.Tier)
		require.Equal(t, warned, strings.Contains(strings.Join(response.Warnings, " "), "corrects counter resets"), query)
	}
}
