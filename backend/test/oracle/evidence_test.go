//go:build e2e

package oracle

import (
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/redistest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// reader returns a function that asks a gateway an instant query, and returns tier and reason.
func reader(t *testing.T, g *runningGateway) func(query string) string {
	t.Helper()
	return func(query string) string {
		got, err := ask(t.Context(), g.URL, question{endpoint: "query", values: url.Values{"query": {query}}})
		require.NoError(t, err)
		return got.tier + " " + got.reason
	}
}

// TestCatalog_NoticesNewSeriesBehindThanos lets the Prometheus of another cluster begin to have
// a metric that only hot had. Both are behind a Thanos Query, each by its sidecar.
func TestCatalog_NoticesNewSeriesBehindThanos(t *testing.T) {
	w := shopWorld(t)
	w.write(t, "hot", w.shop("", nil), w.boundary, w.now.Add(future), nil)
	hot := w.prometheus(t, "hot", "hot", map[string]string{"cluster": "shop"})
	other, err := stack.Prometheus{
		Name: "other", Dir: w.dir, Data: filepath.Join(w.dir, "other"), Retention: "1d",
		Global: map[string]any{"external_labels": map[string]string{"cluster": "other"}}, Arguments: []string{"--web.enable-otlp-receiver"},
	}.Start(t.Context(), w.prometheusPath)
	require.NoError(t, err)
	t.Cleanup(func() { _ = other.Stop() })
	thanos := stack.Thanos{Dir: w.dir}
	var endpoints []string
	for directory, server := range map[string]*stack.Server{"hot": hot, "other": other} {
		sidecar, err := thanos.StartPart(t.Context(), w.thanosPath, "sidecar", "--tsdb.path", filepath.Join(w.dir, directory), "--prometheus.url", server.URL)
		require.NoError(t, err)
		t.Cleanup(sidecar.Kill)
		endpoints = append(endpoints, "--endpoint", sidecar.GRPC)
	}
	query, err := thanos.StartPart(t.Context(), w.thanosPath, "query", endpoints...)
	require.NoError(t, err)
	t.Cleanup(query.Kill)
	const interval = time.Second
	g := w.gateway(t, hot.URL, query.URL, func(settings *config.Config) {
		settings.Probe.Interval, settings.Probe.LearnInterval = config.Duration(interval), config.Duration(time.Hour)
	})
	read := reader(t, g)
	// Thanos Query needs a while to know its sidecars.
	require.Eventually(t, func() bool { return read("sum(node_load1)") == "hot below-threshold" }, 30*time.Second, 100*time.Millisecond)
	require.Equal(t, "hot below-threshold", read("sum(up)"))
	for _, metric := range []string{"node_load1", "up"} {
		write(t, other.URL, metric, "")
		began := time.Now()
		require.Eventually(t, func() bool { return read("sum("+metric+")") == "cold not-in-hot" }, interval+5*time.Second, 20*time.Millisecond, metric)
		t.Logf("%s: noticed after %s, with a probe every %s", metric, time.Since(began).Round(time.Millisecond), interval)
	}
	require.Equal(t, "hot below-threshold", read("sum(node_memory_MemAvailable_bytes)"), "hot still answers what only hot has")
	require.Equal(t, "hot below-threshold", read(`sum(up{cluster="shop"})`), "and what names its external labels")
}

// TestCatalog_ColdIsAThanosReceive reads from a Thanos Receive that hot sends its samples to. Its
// stores do not have hot's external labels: those are ordinary labels there.
func TestCatalog_ColdIsAThanosReceive(t *testing.T) {
	t.Parallel() // It waits most of the time.
	w := shopWorld(t)
	thanos := stack.Thanos{Dir: w.dir}
	receive, remoteWrite, err := thanos.StartReceive(t.Context(), w.thanosPath, "--label", `receive_replica="0"`, "--receive.default-tenant-id", "first")
	require.NoError(t, err)
	t.Cleanup(receive.Kill)
	query, err := thanos.StartPart(t.Context(), w.thanosPath, "query", "--endpoint", receive.GRPC, "--query.replica-label", "receive_replica")
	require.NoError(t, err)
	t.Cleanup(query.Kill)
	hot, err := stack.Prometheus{
		Name: "hot", Dir: w.dir, Data: filepath.Join(w.dir, "hot"), Retention: "1d", ScrapeItself: true, RemoteWrite: remoteWrite,
		Global: map[string]any{"external_labels": map[string]string{"cluster": "lab"}},
	}.Start(t.Context(), w.prometheusPath)
	require.NoError(t, err)
	t.Cleanup(func() { _ = hot.Stop() })
	g := w.gateway(t, hot.URL, query.URL, nil)
	forced := func(expression string, at time.Time) question {
		return question{endpoint: "query", values: url.Values{"query": {expression}, "time": {seconds(at)}}, header: http.Header{"X-Tier-Choice": {"hot"}}}
	}
	require.Eventually(t, func() bool {
		got, err := ask(t.Context(), g.URL, forced("last_over_time(up[5s])", time.Now()))
		return err == nil && got.tier == "hot" && !slices.ContainsFunc(got.warnings, func(text string) bool { return strings.Contains(text, "every series") })
	}, time.Minute, 200*time.Millisecond, "hot is complete: its tenant is the only one")
	for _, selector := range []string{`up{cluster="lab"}`, `up`, `up{cluster="other"}`, `up{tenant_id="first"}`, `up{tenant_id="second"}`} {
		for _, expression := range []string{"last_over_time(" + selector + "[5s])", "count by (cluster, tenant_id) (last_over_time(" + selector + "[5s]))"} {
			at := time.Now().Add(-10 * time.Second)
			got, err := ask(t.Context(), g.URL, forced(expression, at))
			require.NoError(t, err)
			expected, err := ask(t.Context(), query.URL, forced(expression, at))
			require.NoError(t, err)
			require.Empty(t, difference(expected, got), expression)
		}
	}
}

// TestEvidence_GatewaysShareItByTheirRedis starts a second gateway, as if the first one was
// started again. It knows at once what the first one has learned.
func TestEvidence_GatewaysShareItByTheirRedis(t *testing.T) {
	w := shopWorld(t)
	series := w.shop("", nil)
	w.write(t, "hot", series, w.boundary, w.now.Add(future), nil)
	w.write(t, "cold", series, w.boundary, w.now.Add(future), labelsInCold)
	hot, cold := w.prometheus(t, "hot", "hot", labelsInCold), w.prometheus(t, "cold", "cold", nil)
	kept := redistest.Start(t, "")
	start := func() *runningGateway {
		return w.gateway(t, hot.URL, cold.URL, func(settings *config.Config) {
			settings.Cache.Redis.Address = kept.Address
			settings.Probe.Interval, settings.Probe.LearnInterval = config.Duration(5*time.Second), config.Duration(time.Minute)
		})
	}
	first := start()
	require.Equal(t, "hot below-threshold", reader(t, first)("sum(node_load1)"))
	require.Positive(t, seriesRequests(t, first))
	require.Eventually(t, func() bool {
		keys, err := kept.Client.Keys(t.Context(), "*").Result()
		return err == nil && len(keys) == 2 // of hot and of cold
	}, 20*time.Second, 50*time.Millisecond)
	require.Eventually(t, func() bool { // On a busy machine, Redis takes longer than a gateway waits for it.
		second := start()
		defer second.Close()
		return reader(t, second)("sum(node_load1)") == "hot below-threshold" && seriesRequests(t, second) == 0
	}, time.Minute, time.Millisecond)
}

// seriesRequests returns how often a gateway has looked for metrics.
func seriesRequests(t *testing.T, g *runningGateway) int {
	t.Helper()
	return ownRequests(t, g, `\{kind="series",.*\}`)
}

// ownRequests returns how many requests with such labels a gateway has sent for itself.
func ownRequests(t *testing.T, g *runningGateway, labels string) (count int) {
	t.Helper()
	_, body, err := stack.Get(t.Context(), g.URL+"/metrics", nil)
	require.NoError(t, err)
	for _, found := range regexp.MustCompile(`(?m)^tierproxy_probe_requests_total`+labels+` (\d+)$`).FindAllSubmatch(body, -1) {
		number, err := strconv.Atoi(string(found[1]))
		require.NoError(t, err)
		count += number
	}
	return count
}
