//go:build e2e

package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMeasure_Works runs short measurements and compares no ratio with its goal.
func TestMeasure_Works(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, measure(t.Context(), &out, shortOptions), "%s", &out)
	for _, row := range []string{
		"| added by passing through, 1 KB, GET: p50 | httputil.ReverseProxy |", "| added by passing through, 20 MB, POST: CPU of the proxy |",
		"| panels through Perses to a TLS tier: p50 |", "| panels through an ingress to a TLS tier, front mode: p50 |", "file descriptors left open", "| 50 users × 20 panels, last 5 minutes: p95",
		"last hour to last week: p95", "CPU of Thanos", "| 10 users (", "in the cache: resident memory, peak |",
		"2 days of history: refresh, median | Thanos Query |", "the same, datasource with cold alone | query-frontend |", "bytes to the browser | Thanos Query, gzip |",
		"until it comes from the cache, through tierproxy with cold alone |", "| HA pair with deduplication, 24 h,",
		"first load, median of the ratios of pairs | Thanos Query |", "CPU of all servers for each refresh | query-frontend |",
		"samples read by cold's engine in all refreshes | query-frontend |", "steps from the cache of two replicas with a Redis | one replica |",
		"old points that change, two replicas in hot | Thanos Query with deduplication |",
	} {
		require.Contains(t, out.String(), row)
	}
	require.Regexp(t, `points that differ, through tierproxy [^\n]*\| 0 \| 0 \| met`, out.String())
	t.Log(out.String())
}

func TestSoak_Works(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, soak(t.Context(), &out, 20*time.Second, 20), "%s", &out)
	t.Log(out.String())
}

// TestSiege_RunsToItsEnd is too short to hold the gateway to its goals.
func TestSiege_RunsToItsEnd(t *testing.T) {
	var out bytes.Buffer
	if err := siege(t.Context(), &out, siegeOptions{duration: 20 * time.Second, seed: 1}); err != nil {
		require.ErrorIs(t, err, errGoalsMissed, "%s", &out)
	}
	for _, row := range []string{"| 3 | nested calls |", "| before |", "| under attack |", "| honest requests that failed |", "| resident memory of the gateway, peak |"} {
		require.Contains(t, out.String(), row)
	}
	t.Log(out.String())
}

func TestMeasureClusters_Works(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, measureClusters(t.Context(), &out, clusterOptions{clusters: 2, pods: 10, rounds: 1, counted: 2 * time.Second}), "%s", &out)
	for _, row := range []string{"| a | a panel, p95 |", `| (a\|b) | CPU of Thanos for a refresh, mean |`, "| b | panels that hot answers | 100.0 % | 0.0 % | 0.0 % |", "| idle |"} {
		require.Contains(t, out.String(), row)
	}
	require.Contains(t, out.String(), "every Prometheus in hot, b: 0 of ")
	t.Log(out.String())
}
