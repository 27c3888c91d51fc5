package gateway_test

import (
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
)

// The ends of the phases of a tierproxy, in seconds from the first scrape.
const (
	neverAsked = 100
	failing    = 200
	succeeding = 300
	idleAgain  = 400
)

// counted returns a series of tierproxy that has been 0 until its first phase, and then grows by a number a second in each
// of the three phases.
func counted(name string, perSecond [3]float64, more ...string) history.Series {
	ends := [...]float64{neverAsked, failing, succeeding, idleAgain}
	return history.Series{
		Labels: labels.FromStrings(append([]string{"__name__", name, "instance", "gateway"}, more...)...),
		Value: func(milliseconds int64) (value float64) {
			for phase, rate := range perSecond {
				value += rate * max(0, min(float64(milliseconds)/1000, ends[phase+1])-ends[phase])
			}
			return value
		},
	}
}

// TestDashboard_SaysWhetherZeroIsOfNothing asks for the panels with one number while nobody has asked tierproxy yet, while
// requests fail, while they all succeed, and while nobody asks any more.
func TestDashboard_SaysWhetherZeroIsOfNothing(t *testing.T) {
	var none [3]float64
	server := storeOf(t,
		counted("tierproxy_queries_in_flight", none),
		counted("tierproxy_requests_total", [3]float64{15, 20, 0}, "outcome", "success"),
		counted("tierproxy_requests_total", [3]float64{5, 0, 0}, "outcome", "failed"),
		counted("tierproxy_requests_total", [3]float64{7, 0, 0}, "outcome", "canceled"),
		counted("tierproxy_queries_total", [3]float64{5, 0, 0}, "tier", "hot", "reason", "below-threshold"),
		counted("tierproxy_queries_total", [3]float64{15, 20, 0}, "tier", "cold", "reason", "older-than-hot"),
	)
	queries := dashboardQueries(t)
	for panel, expected := range map[string]map[int64]struct {
		value float64
		idle  string
	}{
		"Requests per second": {0: {idle: "0, no requests yet"}, neverAsked: {idle: "0, no requests yet"}, failing: {value: 27}, succeeding: {value: 20}, idleAgain: {idle: "0, no requests now"}},
		"Requests that fail":  {0: {idle: "0 %, no requests yet"}, neverAsked: {idle: "0 %, no requests yet"}, failing: {value: 0.25}, succeeding: {}, idleAgain: {idle: "0 %, no requests now"}},
		"Answered by hot":     {0: {idle: "0 %, no queries yet"}, neverAsked: {idle: "0 %, no queries yet"}, failing: {value: 0.25}, succeeding: {}, idleAgain: {idle: "0 %, no queries now"}},
	} {
		require.Len(t, queries[panel], 1, panel)
		for end, each := range expected {
			series := rangeTo(t, server, queries[panel][0], end)
			require.Len(t, series, 1, "%s at %d", panel, end)
			require.Equal(t, model.LabelValue(each.idle), series[0].Metric["idle"], "%s at %d", panel, end)
			require.InDelta(t, each.value, float64(series[0].Values[len(series[0].Values)-1].Value), 1e-9, "%s at %d", panel, end)
			require.Len(t, series[0].Values, int(end)+1, "%s at %d: from the first scrape on", panel, end)
			for _, sample := range series[0].Values {
				require.False(t, math.IsNaN(float64(sample.Value)), "%s at %d", panel, end)
			}
		}
	}
}

// TestDashboard_ShowsWhatIsNotANumber has a counter that is not a number: the panels neither show 0 nor say that nobody asks.
func TestDashboard_ShowsWhatIsNotANumber(t *testing.T) {
	broken := counted("tierproxy_requests_total", [3]float64{}, "outcome", "failed")
	broken.Value = func(int64) float64 { return math.NaN() }
	server := storeOf(t, counted("tierproxy_queries_in_flight", [3]float64{}), broken)
	for _, panel := range []string{"Requests per second", "Requests that fail"} {
		series := rangeTo(t, server, dashboardQueries(t)[panel][0], idleAgain)
		require.Len(t, series, 1, panel)
		require.Empty(t, series[0].Metric, panel)
		require.True(t, math.IsNaN(float64(series[0].Values[len(series[0].Values)-1].Value)), "%s: %v", panel, series[0].Values)
	}
}

// storeOf starts a Prometheus with the series, and returns its URL.
func storeOf(t *testing.T, series ...history.Series) string {
	t.Helper()
	data := t.TempDir()
	generator := history.Generator{Interval: time.Second, Only: series}
	require.NoError(t, generator.WriteBlocks(t.Context(), data, time.Unix(0, 0), time.Unix(idleAgain+1, 0)))
	server, err := embedded.Start(embedded.Options{Address: "127.0.0.1:0", Data: data, Retention: 365 * 24 * time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return server.URL
}

// rangeTo returns the series of a range query from the epoch to a time in seconds since then, with a step of a second.
func rangeTo(t *testing.T, server, promQL string, end int64) []model.SampleStream {
	t.Helper()
	response, err := http.PostForm(server+"/api/v1/query_range", url.Values{
		"query": {promQL}, "start": {"0"}, "end": {time.Unix(end, 0).UTC().Format(time.RFC3339)}, "step": {"1"},
	})
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Error string `json:"error"`
		Data  struct {
			Result []model.SampleStream `json:"result"`
		} `json:"data"`
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
	require.Empty(t, answer.Error, promQL)
	return answer.Data.Result
}
