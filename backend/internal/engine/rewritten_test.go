package engine

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// The pieces of a query that is cut are asked for in the text of their tier.
func TestRewritten_EachPieceHasTheTextOfItsTier(t *testing.T) {
	cold := maps.Clone(toldByThanos)
	cold["/stores"] = `{"sidecar":[{"name":"a","lastError":null,"labelSets":[{"cluster":"lab"}],"minTime":0,"maxTime":9223372036854775807}],
		"store":[{"name":"b","lastError":null,"labelSets":[{"cluster":"other"}],"minTime":0,"maxTime":9223372036854775807}]}`
	learned, both := learnedTiers(t, toldByHot, cold)
	p := &splitTiers{tiers: learned, both: both, engine: New(Options{PieceBytes: 10 << 20})}
	p.hot.Handle(steps("a"))
	p.cold.Handle(steps("a"))
	query := p.rangeQuery(t, url.Values{"query": {"node_load1"}})
	query.ReplicasAccepted = true
	response, err := do(t.Context(), query)
	require.NoError(t, err)
	require.Equal(t, []any{tier.Both, tier.ReasonSplit}, []any{response.Tier, response.Reason})
	require.Equal(t, whole(query, "a"), body(t, response))
	require.Equal(t, `label_replace(node_load1, "cluster", "lab", "", "")`, p.hot.Requests()[0].Parameters.Get("query"))
	require.Equal(t, "node_load1", p.cold.Requests()[0].Parameters.Get("query"))
}

// Series of hot with such a label of their own would lose it.
func TestRewritten_NothingIfHotHasAnExternalLabelOfItsOwn(t *testing.T) {
	hot := maps.Clone(toldByHot)
	hot["/label/cluster"] = `["elsewhere"]`
	p, both := learnedTiers(t, hot, toldByThanos)
	require.Equal(t, []string{"cluster"}, both.Snapshot().Evidence.ConflictingLabels)
	response, _ := p.ask(t, both, promapi.Query, "/api/v1/query", url.Values{"query": {"node_load1"}})
	require.Equal(t, []any{tier.Cold, tier.ReasonNotInHot}, []any{response.Tier, response.Reason})
	require.Empty(t, p.hot.Requests())
}

// What cold says of its series is not touched, not even where a label of hot is
// missing.
func TestRewritten_InAUnionOnlyHotGetsLabels(t *testing.T) {
	lagging := maps.Clone(toldByThanos)
	lagging["max(timestamp(up{"] = fmt.Sprintf(`{"resultType":"vector","result":[{"metric":{},"value":[1,"%d"]}]}`, time.Now().Add(-2*time.Hour).Unix())
	p, both := learnedTiers(t, toldByHot, lagging)
	p.hot.Handle(faketier.Status(200, `{"status":"success","data":[{"__name__":"node_load1","job":"hot"}]}`))
	p.cold.Handle(faketier.Status(200, `{"status":"success","data":[{"__name__":"node_load1","job":"cold"}]}`))
	response, text := p.ask(t, both, promapi.Series, "/api/v1/series", url.Values{"match[]": {"node_load1"}})
	require.Equal(t, tier.Both, response.Tier)
	require.JSONEq(t, `{"status":"success","data":[{"__name__":"node_load1","cluster":"lab","job":"hot"},{"__name__":"node_load1","job":"cold"}]}`, text)
}

// The names that hot lacks count, too: a Prometheus with them would have left out others.
func TestRewritten_TheLimitIsThatOfTheWhole(t *testing.T) {
	p, both := learnedTiers(t, toldByHot, toldByThanos)
	p.hot.Handle(faketier.Status(200, `{"status":"success","data":["__name__","instance"],"warnings":["results truncated due to limit"]}`))
	response, text := p.ask(t, both, promapi.Labels, "/api/v1/labels", url.Values{"match[]": {"node_load1"}, "limit": {"2"}, "start": {fmt.Sprint(time.Now().Add(-time.Minute).Unix())}})
	require.Equal(t, tier.Hot, response.Tier)
	require.JSONEq(t, `{"status":"success","data":["__name__","cluster"],"warnings":["results truncated due to limit"]}`, text)
}

// A tier that the request forces gets what cannot be rewritten as it is.
func TestRewritten_WhatCannotBeGoesToAForcedHotAsItIs(t *testing.T) {
	p, both := learnedTiers(t, toldByHot, toldByThanos)
	for _, asked := range []struct {
		endpoint              promapi.Endpoint
		path, parameter, text string
	}{
		{promapi.Query, "/api/v1/query", "query", "limitk(2, node_load1)"},
		{promapi.Series, "/api/v1/series", "match[]", `node_load1{cluster="other"}`},
		{promapi.QueryExemplars, "/api/v1/query_exemplars", "query", `node_load1{cluster="other"}`},
	} {
		p.hot.Handle(faketier.Status(200, `{"status":"success","data":[]}`))
		request, err := promapi.NewRequest(asked.endpoint, asked.path, url.Values{asked.parameter: {asked.text}}, time.Now())
		require.NoError(t, err)
		response, err := do(t.Context(), asking{Request: request, Hot: p.hotClient, Cold: p.coldClient, Catalog: both, Threshold: time.Hour, Timeout: 5 * time.Second, Forced: tier.Hot})
		require.NoError(t, err)
		require.Equal(t, []any{tier.Hot, tier.ReasonForced}, []any{response.Tier, response.Reason})
		_ = body(t, response)
		requests := p.hot.Requests()
		require.Equal(t, asked.text, requests[len(requests)-1].Parameters.Get(asked.parameter))
	}
}

func TestPlan_ExtentCountsTheLookbackOfTheRequest(t *testing.T) {
	p := newTiers(t)
	for lookback, expected := range map[string]tier.Name{"": tier.Hot, "1h": tier.Hot, "30d": tier.Cold} {
		response, err := do(t.Context(), p.query(t, url.Values{"query": {"up"}, "lookback_delta": {lookback}}))
		require.NoError(t, err)
		require.Equal(t, expected, response.Tier, lookback)
		_ = body(t, response)
	}
}

// A tier that compresses although nobody asked for it is read all the same.
func TestRetry_ReadsCompressedAnswers(t *testing.T) {
	p, both := learnedTiers(t, told{"/label/__name__": `["up"]`}, told{})
	for answer, expected := range map[string]tier.Name{faketier.Vector("7"): tier.Hot, `{"status":"success","data":{"resultType":"vector","result":[]}}`: tier.Cold} {
		compressed := zipped(t, answer)
		p.hot.Handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(compressed)
		})
		response, text := p.ask(t, both, promapi.Query, "/api/v1/query", url.Values{"query": {fmt.Sprintf(`up{job=%q}`, expected)}})
		require.Equal(t, expected, response.Tier)
		if expected == tier.Hot {
			require.Equal(t, answer, unzipped(t, text), "it passes as it came in")
		}
	}
}

func TestDecode_ReleasesMemoryOnErrors(t *testing.T) {
	p := newTiers(t)
	p.cold.Handle(faketier.Status(200, `{"status":"success","data":{"resultType":"vector","result":[`))
	query := p.query(t, url.Values{"query": {"up"}, "limit": {"3"}})
	query.Forced, query.Decoded = tier.Cold, admission.NewByteBudget(1<<20)
	_, err := do(t.Context(), query)
	require.Error(t, err)
	held, holders := query.Decoded.Used()
	require.Zero(t, held+int64(holders))
}
