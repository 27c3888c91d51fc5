package engine

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// becomes makes a fake a VictoriaMetrics, and waits until that is recognised.
func becomes(t *testing.T, fake *faketier.Tier, client *catalog.Tier, probes, queries http.HandlerFunc) {
	t.Helper()
	fake.HandleProbes(faketier.VictoriaMetricsProbes(probes))
	fake.Handle(faketier.AsVictoriaMetrics(queries))
	client.IsMetricsQL(http.Header{"X-Server-Hostname": {"vm-0"}}) // It has the tier probed.
	require.Eventually(t, client.SpeaksMetricsQL, 30*time.Second, time.Millisecond)
}

// newTiersInMetricsQL are tiers of which cold has been a VictoriaMetrics since it was first probed.
func newTiersInMetricsQL(t *testing.T, queries http.HandlerFunc) *tiers {
	t.Helper()
	p := newTiers(t)
	p.cold.HandleProbes(faketier.VictoriaMetricsProbes(faketier.Probes))
	p.cold.Handle(faketier.AsVictoriaMetrics(queries))
	p.coldClient = probed(t, tier.Cold, p.cold.URL)
	require.True(t, p.coldClient.SpeaksMetricsQL())
	return p
}

// aboutLanguage counts the warnings about the language in the text of an answer.
func aboutLanguage(t *testing.T, text string) (count int) {
	t.Helper()
	var answer struct{ Warnings []string }
	require.NoError(t, json.Unmarshal([]byte(text), &answer), text)
	for _, warning := range answer.Warnings {
		if promapi.IsAboutLanguage(warning) {
			count++
		}
	}
	return count
}

func TestAsk_AnswersInMetricsQLCarryOneWarning(t *testing.T) {
	for name, change := range map[string]func(*asking, *tiers){
		"cold is the only tier": func(query *asking, _ *tiers) { query.Hot = nil },
		"it is forced":          func(query *asking, _ *tiers) { query.Forced = tier.Cold },
		"hot fails":             func(_ *asking, p *tiers) { p.hot.Handle(faketier.Status(503, "")) },
		"a limit": func(query *asking, _ *tiers) {
			query.Hot, query.Request = nil, request(t, url.Values{"query": {"up"}, "limit": {"1"}})
		},
		"the tier has warnings": func(query *asking, p *tiers) {
			query.Hot = nil
			p.cold.Handle(faketier.AsVictoriaMetrics(faketier.Status(200, `{"status":"success","warnings":["a"],"data":{"resultType":"vector","result":[]}}`)))
		},
		"the caller has a nocache": func(query *asking, _ *tiers) {
			query.Hot, query.Request = nil, request(t, url.Values{"query": {"up"}, "nocache": {"0"}})
		},
		"the proxy hides the header": func(query *asking, p *tiers) { query.Hot = nil; p.cold.Handle(faketier.Success) },
		"the answer is compressed": func(query *asking, p *tiers) {
			query.Hot = nil
			query.Request.Header = http.Header{"Accept-Encoding": {"gzip"}}
			p.cold.Handle(faketier.AsVictoriaMetrics(compressed(t, faketier.Vector("1"))))
		},
		"the client knows brotli only": func(query *asking, _ *tiers) {
			query.Hot = nil
			query.Request.Header = http.Header{"Accept-Encoding": {"br"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newTiersInMetricsQL(t, faketier.Success)
			query := p.query(t, up)
			change(&query, p)
			response, err := do(t.Context(), query)
			require.NoError(t, err)
			require.Equal(t, tier.Cold, response.Tier)
			require.Equal(t, 1, aboutLanguage(t, body(t, response)))
			require.True(t, response.IsApart())
			require.Len(t, p.cold.Requests(), 1)
			require.Equal(t, []string{"1"}, p.cold.Requests()[0].Parameters["nocache"])
			for _, asked := range p.hot.Requests() {
				require.False(t, asked.Parameters.Has("nocache"), "hot is a Prometheus")
			}
		})
	}
}

func TestAsk_MetadataOfVictoriaMetricsCarriesNoWarning(t *testing.T) {
	p := newTiersInMetricsQL(t, faketier.Status(200, `{"status":"success","data":["a"]}`))
	query := p.query(t, up)
	query.Hot = nil
	var err error
	query.Request, err = promapi.NewRequest(promapi.Labels, "/api/v1/labels", url.Values{}, time.Now())
	require.NoError(t, err)
	response, err := do(t.Context(), query)
	require.NoError(t, err)
	require.JSONEq(t, `{"status":"success","data":["a"]}`, body(t, response))
	require.False(t, p.cold.Requests()[0].Parameters.Has("nocache"))
}

func TestRetry_EndpointThatVictoriaMetricsDoesNotKnow(t *testing.T) {
	p := newTiersInMetricsQL(t, faketier.Status(400, `unsupported path requested: "/api/v1/format_query"`))
	query := p.query(t, up)
	query.Hot, query.Cold = p.coldClient, p.hotClient // Hot is the VictoriaMetrics.
	p.hot.Handle(faketier.Status(200, `{"status":"success","data":"a + b"}`))
	var err error
	query.Request, err = promapi.NewRequest(promapi.FormatQuery, "/api/v1/format_query", url.Values{"query": {"a+b"}}, time.Now())
	require.NoError(t, err)
	response, err := do(t.Context(), query)
	require.NoError(t, err)
	require.Equal(t, []any{200, tier.ReasonOnlyTier}, []any{response.Status, response.Reason})
	require.JSONEq(t, `{"status":"success","data":"a + b"}`, body(t, response))
}

// A Prometheus as hot would answer without the filter.
func TestPlan_FiltersOfVictoriaMetricsGoToCold(t *testing.T) {
	for _, name := range filterParameters {
		p := newTiersInMetricsQL(t, faketier.Success)
		query := p.query(t, url.Values{"query": {"up"}, name: {"namespace=shop"}})
		query.QueryParams = map[string]string{name: "namespace=shop"}
		planned, err := plan(t.Context(), query)
		require.NoError(t, err)
		require.Equal(t, []any{tier.Cold, tier.ReasonColdParameter}, []any{planned.Tier, planned.Reason}, name)

		other := newTiers(t)
		query = other.query(t, url.Values{"query": {"up"}, name: {"namespace=shop"}})
		planned, err = plan(t.Context(), query)
		require.NoError(t, err)
		require.Equal(t, []any{tier.Hot, tier.ReasonBelowThreshold}, []any{planned.Tier, planned.Reason}, "neither tier knows it")
	}
}

// A Prometheus is replaced by a VictoriaMetrics at the same address.
func TestAsk_RecognisesVictoriaMetricsByItsFirstAnswer(t *testing.T) {
	p := newTiers(t)
	query := p.query(t, up)
	query.Hot = nil
	p.cold.HandleProbes(faketier.VictoriaMetricsProbes(faketier.Probes))
	p.cold.Handle(faketier.AsVictoriaMetrics(faketier.Success))
	response, err := do(t.Context(), query)
	require.NoError(t, err)
	require.Equal(t, 1, aboutLanguage(t, body(t, response)))
	asked := p.cold.Requests()
	require.Len(t, asked, 2, "it is asked again, with the parameters for it")
	require.Equal(t, []string{"", "1"}, []string{asked[0].Parameters.Get("nocache"), asked[1].Parameters.Get("nocache")})
	require.Eventually(t, p.coldClient.SpeaksMetricsQL, 30*time.Second, time.Millisecond)
	require.Equal(t, "VictoriaMetrics", p.coldClient.Server().String())
}

// vmauth puts the header of VictoriaMetrics on the answers of any server.
func TestAsk_VmauthInFrontOfPrometheusIsNoVictoriaMetrics(t *testing.T) {
	p := newTiers(t)
	p.cold.HandleProbes(faketier.AsVictoriaMetrics(faketier.Probes))
	p.cold.Handle(faketier.AsVictoriaMetrics(faketier.Success))
	p.coldClient = probed(t, tier.Cold, p.cold.URL)
	query := p.query(t, up)
	query.Hot = nil
	response, err := do(t.Context(), query)
	require.NoError(t, err)
	require.Equal(t, faketier.Vector("1"), body(t, response))
	require.Len(t, p.cold.Requests(), 1)
}

func TestPlan_DoesNotCutWhereATierSpeaksMetricsQL(t *testing.T) {
	for _, name := range tier.Names() {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			p := newSplitTiers(t, told{})
			fake, client := p.cold, p.coldClient
			if name == tier.Hot {
				fake, client = p.hot, p.hotClient
			}
			becomes(t, fake, client, told{"/label/__name__": `["up"]`}.handler(), steps("a", "gaps"))
			query := p.rangeQuery(t, nil)
			planned, err := plan(t.Context(), query)
			require.NoError(t, err)
			require.Nil(t, planned.Cut)
			require.Equal(t, languageError(name).Error(), planned.NotCut)
			response, err := do(t.Context(), query)
			require.NoError(t, err)
			require.Equal(t, tier.Cold, response.Tier, "the whole")
			expected := 0
			if name == tier.Cold {
				expected = 1
			}
			require.Equal(t, expected, aboutLanguage(t, body(t, response)))
		})
	}
}

// The plan takes both tiers for Prometheus.
func TestAssemble_PutsNoPieceInMetricsQLBesideOthers(t *testing.T) {
	for _, name := range tier.Names() {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			p := newSplitTiers(t, told{})
			query := p.rangeQuery(t, nil)
			planned, err := plan(t.Context(), query)
			require.NoError(t, err)
			require.NotNil(t, planned.Cut)
			fake := p.cold
			if name == tier.Hot {
				fake = p.hot
			}
			fake.Handle(faketier.AsVictoriaMetrics(steps("a", "gaps")))
			response, err := do(t.Context(), query)
			require.NoError(t, err)
			require.Equal(t, tier.Cold, response.Tier, "the rules decide about the whole")
			expected := 0
			if name == tier.Cold {
				expected = 1
			}
			require.Equal(t, expected, aboutLanguage(t, body(t, response)))
		})
	}
}

func TestKeptAnswers_OfVictoriaMetrics(t *testing.T) {
	p := newCachedTiersThat(t, told{"/stores": `[]`, "/label/cluster": `["b"]`})
	probes := told{"/stores": `[]`, "/label/cluster": `["b"]`, "max(timestamp(": fmt.Sprintf(`{"resultType":"vector","result":[{"metric":{},"value":[1,"%d"]}]}`, time.Now().Unix()), "/label/__name__": `["other"]`}
	becomes(t, p.cold, p.coldClient, probes.handler(), faketier.Success)
	old := p.now.Add(-30 * time.Hour)
	ask := func() *Response {
		query := p.at(t, 0, time.Hour, nil)
		var err error
		query.Request, err = promapi.NewRequest(promapi.Query, "/api/v1/query", url.Values{"query": {"up"}, "time": {promapi.FormatTime(old)}}, p.now)
		require.NoError(t, err)
		planned, err := plan(t.Context(), query)
		require.NoError(t, err)
		response, err := do(t.Context(), query)
		require.NoError(t, err)
		require.NotNil(t, response.Cache, planned.NotCached())
		require.Equal(t, 1, aboutLanguage(t, body(t, response)))
		return response
	}
	require.Eventually(t, func() bool { return ask().Cache.Result == CacheHit }, 30*time.Second, 5*time.Millisecond)
	ask()

	p.cold.Handle(faketier.AsVictoriaMetrics(steps("a", "gaps")))
	for range 3 {
		query := p.at(t, 0, 4*time.Hour, nil)
		planned, err := plan(t.Context(), query)
		require.NoError(t, err)
		require.Equal(t, languageError(tier.Cold).Error(), planned.NotCached(), "its steps are not kept")
		response, err := do(t.Context(), query)
		require.NoError(t, err)
		require.Equal(t, 1, aboutLanguage(t, body(t, response)))
	}
}

func TestTranslateError_OfVictoriaMetrics(t *testing.T) {
	quoted := func(status int, query, message string) http.HandlerFunc {
		text, err := json.Marshal(map[string]string{"status": "error", "errorType": fmt.Sprint(status), "error": fmt.Sprintf("error when executing query=%q for (time=1, step=300000): %s", query, message)})
		require.NoError(t, err)
		return faketier.AsVictoriaMetrics(faketier.Status(status, string(text)))
	}
	for name, test := range map[string]struct {
		query    string
		status   int
		message  string
		expected string
	}{
		"it cannot be parsed":   {"sum(", 400, "unparsed data", `400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis"}`},
		"not as an evaluation":  {"sum(", 422, "unparsed data", `400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis"}`},
		"another bad request":   {"up", 400, "odd \"time\"", `400 {"status":"error","errorType":"bad_data","error":"odd \"time\""}`},
		"the evaluation failed": {"up", 422, "duplicate time series", `422 {"status":"error","errorType":"execution","error":"duplicate time series"}`},
		"too late":              {"up", 503, "timeout exceeded while fetching data", `503 {"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}`},
		"it is unavailable":     {"up", 503, "no storage nodes", `503 {"status":"error","errorType":"unavailable","error":"no storage nodes"}`},
		"too many":              {"up", 429, "too many", `429 {"status":"error","errorType":"unavailable","error":"too many"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newTiersInMetricsQL(t, quoted(test.status, test.query, test.message))
			query := p.query(t, url.Values{"query": {test.query}})
			query.Hot = nil
			response, err := do(t.Context(), query)
			require.NoError(t, err)
			got := fmt.Sprintf("%d %s", response.Status, body(t, response))
			var expected, actual map[string]any
			require.NoError(t, json.Unmarshal([]byte(test.expected[4:]), &expected))
			require.NoError(t, json.Unmarshal([]byte(got[4:]), &actual), got)
			require.Equal(t, test.expected[:3], got[:3])
			require.Equal(t, expected, actual)
		})
	}
}
