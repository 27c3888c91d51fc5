package engine

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

const (
	valuesOfCluster = "/api/v1/label/cluster/values"
	noElement       = `{"status":"success","data":[]}`
	oneSeries       = `{"status":"success","data":[{"__name__":"up"}],"warnings":["results truncated due to limit"]}`
)

func TestOwnValue_HotAnswersWhileColdIsDown(t *testing.T) {
	const (
		mayLack    = "the hot tier answered, which may not have every series that matches"
		unlabelled = "the hot tier answered, whose series lack its external labels"
	)
	for name, test := range map[string]struct {
		matches  []string
		hot      string
		path     string // of the request to hot
		sent     []string
		expected string
		warning  string
	}{
		"every series":               {nil, `{"status":"success","data":["__name__"]}`, "/api/v1/labels", nil, `["lab"]`, mayLack},
		"hot is empty":               {nil, noElement, "/api/v1/labels", nil, `[]`, mayLack},
		"a selector":                 {[]string{"up"}, oneSeries, "/api/v1/series", []string{`{__name__="up"}`}, `["lab"]`, mayLack},
		"one that matches nothing":   {[]string{"up"}, noElement, "/api/v1/series", []string{`{__name__="up"}`}, `[]`, mayLack},
		"one of hot alone":           {[]string{`up{cluster="lab"}`}, oneSeries, "/api/v1/series", []string{`{__name__="up"}`}, `["lab"]`, ""},
		"one that only names hot":    {[]string{`{cluster=~"l.*"}`}, oneSeries, "/api/v1/labels", nil, `["lab"]`, ""},
		"one of another source":      {[]string{`up{cluster="other"}`}, noElement, valuesOfCluster, []string{`up{cluster="other"}`}, `[]`, mayLack},
		"one of them is of hot":      {[]string{`up{cluster="other"}`, `up{cluster!="x"}`}, oneSeries, "/api/v1/series", []string{`{__name__="up"}`}, `["lab"]`, mayLack},
		"it is in other namespaces":  {[]string{`{cluster="lab",namespace="a"}`}, noElement, "/api/v1/series", []string{`{namespace="a"}`}, `[]`, ""},
		"a server without the limit": {[]string{"up"}, `{"status":"success","data":[` + strings.Repeat(`{"__name__":"up"},`, 10_000), "/api/v1/series", []string{`{__name__="up"}`}, `["lab"]`, mayLack},
	} {
		t.Run(name, func(t *testing.T) {
			p, both := learnedTiers(t, toldByHot, toldByThanos)
			p.coldClient.ReportFailure(io.ErrUnexpectedEOF)
			p.hot.Handle(faketier.Status(200, test.hot))
			parameters := url.Values{"start": {"1000"}, "limit": {"7"}, "match[]": test.matches}
			response, text := p.ask(t, both, promapi.LabelValues, valuesOfCluster, parameters)
			require.Equal(t, []any{tier.Hot, tier.ReasonColdUnavailable, 200}, []any{response.Tier, response.Reason, response.Status}, text)
			require.Contains(t, text, `"data":`+test.expected)
			require.Contains(t, text, "whose data begins at")
			for _, warning := range []string{mayLack, unlabelled} {
				require.Equal(t, warning == test.warning, strings.Contains(text, warning), text)
			}
			require.NotContains(t, text, promapi.TruncatedWarning)
			asked := p.hot.Requests()
			require.Len(t, asked, 1)
			require.Equal(t, test.path, asked[0].Path)
			require.Equal(t, test.sent, asked[0].Parameters["match[]"])
			require.Equal(t, "1000", asked[0].Parameters.Get("start"))
			if test.path != valuesOfCluster {
				require.Equal(t, []string{"1"}, asked[0].Parameters["limit"])
			}
		})
	}
}

func TestOwnValue_ColdAnswersWhileItIsUp(t *testing.T) {
	p, both := learnedTiers(t, toldByHot, toldByThanos)
	for _, match := range []string{"up", `up{cluster="lab"}`, "node_load1"} {
		p.cold.Handle(faketier.Status(200, `{"status":"success","data":["lab","other"]}`))
		response, text := p.ask(t, both, promapi.LabelValues, valuesOfCluster, url.Values{"match[]": {match}, "start": {promapi.FormatTime(time.Now().Add(-time.Minute))}})
		require.Equal(t, []any{tier.Cold, tier.ReasonNotInHot}, []any{response.Tier, response.Reason})
		require.JSONEq(t, `{"status":"success","data":["lab","other"]}`, text)
	}
	require.Empty(t, p.hot.Requests())
	for _, request := range p.cold.Requests() {
		require.Equal(t, valuesOfCluster, request.Path)
	}
}

// TestOwnValue_InAUnion asks while cold lags, so that both tiers answer.
func TestOwnValue_InAUnion(t *testing.T) {
	lagging := maps.Clone(toldByThanos)
	lagging["max(timestamp(up{"] = fmt.Sprintf(`{"resultType":"vector","result":[{"metric":{},"value":[1,"%d"]}]}`, time.Now().Add(-2*time.Hour).Unix())
	for name, test := range map[string]struct {
		cold     http.HandlerFunc
		expected string
	}{
		"of both":    {faketier.Status(200, `{"status":"success","data":["other"]}`), `{"status":"success","data":["lab","other"]}`},
		"cold fails": {faketier.Status(503, ""), `{"status":"success","data":["lab"],"warnings":["the cold tier failed: what only that one holds is missing"]}`},
	} {
		t.Run(name, func(t *testing.T) {
			p, both := learnedTiers(t, toldByHot, lagging)
			p.hot.Handle(faketier.Status(200, oneSeries))
			p.cold.Handle(test.cold)
			response, text := p.ask(t, both, promapi.LabelValues, valuesOfCluster, url.Values{"match[]": {"up"}})
			require.Equal(t, tier.Both, response.Tier)
			require.JSONEq(t, test.expected, text)
		})
	}
}

// TestOwnValue_OfEachSourceThatHasSeries asks two clusters without cold.
func TestOwnValue_OfEachSourceThatHasSeries(t *testing.T) {
	for name, test := range map[string]struct {
		match    string
		a, b     string
		expected string
	}{
		"both":         {`up`, oneSeries, oneSeries, `["a","b"]`},
		"one has none": {`up`, noElement, oneSeries, `["b"]`},
		"one is meant": {`up{cluster="b"}`, oneSeries, oneSeries, `["b"]`},
		"all are":      {`up{cluster=~".+"}`, oneSeries, oneSeries, `["a","b"]`},
		"none is":      {`up{cluster="c"}`, noElement, noElement, `[]`},
	} {
		t.Run(name, func(t *testing.T) {
			asked, err := promapi.NewRequest(promapi.LabelValues, valuesOfCluster, url.Values{"match[]": {test.match}}, time.Now())
			require.NoError(t, err)
			a, b, engine, query := twoClusters(t, asked)
			a.Handle(faketier.Status(200, test.a))
			b.Handle(faketier.Status(200, test.b))
			response, err := engine.Do(t.Context(), query)
			require.NoError(t, err)
			require.Contains(t, body(t, response), `"data":`+test.expected)
		})
	}
}

func TestOwnValue_NotIfSeriesOfHotCarryTheLabelThemselves(t *testing.T) {
	hot := maps.Clone(toldByHot)
	hot["/label/cluster"] = `["elsewhere"]`
	p, both := learnedTiers(t, hot, toldByThanos)
	p.coldClient.ReportFailure(io.ErrUnexpectedEOF)
	p.hot.Handle(faketier.Status(200, `{"status":"success","data":["elsewhere"]}`))
	_, text := p.ask(t, both, promapi.LabelValues, valuesOfCluster, url.Values{"match[]": {"up"}})
	require.Contains(t, text, `"data":["elsewhere"]`)
	require.Equal(t, valuesOfCluster, p.hot.Requests()[0].Path)
}

// TestOwnValue_NamesAndSeriesHaveTheLabel holds that the other lists have the external labels, too.
func TestOwnValue_NamesAndSeriesHaveTheLabel(t *testing.T) {
	p, both := learnedTiers(t, toldByHot, toldByThanos)
	p.coldClient.ReportFailure(io.ErrUnexpectedEOF)
	p.hot.Handle(faketier.Status(200, `{"status":"success","data":["__name__","job"]}`))
	_, text := p.ask(t, both, promapi.Labels, "/api/v1/labels", url.Values{"match[]": {"up"}})
	require.Contains(t, text, `"data":["__name__","cluster","job"]`)
	p.hot.Handle(faketier.Status(200, `{"status":"success","data":[{"__name__":"up"}]}`))
	_, text = p.ask(t, both, promapi.Series, "/api/v1/series", url.Values{"match[]": {"up"}})
	require.Contains(t, text, `"data":[{"__name__":"up","cluster":"lab"}]`)
}

func TestHasElement_OfAnswers(t *testing.T) {
	for text, expected := range map[string]bool{
		oneSeries: true, noElement: false,
		`{"status":"success","warnings":["[{"],"data":["x"]}`: true,
		`{"warnings":["x"],"data":[],"status":"success"}`:     false,
		`{"status":"success","data":[{"broken`:                true, // The first element has begun.
	} {
		isPresent, err := hasElement(strings.NewReader(text))
		require.NoError(t, err, text)
		require.Equal(t, expected, isPresent, text)
	}
	for _, text := range []string{
		``, `[]`, `{`, `{}`, `{"status":"success"}`, `{"status":"error","data":["x"]}`, `{"status":"success","data":{}}`, `{"status":"success","data":[`,
		`{"status":"success","data":null}`, `<html>`, `{"status":"success","data":]}`,
	} {
		_, err := hasElement(strings.NewReader(text))
		require.ErrorIs(t, err, upstream.ErrNotPrometheus, text)
	}
}

// TestOwnValue_AFailureOfHotIsOne holds that no value is made up from an error.
func TestOwnValue_AFailureOfHotIsOne(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		status int
	}{
		"it fails":                  {faketier.Status(503, ""), 503},
		"it is no list":             {faketier.Status(200, `{"status":"success","data":{}}`), 502},
		"it refuses the parameters": {apiError(400, "bad_data", "no"), 400},
	} {
		t.Run(name, func(t *testing.T) {
			p, both := learnedTiers(t, toldByHot, toldByThanos)
			p.coldClient.ReportFailure(io.ErrUnexpectedEOF)
			p.hot.Handle(test.answer)
			asked, err := promapi.NewRequest(promapi.LabelValues, valuesOfCluster, url.Values{"match[]": {"up"}}, time.Now())
			require.NoError(t, err)
			response, err := do(t.Context(), asking{Request: asked, Hot: p.hotClient, Cold: p.coldClient, Catalog: both, Threshold: time.Hour, Timeout: 5 * time.Second})
			if err != nil {
				require.Equal(t, test.status, promapi.AsError(err).Status)
				return
			}
			require.Equal(t, test.status, response.Status)
			require.NotContains(t, body(t, response), `"lab"`)
		})
	}
}
