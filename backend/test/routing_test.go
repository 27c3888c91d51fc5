//go:build e2e

package e2e

import (
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/panel"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// panelQuery is what a panel of the demo dashboard asks.
const panelQuery = `sum by (job) (rate(http_requests_total[5m]))`

const (
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour
)

// lastEnd is the end of a panel over the last minutes: the latest full minute,
// which every tier holds.
func lastEnd() time.Time { return time.Now().Truncate(minute) }

// routedPanel is a panel's query with the tier that answers it, and why.
type routedPanel struct {
	name         string
	query        string
	end          time.Time
	span, step   time.Duration
	tier, reason string
}

// routedPanels returns panels on either side of the threshold and of hot's coverage.
func routedPanels(end time.Time) []routedPanel {
	return []routedPanel{
		{"the last 5 minutes", panelQuery, end, 5 * minute, 15 * time.Second, "hot", "below-threshold"},
		// All of it lies in the out-of-order window of hot.
		{"the last hour", panelQuery, end, hour, minute, "cold", "at-or-above-threshold"},
		{"the last 12 hours", panelQuery, end, 12 * hour, 5 * minute, "hot,cold", "split"},
		{"a wide range selector over 5 minutes", `sum(rate(http_requests_total[30d]))`, end, 5 * minute, minute, "cold", "older-than-hot"},
		{"a range selector of the threshold that hot covers", `sum(rate(http_requests_total[15m]))`, end, 5 * minute, minute, "cold", "at-or-above-threshold"},
		{"5 minutes of last week", panelQuery, end.Add(-7 * day), 5 * minute, 15 * time.Second, "cold", "older-than-hot"},
		{"compared with last week", panelQuery + " / " + `sum by (job) (rate(http_requests_total[5m] offset 1w))`, end, 5 * minute, minute, "cold", "older-than-hot"},
		{"5 minutes of three hours ago", panelQuery, end.Add(-3 * hour), 5 * minute, 15 * time.Second, "hot", "below-threshold"},
		{"pinned to last week", `sum(rate(http_requests_total[5m] @ ` + seconds(end.Add(-7*day)) + `))`, end, 5 * minute, minute, "cold", "older-than-hot"},
	}
}

func TestRouting_PanelQueriesThroughPerses(t *testing.T) {
	s := newSite(t, stack.Perses{}, nil)
	s.login()
	s.apply(s.global("metrics", nil))
	base := s.perses.URL + "/proxy/globaldatasources/metrics"
	end := lastEnd()

	for _, test := range routedPanels(end) {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			t.Run(test.name+" "+method, func(t *testing.T) {
				c := call{base: base, method: method, endpoint: "query_range", values: panel.RangeQuery(test.query, test.end, test.span, test.step)}
				got := mustDo(t, c)
				require.Equal(t, test.tier, got.tier, string(got.body))
				require.Equal(t, test.reason, got.reason)
				require.Contains(t, got.header.Get("Server-Timing"), "upstream;dur=")
				requireOracle(t, c, got)
			})
		}
	}

	t.Run("instant queries", func(t *testing.T) {
		c := call{base: base, endpoint: "query", values: url.Values{"query": {panelQuery}, "time": {seconds(end)}}}
		got := mustDo(t, c)
		require.Equal(t, "hot", got.tier)
		requireOracle(t, c, got)
		c.values.Set("time", seconds(end.Add(-10*day)))
		got = mustDo(t, c)
		require.Equal(t, "cold", got.tier)
		requireOracle(t, c, got)
	})

	t.Run("a forced tier", func(t *testing.T) {
		c := call{base: base, endpoint: "query", values: url.Values{"query": {panelQuery}, "time": {seconds(end)}}, header: http.Header{"X-Tier-Choice": {"cold"}}}
		got := mustDo(t, c)
		require.Equal(t, []string{"cold", "forced"}, []string{got.tier, got.reason})
		requireOracle(t, c, got)
		c.header = http.Header{"X-Tier-Choice": {"hot"}}
		c.values.Set("time", seconds(end.Add(-7*day)))
		got = mustDo(t, c)
		require.Equal(t, []string{"hot", "forced"}, []string{got.tier, got.reason})
		require.Contains(t, string(got.body), `"warnings":["the hot tier answered, whose data begins at `)
	})

	t.Run("the other endpoints", func(t *testing.T) {
		window := url.Values{"start": {seconds(end.Add(-5 * minute))}, "end": {seconds(end)}}
		withMatch := url.Values{"match[]": {"http_requests_total"}, "start": window["start"], "end": window["end"]}
		for endpoint, values := range map[string]url.Values{
			"labels": window, "label/job/values": window, "series": withMatch, "metadata": nil, "status/buildinfo": nil,
		} {
			got := mustDo(t, call{base: base, endpoint: endpoint, values: values})
			require.Equal(t, http.StatusOK, got.status, "%s: %s", endpoint, got.body)
			require.Equal(t, "hot", got.tier, endpoint)
		}
		got := mustDo(t, call{base: base, endpoint: "label/job/values"})
		require.Equal(t, []string{"cold", "older-than-hot"}, []string{got.tier, got.reason}, "without a start it reaches back to the beginning")
		status, _, err := stack.Get(t.Context(), base+"/-/healthy", nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
	})

	t.Run("query errors are answers", func(t *testing.T) {
		for _, choice := range []string{"hot", "cold"} {
			got := mustDo(t, call{base: base, endpoint: "query", values: url.Values{"query": {"sum("}}, header: http.Header{"X-Tier-Choice": {choice}}})
			require.Equal(t, http.StatusBadRequest, got.status)
			require.Contains(t, string(got.body), `"errorType":"bad_data"`)
			require.Equal(t, choice, got.tier)
		}
	})
}

func TestRouting_ThresholdAndStrategyChangeWithoutRestart(t *testing.T) {
	t.Parallel()
	s := newSite(t, stack.Perses{}, nil)
	s.login()
	s.apply(s.global("metrics", nil))
	c := call{base: s.perses.URL + "/proxy/globaldatasources/metrics", endpoint: "query_range", values: panel.RangeQuery(panelQuery, lastEnd(), 10*minute, minute)}
	require.Equal(t, "hot", mustDo(t, c).tier)
	s.apply(s.global("metrics", document{"threshold": "8m"}))
	require.Eventually(t, func() bool { return mustDo(t, c).tier == "cold" }, 10*time.Second, 100*time.Millisecond)
	long := c
	long.values = panel.RangeQuery(panelQuery, lastEnd(), 12*hour, 5*minute)
	require.Equal(t, "hot,cold", mustDo(t, long).tier)
	s.apply(s.global("metrics", document{"threshold": "8m", "strategy": "route"}))
	require.Eventually(t, func() bool { return mustDo(t, long).tier == "cold" }, 10*time.Second, 100*time.Millisecond)
	s.apply(s.global("metrics", document{"threshold": "1h"}))
	require.Eventually(t, func() bool { return mustDo(t, c).tier == "hot" }, 10*time.Second, 100*time.Millisecond)
}

func TestRouting_HotDiesAndComesBack(t *testing.T) {
	require.NoError(t, os.CopyFS(shared.path("mortal"), os.DirFS(shared.path("blocks-hot"))))
	port, err := stack.FreePort()
	require.NoError(t, err)
	hot, err := shared.prometheus("mortal", port).Start(t.Context(), shared.prometheusPath)
	require.NoError(t, err)
	t.Cleanup(func() { _ = hot.Stop() })
	// A long interval: that hot is down must be noticed by the queries themselves.
	s := newSite(t, stack.Perses{}, document{"hot": document{"url": hot.URL}, "probe": document{"interval": "10s"}})
	s.login()
	s.apply(s.global("metrics", nil))
	c := call{base: s.perses.URL + "/proxy/globaldatasources/metrics", endpoint: "query_range", values: panel.RangeQuery(panelQuery, lastEnd(), 5*minute, 15*time.Second)}
	require.Equal(t, "hot", mustDo(t, c).tier)

	hot.Kill()
	got := mustDo(t, c)
	require.Equal(t, []string{"cold", "hot-failed"}, []string{got.tier, got.reason}, "the first query meets the dead hot tier")
	requireOracle(t, c, got)
	require.Eventually(t, func() bool {
		got = mustDo(t, c)
		return got.reason == "hot-unavailable"
	}, 5*time.Second, 50*time.Millisecond)
	require.Equal(t, "cold", got.tier)
	requireOracle(t, c, got)

	hot, err = shared.prometheus("mortal", port).Start(t.Context(), shared.prometheusPath)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		got = mustDo(t, c)
		return got.tier == "hot"
	}, 15*time.Second, 100*time.Millisecond)
	require.Equal(t, "below-threshold", got.reason)
	requireOracle(t, c, got)
}
