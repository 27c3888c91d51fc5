package catalogtest

import (
	"cmp"
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

func (w Wrote) interval() time.Duration { return cmp.Or(w.Every, 30*time.Second) }

func (w Wrote) labelsOf(job string) labels.Labels {
	return labels.FromStrings("__name__", cmp.Or(w.Metric, "up"), "job", job, "instance", job+":80")
}

// Ahead is after now: samples of a server that goes on while a test runs.
const Ahead = -10 * time.Minute

// WorldOf runs a Prometheus with the series of some times. It returns the address.
func WorldOf(t testing.TB, now time.Time, parts ...Wrote) string {
	t.Helper()
	directory := t.TempDir()
	for _, part := range parts {
		var series []history.Series
		for _, job := range part.Jobs {
			series = append(series, history.Series{Labels: part.labelsOf(job), Value: func(int64) float64 { return 1 }})
		}
		require.NoError(t, history.Generator{Interval: part.interval(), Only: series}.WriteBlocks(t.Context(), directory, now.Add(-part.From), now.Add(-part.To)))
	}
	prometheus, err := embedded.Start(embedded.Options{Address: "127.0.0.1:0", Data: directory, Retention: 90 * 24 * time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, prometheus.Close()) })
	return prometheus.URL
}
