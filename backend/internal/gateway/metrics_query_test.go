package gateway_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

const metricsQuery = "/api/v1/metrics/query"

func TestMetricsQuery_IsAnsweredLikeAnyOther(t *testing.T) {
	g := newGateway(t, nil)
	now := time.Now().Truncate(time.Second).UTC()
	for _, test := range []struct {
		body string
		path string
		seen url.Values
	}{
		{`{"query":"up"}`, "/api/v1/query", url.Values{"query": {"up"}}},
		{`{"query":"up","end":"` + now.Format(time.RFC3339) + `"}`, "/api/v1/query", url.Values{"query": {"up"}, "time": {promapi.FormatTime(now)}}},
		{`{"query":"up","start":` + promapi.FormatTime(now.Add(-time.Minute)) + `,"end":"` + promapi.FormatTime(now) + `","step":"30s","namespace":"shop"}`, "/api/v1/query_range",
			url.Values{"query": {`up{namespace=~"shop"}`}, "start": {promapi.FormatTime(now.Add(-time.Minute))}, "end": {promapi.FormatTime(now)}, "step": {"30"}}},
		{`{"query":"up","start":` + promapi.FormatTime(now.Add(-time.Minute)) + `,"end":` + promapi.FormatTime(now) + `,"step":0.5,"namespace":null}`, "/api/v1/query_range",
			url.Values{"query": {"up"}, "start": {promapi.FormatTime(now.Add(-time.Minute))}, "end": {promapi.FormatTime(now)}, "step": {"0.5"}}},
	} {
		response, body := g.ask(t, http.MethodPost, metricsQuery, test.body, "Content-Type", "application/json")
		require.Equal(t, http.StatusOK, response.StatusCode, body)
		require.Equal(t, faketier.Vector("1"), body, "the bytes of the tier")
		require.Equal(t, []string{"hot", "below-threshold"}, []string{response.Header.Get("X-Tier"), response.Header.Get("X-Tier-Reason")})
		requests := g.hot.Requests()
		seen := requests[len(requests)-1]
		require.Equal(t, test.path, seen.Path)
		if !test.seen.Has("time") {
			seen.Parameters = untimed(seen.Parameters)
		}
		require.Equal(t, test.seen, seen.Parameters)
	}
	response, body := g.ask(t, http.MethodPost, metricsQuery, `{"query":"up"}`, "X-Tier-Choice", "cold")
	require.Equal(t, "forced", response.Header.Get("X-Tier-Reason"), body)
	response, _ = g.ask(t, http.MethodGet, metricsQuery, "")
	require.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
	response, _ = g.ask(t, http.MethodPost, metricsQuery, `{"query":"`+strings.Repeat("a", 2<<20)+`"}`)
	require.Equal(t, http.StatusRequestEntityTooLarge, response.StatusCode)
}

func TestMetricsQuery_ReportsAllMistakes(t *testing.T) {
	g := newGateway(t, func(settings *config.Config) { settings.Query.MaxRange = config.Duration(24 * time.Hour) })
	for body, expected := range map[string][]datasource.Mistake{
		`{"query":"sum(up","start":200,"end":100,"step":"soon","namespace":""}`: {
			{Field: "namespace", Message: "is empty: set a namespace, or omit the field"},
			{Field: "step", Message: `must be a duration longer than zero: "30s", "1m", or seconds`},
			{Field: "query", Message: "1:7: parse error: unclosed left parenthesis"},
			{Field: "query", Message: "1:1: parse error: no arguments for aggregate expression provided"},
			{Field: "end", Message: "is before start"},
		},
		`{"start":"2026-11-01T00:00:00Z","end":"2026-11-11T00:00:00Z","step":"1s"}`: {
			{Field: "query", Message: "is empty: set a PromQL expression"},
			{Field: "step", Message: "is too small: each series would have 864001 points, more than 11000. Set a step of at least 1m19s"},
			{Field: "start", Message: "the range from start to end, 10d, is longer than the limit of 1d"},
		},
		`{"query":"up\n + + * down","step":60}`: {
			{Field: "query", Message: "2:6: parse error: unexpected <op:*>"},
			{Field: "start", Message: "is missing: a range query has start and end"},
			{Field: "end", Message: "is missing: a range query has start and end"},
		},
		`{"query":"up","start":100,"end":200}`: {{Field: "step", Message: "is missing: set a step for a range query, or end alone for an instant query"}},
		`{"query":"up","start":"yesterday","end":1e300}`: {
			{Field: "start", Message: "must be a time: RFC 3339 in quotes, or seconds since the Unix epoch"},
			{Field: "end", Message: "must be a time: RFC 3339 in quotes, or seconds since the Unix epoch"},
		},
		`{"query":"up","step":-5}`:    {{Field: "step", Message: `must be a duration longer than zero: "30s", "1m", or seconds`}},
		`{"query":5}`:                 {{Field: "query", Message: "must be a string, not a number"}},
		`{"query":"up","stop":1}`:     {{Message: `the body must be one JSON object with query, start, end, step and namespace: unknown field "stop"`}},
		`{"query":"up"}{"query":"a"}`: {{Message: "the body contains more than one JSON object"}},
		`query=up`:                    {{Message: "the body must be one JSON object with query, start, end, step and namespace: invalid character 'q' looking for beginning of value"}},
	} {
		response, text := g.ask(t, http.MethodPost, metricsQuery, body)
		require.Equal(t, http.StatusBadRequest, response.StatusCode, body)
		var got struct {
			Status, ErrorType, Error string
			Mistakes                 []datasource.Mistake
		}
		require.NoError(t, json.Unmarshal([]byte(text), &got))
		require.Equal(t, []string{"error", "bad_data"}, []string{got.Status, got.ErrorType})
		require.Equal(t, expected, got.Mistakes, body)
		for _, mistake := range expected {
			require.Contains(t, got.Error, mistake.Message)
		}
	}
	require.Empty(t, append(g.hot.Requests(), g.cold.Requests()...))
	// As many points as Prometheus answers with.
	response, body := g.ask(t, http.MethodPost, metricsQuery, `{"query":"up","start":0,"end":10999,"step":1}`)
	require.Equal(t, http.StatusOK, response.StatusCode, body)
	response, _ = g.ask(t, http.MethodPost, metricsQuery, `{"query":"up","start":0,"end":11000,"step":1}`)
	require.Equal(t, http.StatusBadRequest, response.StatusCode)

	_, err := g.manager.Router().ExecuteQuery(t.Context(), &datasource.MetricQuery{Start: time.Now(), End: time.Now().Add(-time.Hour), Step: -1})
	var mistakes datasource.ValidationErrors
	require.ErrorAs(t, err, &mistakes, "programs get them one by one too")
	require.Len(t, mistakes, 3)
}
