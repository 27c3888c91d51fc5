package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// check and the running gateway look at hot in the same way.
func TestCheck_AgreesWithTheGatewayOnCoverage(t *testing.T) {
	cold := startPrometheus(t, 12*time.Hour)
	cases := map[string]struct {
		stretches []stretch
		parts     []part // instead of stretches
		more      string
		coverage  time.Duration // zero: hot is not asked
		finding   string
	}{
		"no gap": {stretches: []stretch{{6 * time.Hour, -30 * time.Minute}}, coverage: 6 * time.Hour,
			finding: `ok +routing: hot covers the last \d+h\S*; queries with a span of at least 15m go to cold`},
		"a gap": {stretches: []stretch{{6 * time.Hour, 3 * time.Hour}, {2 * time.Hour, -30 * time.Minute}}, coverage: 2 * time.Hour,
			finding: `ok +routing: hot covers the last [12]h\S* without a gap and within its retention; its oldest sample is [56]h\S* old; queries`},
		"a gap that ended within the threshold": {stretches: []stretch{{6 * time.Hour, 30 * time.Minute}, {10 * time.Minute, -30 * time.Minute}}, coverage: 10 * time.Minute,
			finding: `warning +routing: hot covers the last \d+m\S* without a gap .*, less than the threshold of 15m`},
		"less than what queries read": {stretches: []stretch{{3 * time.Minute, -30 * time.Minute}}, coverage: 3 * time.Minute,
			finding: `error +hot: hot covers only the last [2-4]m\S*, and queries read at least 5m: they go to cold\n +wait until hot has collected more samples`},
		"a retention shorter than what queries read": {stretches: []stretch{{6 * time.Hour, -30 * time.Minute}}, more: ", retention: 2m", coverage: 2 * time.Minute,
			finding: `error +hot: hot covers only the last [12]m\S*, and queries read at least 5m: they go to cold\n +wait until hot has collected more samples`},
		"a retention that is configured": {stretches: []stretch{{6 * time.Hour, -30 * time.Minute}}, more: ", retention: 1h", coverage: time.Hour,
			finding: `ok +routing: hot covers the last 1h without a gap and within its retention`},
		"no new samples": {stretches: []stretch{{6 * time.Hour, time.Hour}},
			finding: `error +hot: \S+ cannot be used: unusable\n +its newest sample is 1h\S* old: it answers, but no samples come in`},
	}
	sixHours := cases["no gap"]
	for name, parts := range worlds() {
		sixHours.parts = parts
		cases[name] = sixHours
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // It waits most of the time.
			hot := startPrometheusWith(t, test.stretches...)
			if test.parts != nil {
				hot = startPrometheusOf(t, test.parts...)
			}
			config := writeFile(t, fmt.Sprintf("hot: {url: %q%s}\ncold: {url: %q}\n", hot.URL, test.more, cold.URL))
			address := running.FreeAddress(t)
			startTierproxy(t, nil, "--config", config, "--web.listen-address", address)
			var health resolve.Health
			require.Eventually(t, func() bool {
				_, body, err := caller{t: t}.get("http://" + address + "/api/v1/datasources/health")
				return err == nil && json.Unmarshal([]byte(body), &health) == nil && !health.Tiers["hot"].LastCheck.IsZero()
			}, 30*time.Second, 50*time.Millisecond)
			require.Equal(t, test.coverage != 0, health.Tiers["hot"].Available, health)

			got := runTierproxy(t, nil, "check", "--config", config, "--measure=false")
			require.Regexp(t, "(?m)^"+test.finding, got.stdout)
			isError := strings.HasPrefix(test.finding, "error")
			require.Equal(t, isError, got.status == statusFailed, got.stdout)
			const spec = `{"proxy": {"kind": "HTTPProxy", "spec": {"url": "http://tierproxy/proxy/globaldatasources/metrics"}}}`
			response, err := http.Post("http://"+address+"/api/v1/datasources/check", "application/json", strings.NewReader(spec))
			require.NoError(t, err)
			defer func() { _ = response.Body.Close() }()
			var report struct {
				Data struct {
					OK    bool `json:"ok"`
					Tiers map[string]struct {
						State         string     `json:"state"`
						CoverageStart *time.Time `json:"coverage_start"`
						Unused        string     `json:"unused"`
					} `json:"tiers"`
				} `json:"data"`
			}
			require.NoError(t, json.NewDecoder(response.Body).Decode(&report))
			seen := report.Data.Tiers["hot"]
			require.Equal(t, !isError, report.Data.OK)
			require.Equal(t, isError && test.coverage != 0, seen.Unused != "")
			if test.coverage == 0 {
				require.Equal(t, "unusable", seen.State)
				return
			}
			require.Equal(t, "ok", seen.State)
			require.WithinDuration(t, time.Now().Add(-test.coverage), *health.Tiers["hot"].CoverageStart, 3*time.Minute)
			// A scan for gaps begins at another moment each time.
			require.WithinDuration(t, *health.Tiers["hot"].CoverageStart, *seen.CoverageStart, 90*time.Second)
		})
	}
}
