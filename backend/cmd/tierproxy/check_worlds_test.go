package main

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
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
