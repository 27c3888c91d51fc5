//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// movingThreshold depends on the time of the evaluation in a way that a range query does not
// have: all steps would read what is there at the end.
const movingThreshold = `0.5 * max_over_time(prometheus_tsdb_head_samples_appended_total{type="float"}[1m] @ end() offset 1s)`

const thresholdsOfHot = `groups:
  - name: of hot
    interval: 1s
    rules:
      - {alert: Busy, expr: 'prometheus_tsdb_head_samples_appended_total{type="float"} > ` + movingThreshold + `', for: 1s, labels: {severity: page, namespace: shop}}
      - {alert: Down, expr: '1 > up and on () vector(1)', labels: {namespace: bank}, annotations: {summary: The bank is closed.}}
      - {alert: Missing, expr: 'absent(bank)', labels: {namespace: bank}}
`

const thresholdsOfRuler = `groups:
  - name: of the ruler
    interval: 1s
    rules:
      - {alert: Always, expr: 'vector(3) > bool 2', labels: {namespace: shop}}
      - {alert: Bank, expr: 'vector(3) > 2', labels: {namespace: bank}}
`

// gotThresholds is an answer of alert_thresholds.
type gotThresholds struct {
	Data struct {
		Thresholds []struct {
			Title, Right, State, Tier string
			For                       float64
			Labels                    map[string]string
		}
		Skipped []struct{ Alert, Reason string }
	}
	Warnings []string
}

// askThresholds asks until the rules of all servers are there, and Busy fires.
func askThresholds(t *testing.T, base string, titles ...string) (got gotThresholds, body string) {
	t.Helper()
	require.Eventually(t, func() bool {
		answered := mustDo(t, call{base: base, endpoint: "alert_thresholds", method: http.MethodPost})
		got, body = gotThresholds{}, string(answered.body)
		if answered.status != http.StatusOK || json.Unmarshal(answered.body, &got) != nil || len(got.Data.Thresholds) != len(titles) {
			return false
		}
		for i, title := range titles {
			if got.Data.Thresholds[i].Title != title {
				return false
			}
		}
		return len(titles) == 0 || got.Data.Thresholds[0].State == "firing"
	}, minute, 200*time.Millisecond, "%s", &body)
	return got, body
}

// TestThresholds_OfAPrometheusAndARuler asks through Perses for the thresholds of rules that a
// real Prometheus and a real Thanos Ruler evaluate, and compares one of them with what that
// Prometheus itself says at each step.
func TestThresholds_OfAPrometheusAndARuler(t *testing.T) {
	t.Parallel()
	tiers := startRuleTiers(t, thresholdsOfHot, thresholdsOfRuler)
	cold := tiers.query(t, tiers.ruler, tiers.sidecar)
	both := document{"hot": document{"url": tiers.hot.URL}, "cold": document{"url": cold.URL}}
	s := newSite(t, stack.Perses{}, both)
	s.login()
	s.apply(s.global("metrics", nil))
	base := s.perses.URL + "/proxy/globaldatasources/metrics"
	got, body := askThresholds(t, base, "Busy > "+movingThreshold, "Down < 1", "Always > 2", "Bank > 2")
	busy := got.Data.Thresholds[0]
	require.Equal(t, []any{"hot,cold", 1.0, "page"}, []any{busy.Tier, busy.For, busy.Labels["severity"]}, body)
	require.Equal(t, "cold", got.Data.Thresholds[2].Tier)
	require.Len(t, got.Data.Skipped, 1)
	require.Equal(t, "the expression compares nothing", got.Data.Skipped[0].Reason)
	require.NotEqual(t, movingThreshold, busy.Right)

	// The samples of the last seconds may still come in. Hot has started just now: it is forced.
	var start, end time.Time
	var values map[int64]any
	require.Eventually(t, func() bool {
		end = time.Now().Add(-2 * time.Second).Truncate(time.Second)
		start = end.Add(-3 * time.Second)
		values = stepsOf(t, mustDo(t, call{base: base, endpoint: "query_range", header: http.Header{"X-Tier-Choice": {"hot"}},
			values: url.Values{"query": {busy.Right}, "start": {seconds(start)}, "end": {seconds(end)}, "step": {"1"}}}))
		return len(values) > 1
	}, minute, 300*time.Millisecond)
	for at := start; !at.After(end); at = at.Add(time.Second) {
		expected := mustDo(t, call{base: tiers.hot.URL, endpoint: "query", values: url.Values{"query": {movingThreshold}, "time": {seconds(at)}}})
		var instant struct {
			Data struct{ Result []struct{ Value [2]any } }
		}
		require.NoError(t, json.Unmarshal(expected.body, &instant))
		if len(instant.Data.Result) == 0 {
			require.NotContains(t, values, at.Unix())
			continue
		}
		require.Equal(t, instant.Data.Result[0].Value[1], values[at.Unix()])
	}

	t.Run("a confined project", func(t *testing.T) {
		both["projects"] = []document{{"name": "shop", "namespaces": []string{"shop"}}}
		s := newSite(t, stack.Perses{}, both)
		s.login()
		s.apply(document{"kind": "Project", "metadata": document{"name": "shop"}, "spec": document{}})
		s.apply(s.project("shop", "metrics", nil))
		got, body := askThresholds(t, s.perses.URL+"/proxy/projects/shop/datasources/metrics", "Always > 2")
		for _, hidden := range []string{"bank", "Bank", "Down", "Missing", "cluster=", "e2e"} {
			require.NotContains(t, body, hidden)
		}
		require.Len(t, got.Data.Skipped, 1, "the threshold of Busy is in no namespace")
		require.Contains(t, got.Data.Skipped[0].Reason, "the threshold")
	})
}

// stepsOf returns the values of the only series of a range query, by their times.
func stepsOf(t *testing.T, answered answer) map[int64]any {
	t.Helper()
	var decoded struct {
		Data struct {
			Result []struct{ Values [][2]any }
		}
	}
	require.NoError(t, json.Unmarshal(answered.body, &decoded), "%s", answered.body)
	values := map[int64]any{}
	if len(decoded.Data.Result) == 0 {
		return values
	}
	require.Len(t, decoded.Data.Result, 1, "%s", answered.body)
	for _, sample := range decoded.Data.Result[0].Values {
		text, err := json.Marshal(sample[0])
		require.NoError(t, err)
		at, err := strconv.ParseFloat(string(text), 64)
		require.NoError(t, err)
		values[int64(at)] = sample[1]
	}
	return values
}
