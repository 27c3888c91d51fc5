//go:build e2e

package oracle

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// TestCatalog_NoticesNewSeriesOfOtherSources lets another cluster begin to write
// into cold: first its first metric, then one that only hot had. The gateway reads
// the whole catalog once an hour only.
func TestCatalog_NoticesNewSeriesOfOtherSources(t *testing.T) {
	w := shopWorld(t)
	series := w.shop("", nil)
	w.write(t, "hot", series, w.boundary, w.now.Add(future), nil)
	w.write(t, "cold", series, w.boundary, w.now.Add(-5*minute), labelsInCold) // What comes later is written by others.
	hot := w.prometheus(t, "hot", "hot", labelsInCold)
	cold, err := stack.Prometheus{
		Name: "cold", Dir: w.dir, Data: filepath.Join(w.dir, "cold"), Retention: "10y", Global: map[string]any{"evaluation_interval": "30s"},
		Arguments: []string{"--web.enable-otlp-receiver"},
	}.Start(t.Context(), w.prometheusPath)
	require.NoError(t, err)
	t.Cleanup(func() { _ = cold.Stop() })
	const interval = 500 * time.Millisecond
	g := w.gateway(t, hot.URL, cold.URL, func(settings *config.Config) {
		settings.Probe.Interval, settings.Probe.LearnInterval = config.Duration(interval), config.Duration(time.Hour)
	})
	reason := func(query string) string {
		got, err := ask(t.Context(), g.URL, question{endpoint: "query", values: url.Values{"query": {query}}})
		require.NoError(t, err)
		return got.tier + " " + got.reason
	}
	noticed := func(query string) {
		t.Helper()
		since := time.Now()
		require.Eventually(t, func() bool { return reason(query) == "cold not-in-hot" }, 10*time.Second, 20*time.Millisecond, query)
		t.Logf("%s: noticed after %s, with a probe every %s", query, time.Since(since).Round(time.Millisecond), interval)
	}
	require.Equal(t, "hot newer-than-cold", reason("sum(node_load1)"))
	write(t, cold.URL, "node_load1", "other")
	noticed("sum(node_load1)")
	require.Equal(t, "hot newer-than-cold", reason("sum(up)"), "only hot has it")
	write(t, cold.URL, "up", "other")
	noticed("sum(up)")
	require.Equal(t, "hot newer-than-cold", reason("sum(node_memory_MemAvailable_bytes)"), "hot still answers what only hot has")
	write(t, cold.URL, "node_memory_MemAvailable_bytes", "third")
	noticed("sum(node_memory_MemAvailable_bytes)")
}

// write sends one sample to a Prometheus, as a program would.
func write(t *testing.T, base, metric, cluster string) {
	t.Helper()
	body := fmt.Sprintf(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":%q,"gauge":{"dataPoints":[
		{"timeUnixNano":"%d","asDouble":1,"attributes":[{"key":"cluster","value":{"stringValue":%q}}]}]}}]}]}]}`, metric, time.Now().UnixNano(), cluster)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/api/v1/otlp/v1/metrics", strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
}
