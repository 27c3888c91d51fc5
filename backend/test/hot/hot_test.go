//go:build e2e

// Package hot tests how the coverage of real hot tiers is measured: of Thanos, VictoriaMetrics
// and Prometheus servers.
package hot

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	interval = 15 * time.Second
	ahead    = 20 * time.Minute
)

// program returns the path of a real server.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := stack.Tool(t.Context(), os.Stderr, name)
	require.NoError(t, err)
	return path
}

// series are two targets of a shard, and the metric of another Prometheus about its oldest sample.
func series(shard string) []history.Series {
	constant := func(value float64, pairs ...string) history.Series {
		return history.Series{Labels: labels.FromStrings(pairs...), Value: func(int64) float64 { return value }}
	}
	return []history.Series{
		constant(1, "__name__", "up", "job", "node", "instance", shard+"-1"),
		constant(1, "__name__", "up", "job", "node", "instance", shard+"-2"),
		constant(float64(time.Now().Add(-6*time.Hour).Unix()), "__name__", "prometheus_tsdb_lowest_timestamp_seconds", "job", "prometheus", "instance", "elsewhere:9090"),
	}
}

// prometheus starts a Prometheus that has the samples of the last while, and goes on.
func prometheus(t *testing.T, name string, past time.Duration, external map[string]string) *stack.Server {
	t.Helper()
	directory := t.TempDir()
	data := filepath.Join(directory, "data")
	now := time.Now()
	require.NoError(t, history.Generator{Interval: interval, Only: series(name)}.WriteBlocks(t.Context(), data, now.Add(-past), now.Add(ahead)))
	started, err := stack.Prometheus{
		Name: name, Dir: directory, Data: data, Retention: "90d", Global: map[string]any{"external_labels": external}, OutOfOrderWindow: "6h",
	}.Start(t.Context(), program(t, "prometheus"))
	require.NoError(t, err)
	t.Cleanup(started.Kill)
	return started
}

func hotTier(t *testing.T, address string, settings catalog.TierSettings) *catalog.Tier {
	t.Helper()
	base, err := url.Parse(address)
	require.NoError(t, err)
	client, err := upstream.NewClient(upstream.ClientOptions{URL: base, PoolSize: 4})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return catalog.NewTier(catalog.TierOptions{Name: tier.Hot, Client: client, ProbeInterval: time.Second, TierSettings: settings})
}

// covers checks the start of the coverage of a hot tier.
func covers(t *testing.T, hot *catalog.Tier, past time.Duration) {
	t.Helper()
	found := hot.Inspect(t.Context())
	require.Empty(t, found.Failure, found.Error)
	require.True(t, found.Available, found.Error)
	require.NotEqual(t, tier.NothingCovered, found.CoverageStart, found.Error)
	require.WithinDuration(t, time.Now().Add(-past), time.UnixMilli(found.CoverageStart), 2*time.Minute, found.Error)
}

func TestInspect_PrometheusWithoutItsStatus(t *testing.T) {
	server := prometheus(t, "a", 2*time.Hour, nil)
	covers(t, hotTier(t, server.URL, catalog.TierSettings{}), 2*time.Hour)
	forwarder := forbidding(t, server.URL, "/api/v1/status/")
	covers(t, hotTier(t, forwarder, catalog.TierSettings{}), 2*time.Hour)
	forwarder = forbidding(t, server.URL, "/api/v1/status/", "/api/v1/series", "/api/v1/label")
	covers(t, hotTier(t, forwarder, catalog.TierSettings{}), 2*time.Hour)
}

func TestInspect_VictoriaMetrics(t *testing.T) {
	server, err := stack.VictoriaMetrics{Dir: t.TempDir()}.Start(t.Context(), program(t, "victoria-metrics"))
	require.NoError(t, err)
	t.Cleanup(server.Kill)
	const past = 2 * time.Hour
	now := time.Now()
	for _, each := range series("vm") {
		values, times := []float64{}, []int64{}
		for at := now.Add(-past).Truncate(interval); at.Before(now.Add(ahead)); at = at.Add(interval) {
			values, times = append(values, each.Value(at.UnixMilli())), append(times, at.UnixMilli())
		}
		line, err := json.Marshal(map[string]any{"metric": each.Labels.Map(), "values": values, "timestamps": times})
		require.NoError(t, err)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/api/v1/import", strings.NewReader(string(line)+"\n"))
		require.NoError(t, err)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
	}
	get(t, server.URL+"/internal/force_flush")
	covers(t, hotTier(t, server.URL, catalog.TierSettings{}), past)
}

func get(t *testing.T, target string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
}

// shard is a Prometheus with a sidecar of Thanos.
type shard struct {
	past     time.Duration
	external map[string]string
}

// thanos starts a Thanos Query over shards. It returns its URL and the sidecars.
func thanos(t *testing.T, shards ...shard) (query string, sidecars []*stack.ThanosPart) {
	t.Helper()
	var endpoints []string
	for i, each := range shards {
		server := prometheus(t, fmt.Sprintf("shard%d", i), each.past, each.external)
		sidecar, err := stack.Thanos{Dir: t.TempDir()}.StartPart(t.Context(), program(t, "thanos"), "sidecar",
			"--prometheus.url", server.URL, "--tsdb.path", filepath.Join(t.TempDir(), "none"))
		require.NoError(t, err)
		t.Cleanup(sidecar.Kill)
		sidecars = append(sidecars, sidecar)
		endpoints = append(endpoints, "--endpoint", sidecar.GRPC)
	}
	started, err := stack.Thanos{Dir: t.TempDir()}.StartPart(t.Context(), program(t, "thanos"), "query", endpoints...)
	require.NoError(t, err)
	t.Cleanup(started.Kill)
	require.Eventually(t, func() bool {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, started.URL+"/api/v1/stores", http.NoBody)
		require.NoError(t, err)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}
		defer func() { _ = response.Body.Close() }()
		var listed struct {
			Data map[string][]struct{ LabelSets []any }
		}
		require.NoError(t, json.NewDecoder(response.Body).Decode(&listed))
		return len(listed.Data["sidecar"]) == len(shards)
	}, 60*time.Second, 100*time.Millisecond, "the stores")
	return started.URL, sidecars
}

func TestInspect_ThanosStartsWithItsYoungestSource(t *testing.T) {
	for name, external := range map[string][2]map[string]string{
		"shards with their own labels": {{"shard": "0"}, {"shard": "1"}},
		"shards with the same labels":  {{"cluster": "lab"}, {"cluster": "lab"}},
	} {
		t.Run(name, func(t *testing.T) {
			query, _ := thanos(t, shard{6 * time.Hour, external[0]}, shard{time.Hour, external[1]})
			covers(t, hotTier(t, query, catalog.TierSettings{}), time.Hour)
		})
	}
}

func TestRun_ThanosThatLosesAStoreCoversNothing(t *testing.T) {
	query, sidecars := thanos(t, shard{6 * time.Hour, map[string]string{"shard": "0"}}, shard{2 * time.Hour, map[string]string{"shard": "1"}})
	hot := hotTier(t, query, catalog.TierSettings{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { hot.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	hot.Wait(t.Context())
	start := hot.State(time.Now()).Oldest
	require.WithinDuration(t, time.Now().Add(-2*time.Hour), time.UnixMilli(start), 2*time.Minute, hot.Status().Error)
	sidecars[1].Kill()
	require.Eventually(t, func() bool {
		state := hot.State(time.Now())
		return state.Oldest == tier.NothingCovered && len(state.Notes) == 1
	}, 60*time.Second, 100*time.Millisecond)
	require.Contains(t, hot.State(time.Now()).Notes[0].Detail, `the hot tier cannot reach its sidecar with {shard="1"}`)
}
