package catalogtest

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
)

// Wrote says which series a Prometheus wrote during a time.
type Wrote struct {
	// From and To bound the time, before now.
	From, To time.Duration
	// Jobs have a series named up each, or named Metric.
	Jobs   []string
	Metric string
	// Every is the scrape interval, 30 s if it is zero.
	Every time.Duration
}

// Ahead is after now: samples of a server that goes on while a test runs.
const Ahead = -10 * time.Minute

// WorldOf runs a Prometheus with the series of some times. It returns the address.
func WorldOf(t testing.TB, now time.Time, parts ...Wrote) string {
	t.Helper()
	directory := t.TempDir()
	for _, part := range parts {
		var series []history.Series
		if part.Metric == "" {
			part.Metric = "up"
		}
		for _, job := range part.Jobs {
			series = append(series, history.Series{
				Labels: labels.FromStrings("__name__", part.Metric, "job", job, "instance", job+":80"), Value: func(int64) float64 { return 1 },
			})
		}
		if part.Every == 0 {
			part.Every = 30 * time.Second
		}
		require.NoError(t, history.Generator{Interval: part.Every, Only: series}.WriteBlocks(t.Context(), directory, now.Add(-part.From), now.Add(-part.To)))
	}
	prometheus, err := embedded.Start(embedded.Options{Address: "127.0.0.1:0", Data: directory, Retention: 90 * 24 * time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, prometheus.Close()) })
	return prometheus.URL
}
