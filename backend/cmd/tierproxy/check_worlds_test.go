package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// part is a stretch in which a Prometheus scraped targets at an interval.
type part struct {
	stretch
	every   time.Duration
	targets []string
}

// startPrometheusOf starts a Prometheus with the parts, and with a copy of another Prometheus'
// metric about its oldest sample, of three days ago.
func startPrometheusOf(t *testing.T, parts ...part) *embedded.Prometheus {
	t.Helper()
	now, directory := time.Now().Truncate(time.Minute), t.TempDir()
	for _, each := range parts {
		made := []history.Series{{
			Labels: labels.FromStrings("__name__", "prometheus_tsdb_lowest_timestamp_seconds", "instance", "elsewhere:9090"),
			Value:  func(int64) float64 { return float64(now.Add(-72 * time.Hour).Unix()) },
		}}
		for _, target := range each.targets {
			made = append(made, history.Series{Labels: labels.FromStrings("__name__", "up", "job", "node", "instance", target), Value: func(int64) float64 { return 1 }})
		}
		require.NoError(t, history.Generator{Interval: each.every, Only: made}.WriteBlocks(t.Context(), directory, now.Add(-each.from), now.Add(-each.to)))
	}
	started, err := embedded.Start(embedded.Options{Address: "127.0.0.1:0", Data: directory, Retention: 30 * 24 * time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, started.Close()) })
	return started
}

// worlds are hot tiers whose coverage is easily taken for another one.
func worlds() map[string][]part {
	const hour, minute = time.Hour, time.Minute
	return map[string][]part{
		"the interval got shorter 4 minutes ago": {{stretch{6 * hour, 4 * minute}, minute, []string{"a", "b"}}, {stretch{4 * minute, -30 * minute}, 15 * time.Second, []string{"a", "b"}}},
		"every target was replaced":              {{stretch{6 * hour, hour}, minute, []string{"a", "b"}}, {stretch{hour, -30 * minute}, minute, []string{"c", "d"}}},
		"an old block, with a hole behind":       {{stretch{90 * hour, 80 * hour}, minute, []string{"a"}}, {stretch{6 * hour, -30 * minute}, minute, []string{"a"}}},
	}
}

// A server that reports its start, but has no series to follow, shows nothing else of its coverage: its
// configured retention counts, but not from before its start.
func TestCheck_ADeclaredRetention(t *testing.T) {
	started := time.Now().Add(-3 * time.Hour)
	hot := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		switch request.URL.Path {
		case "/api/v1/query":
			_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"vector","result":[]}}`)
		case "/api/v1/status/runtimeinfo":
			_, _ = fmt.Fprintf(w, `{"status":"success","data":{"startTime":%q}}`, started.Format(time.RFC3339))
		default:
			http.NotFound(w, request)
		}
	}))
	t.Cleanup(hot.Close)
	cold := startPrometheus(t, 12*time.Hour)
	for more, finding := range map[string]string{
		"":                `error +hot: it answers queries, but tierproxy will not use it: its oldest sample could not be measured: .*\n +let it keep the metric up, .*, or set hot.retention`,
		", retention: 2h": `ok +routing: hot covers the last 2h, as its configured retention declares: tierproxy cannot measure it; queries`,
	} {
		config := writeFile(t, fmt.Sprintf("hot: {url: %q%s}\ncold: {url: %q}\n", hot.URL, more, cold.URL))
		require.Regexp(t, "(?m)^"+finding, runTierproxy(t, nil, "check", "--config", config).stdout)
		address := running.FreeAddress(t)
		startTierproxy(t, nil, "--config", config, "--web.listen-address", address)
		var health resolve.Health
		require.Eventually(t, func() bool {
			_, body, err := caller{t: t}.get("http://" + address + "/api/v1/datasources/health")
			return err == nil && json.Unmarshal([]byte(body), &health) == nil && !health.Tiers["hot"].LastCheck.IsZero()
		}, 30*time.Second, 50*time.Millisecond)
		require.Equal(t, more != "", health.Tiers["hot"].CoverageDeclared)
		require.Equal(t, more != "", health.Tiers["hot"].CoverageStart != nil)
		require.Equal(t, more == "", health.Tiers["hot"].Error != "", health.Tiers["hot"].Error)
	}
}
