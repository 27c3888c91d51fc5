package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// dataOf decodes a successful answer of the gateway's own.
func dataOf(t *testing.T, response *http.Response, body string) map[string]any {
	t.Helper()
	require.Equal(t, http.StatusOK, response.StatusCode, body)
	var decoded struct {
		Status string         `json:"status"`
		Data   map[string]any `json:"data"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &decoded), body)
	require.Equal(t, "success", decoded.Status)
	return decoded.Data
}

// answerAtEnd answers a range query with a sample at its last step.
func answerAtEnd(w http.ResponseWriter, request *http.Request) {
	if !strings.HasSuffix(request.URL.Path, "/query_range") {
		faketier.Success(w, request)
		return
	}
	_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"x"},"values":[[%s,"1"]]}]}}`, request.FormValue("end"))
}

func TestExplain_AgreesWithTheQueryAndAsksNoTier(t *testing.T) {
	g := newGateway(t, nil)
	g.hot.Handle(answerAtEnd)
	g.cold.Handle(answerAtEnd)
	sentences := map[string]string{"hot": "hot answers: ", "cold": "cold answers: ", "hot,cold": "hot and cold answer: "}
	tiers := map[any]int{}
	end := time.Now().Truncate(time.Second)
	at := func(before time.Duration) string { return strconv.FormatInt(end.Add(-before).Unix(), 10) }
	for _, test := range []struct {
		values url.Values
		path   string
		choice string
	}{
		{url.Values{"query": {"rate(x[5m])"}, "start": {at(5 * time.Minute)}, "end": {at(0)}, "step": {"15"}}, "query_range", ""},
		{url.Values{"query": {"rate(x[5m])"}, "start": {at(time.Hour)}, "end": {at(0)}, "step": {"15"}}, "query_range", ""},
		{url.Values{"query": {"rate(x[30d])"}, "start": {at(5 * time.Minute)}, "end": {at(0)}, "step": {"15"}}, "query_range", ""},
		{url.Values{"query": {"x"}, "start": {at(time.Hour)}, "end": {at(0)}, "step": {"15"}}, "query_range", "hot"},
		{url.Values{"query": {"x"}, "start": {at(time.Minute)}, "end": {at(0)}, "step": {"15"}, "dedup": {"false"}}, "query_range", ""},
		{url.Values{"query": {"x offset 2d"}, "time": {at(0)}}, "query", ""},
		{url.Values{"query": {"a query that nobody parses"}, "time": {at(0)}}, "query", ""},
		{url.Values{"match[]": {"x"}, "start": {at(time.Minute)}, "endpoint": {"series"}}, "series", ""},
		{url.Values{"endpoint": {"labels"}}, "labels", ""},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			target, body := "?"+test.values.Encode(), ""
			if method == http.MethodPost {
				target, body = "", test.values.Encode()
			}
			before := len(g.hot.Requests()) + len(g.cold.Requests())
			explained, text := g.ask(t, method, "/api/v1/datasources/explain"+target, body, "X-Tier-Choice", test.choice)
			require.Equal(t, before, len(g.hot.Requests())+len(g.cold.Requests()), "explaining a query does not run it")
			data := dataOf(t, explained, text)
			asked, text := g.ask(t, method, "/api/v1/"+test.path+target, body, "X-Tier-Choice", test.choice)
			require.Equal(t, http.StatusOK, asked.StatusCode, text)
			require.Equal(t, asked.Header.Get("X-Tier"), data["tier"], test.values)
			require.Equal(t, asked.Header.Get("X-Tier-Reason"), data["reason"], test.values)
			require.Contains(t, data["sentence"], sentences[data["tier"].(string)])
			tiers[data["tier"]]++
		}
	}
	require.Len(t, tiers, len(sentences), "all of them answered something")
	_, text := g.ask(t, http.MethodGet, "/api/v1/datasources/explain?query=rate(x[5m])&start=1000000000&end=1000000300&step=15", "")
	var decoded struct {
		Data struct {
			Threshold string
			Extent    struct {
				Oldest, Newest, Span string
			}
			Hot, Cold map[string]any
		}
	}
	require.NoError(t, json.Unmarshal([]byte(text), &decoded))
	require.Equal(t, "15m", decoded.Data.Threshold)
	require.Equal(t, "2001-09-09T01:41:40.001Z 2001-09-09T01:51:40Z 5m", decoded.Data.Extent.Oldest+" "+decoded.Data.Extent.Newest+" "+decoded.Data.Extent.Span)
	require.Equal(t, g.hot.URL, decoded.Data.Hot["endpoint"])
	require.Equal(t, true, decoded.Data.Hot["available"])
	require.Contains(t, decoded.Data.Hot, "coverage_start")
	require.Contains(t, decoded.Data.Cold, "coverage_end")
}

// TestExplain_ValuesOfAnExternalLabel explains why cold answers a request for the values of an external
// label, and what hot does while cold is down.
func TestExplain_ValuesOfAnExternalLabel(t *testing.T) {
	hot, cold := faketier.Start(t), faketier.Start(t)
	hot.HandleProbes(faketier.Telling(map[string]string{
		"/status/config": `{"yaml":"global: {external_labels: {cluster: lab}}"}`, "/label/__name__": `["up"]`, "/label/cluster": `[]`,
	}))
	cold.HandleProbes(faketier.Telling(map[string]string{"/stores": `{"sidecar":[{"name":"a","lastError":null,"labelSets":[{"cluster":"lab"}],"minTime":0,"maxTime":9223372036854775807}]}`}))
	hot.Handle(faketier.Status(200, `{"status":"success","data":[{"__name__":"up"}]}`))
	cold.Handle(faketier.Status(200, `{"status":"success","data":["lab"]}`))
	g := newGatewayAt(t, hot, cold, func(settings *config.Config) { settings.Probe.Interval = config.Duration(200 * time.Millisecond) })
	parameters := url.Values{"match[]": {"up"}, "start": {strconv.FormatInt(time.Now().Add(-time.Minute).Unix(), 10)}}.Encode()
	agree := func(tier, reason, why string) {
		t.Helper()
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			asked, text := g.ask(t, http.MethodGet, "/api/v1/label/cluster/values?"+parameters, "")
			assert.Equal(c, []any{tier, reason}, []any{asked.Header.Get("X-Tier"), asked.Header.Get("X-Tier-Reason")}, text)
			assert.Contains(c, text, `"data":["lab"]`)
			explained, text := g.ask(t, http.MethodGet, "/api/v1/datasources/explain?endpoint=label_values&label=cluster&"+parameters, "")
			data := dataOf(t, explained, text)
			assert.Equal(c, []any{tier, reason}, []any{data["tier"], data["reason"]})
			assert.Contains(c, data["sentence"], why)
		}, 30*time.Second, 20*time.Millisecond)
	}
	agree("cold", "not-in-hot", "cold answers: hot has only its own value of its external label cluster")
	cold.HandleProbes(faketier.Status(503, ""))
	cold.Handle(faketier.Status(503, ""))
	agree("hot", "cold-unavailable", "hot answers: the cold tier is unavailable, and hot has its own value of the external label")
}

func TestExplain_ReportsMistakes(t *testing.T) {
	g := newGateway(t, nil)
	for target, expected := range map[string]string{
		"?query=x&start=0&end=1&step=soon":        `invalid parameter "step"`,
		"?query=x&endpoint=targets":               `invalid parameter "endpoint": "targets" is none of label_values, labels, query`,
		"?query=x&query=y":                        `parameter "query" is given more than once`,
		"?query=x&start=10&end=1&step=1&step=1.0": `parameter "step" is given more than once`,
	} {
		response, body := g.ask(t, http.MethodGet, "/api/v1/datasources/explain"+target, "")
		require.Equal(t, http.StatusBadRequest, response.StatusCode)
		var decoded struct{ Status, ErrorType, Error string }
		require.NoError(t, json.Unmarshal([]byte(body), &decoded))
		require.Equal(t, "bad_data", decoded.ErrorType)
		require.Contains(t, decoded.Error, expected)
	}
	response, _ := g.ask(t, http.MethodDelete, "/api/v1/datasources/explain", "")
	require.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
}

// check posts a spec with these tiers and returns the report.
func (g *served) check(t *testing.T, tiers string) map[string]any {
	t.Helper()
	response, body := g.ask(t, http.MethodPost, "/api/v1/datasources/check",
		`{`+tiers+`"proxy":{"kind":"HTTPProxy","spec":{"url":"http://tierproxy/proxy/globaldatasources/metrics"}}}`, "Content-Type", "application/json")
	return dataOf(t, response, body)
}

func tierOf(t *testing.T, report map[string]any, name string) map[string]any {
	t.Helper()
	tiers, ok := report["tiers"].(map[string]any)
	require.True(t, ok)
	found, ok := tiers[name].(map[string]any)
	require.True(t, ok, report)
	return found
}

func TestCheck_ReportsOnEachTier(t *testing.T) {
	other := faketier.Start(t)
	g := newGateway(t, func(settings *config.Config) {
		settings.Destinations = []config.DestinationConfig{{Host: "127.0.0.1"}, {Host: "nowhere.invalid"}, {Host: "localhost.example.invalid"}}
	})
	report := g.check(t, "")
	require.Equal(t, true, report["ok"], report)
	require.Empty(t, report["mistakes"])
	hot := tierOf(t, report, "hot")
	require.Equal(t, []any{"gateway", "ok", g.hot.URL}, []any{hot["source"], hot["state"], hot["address"]})
	require.Contains(t, hot, "oldest_sample")
	require.Greater(t, hot["latency_seconds"], 0.0)
	require.NotContains(t, tierOf(t, report, "cold"), "oldest_sample")

	other.HandleProbes(func(w http.ResponseWriter, r *http.Request) {
		faketier.Success(w, r)
	})
	for tiers, expected := range map[string]string{
		`"cold":{"url":"` + other.URL + `"},`:                              "ok",
		`"cold":{"url":"http://127.0.0.1:1"},`:                             "refused",
		`"cold":{"url":"http://nowhere.invalid"},`:                         "name-not-found",
		`"cold":{"url":"https://` + other.Listener.Addr().String() + `"},`: "tls",
		`"cold":{"url":"http://not-listed:9090"},`:                         "denied-by-policy",
		`"cold":{"url":"http://169.254.169.254/latest/meta-data"},`:        "denied-by-policy",
		`"cold":{"url":"http://[::1]:9090"},`:                              "denied-by-policy",
		`"cold":{"service":{"namespace":"monitoring","name":"thanos"}},`:   "service-unresolved",
	} {
		report := g.check(t, tiers)
		cold := tierOf(t, report, "cold")
		require.Equal(t, expected, cold["state"], "%s: %v", tiers, cold)
		require.Equal(t, expected == "ok", report["ok"])
		require.NotEmpty(t, cold["message"])
		require.Equal(t, "datasource", cold["source"])
	}
	for status, expected := range map[int]string{401: "unauthorized", 403: "unauthorized", 404: "not-prometheus", 302: "not-prometheus", 200: "not-prometheus"} {
		other.HandleProbes(faketier.Status(status, `{"secret":"of another server"}`))
		report := g.check(t, `"cold":{"url":"`+other.URL+`"},`)
		require.Equal(t, expected, tierOf(t, report, "cold")["state"], status)
		text, err := json.Marshal(report)
		require.NoError(t, err)
		require.NotContains(t, string(text), "of another server")
	}
	report = g.check(t, `"threshold":"soon","hot":{"url":"x","retention":"0s"},`)
	require.Equal(t, false, report["ok"])
	require.Len(t, report["mistakes"], 3, "%v", report)
	require.Empty(t, report["tiers"])
	response, body := g.ask(t, http.MethodPost, "/api/v1/datasources/check", "no JSON")
	require.Equal(t, []any{map[string]any{"field": "spec", "message": "must be an object"}}, dataOf(t, response, body)["mistakes"])
	response, _ = g.ask(t, http.MethodGet, "/api/v1/datasources/check", "")
	require.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
}

func TestExplain_SaysWhatToDoForAQueryThatIsNotCut(t *testing.T) {
	g := newGateway(t, func(settings *config.Config) { settings.Routing.Strategy = "split" })
	now := time.Now()
	at := func(before time.Duration) string { return strconv.FormatInt(now.Add(-before).Unix(), 10) }
	for query, remedy := range map[string]any{"max_over_time(up[1h:])": "write the step of each subquery, as in [1h:1m]", "max_over_time(up[1h:1m])": nil} {
		values := url.Values{"query": {query}, "start": {at(2 * time.Hour)}, "end": {at(0)}, "step": {"60"}}
		response, text := g.ask(t, http.MethodGet, "/api/v1/datasources/explain?"+values.Encode(), "")
		require.Equal(t, remedy, dataOf(t, response, text)["not_cut_remedy"], text)
	}
}

// TestExplain_SaysThatAQueryCannotBeParsed explains texts that are no PromQL. A remedy about the tiers
// would mislead.
func TestExplain_SaysThatAQueryCannotBeParsed(t *testing.T) {
	g := newGateway(t, func(settings *config.Config) { settings.Routing.Strategy = "split" })
	const unclosed = "1:5: parse error: unclosed left parenthesis"
	for query, expected := range map[string]any{"query=foo%28": unclosed, "query=foo%28&start=0&end=60&step=15": unclosed, "query=foo": nil, "endpoint=labels": nil} {
		response, text := g.ask(t, http.MethodGet, "/api/v1/datasources/explain?"+query, "")
		data := dataOf(t, response, text)
		require.Equal(t, expected, data["parse_error"], text)
		if expected != nil {
			require.NotContains(t, data, "not_cut_remedy")
		}
	}
}
