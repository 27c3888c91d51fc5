//go:build e2e

package oracle

import (
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// samplesOf returns the samples of series with more labels, from a time to another.
func samplesOf(series []loadedSeries, more map[string]string, from, to time.Time) []prompb.TimeSeries {
	var list []prompb.TimeSeries
	for _, each := range series {
		builder := labels.NewBuilder(each.labels)
		for name, value := range more {
			builder.Set(name, value)
		}
		made := prompb.TimeSeries{Labels: prompb.FromLabels(builder.Labels(), nil)}
		for _, sample := range each.samples {
			if sample.at >= from.UnixMilli() && sample.at < to.UnixMilli() && sample.histogram == nil && sample.histogramI == nil {
				made.Samples = append(made.Samples, prompb.Sample{Timestamp: sample.at, Value: sample.value})
			}
		}
		list = append(list, made)
	}
	return list
}

// TestLateSenders_ChangeNoKeptAnswer lets a second sender of a cold Prometheus be late: its
// samples of the last hour come in when answers about them may have been kept.
func TestLateSenders_ChangeNoKeptAnswer(t *testing.T) {
	w := shopWorld(t)
	series := w.shop("", func(name string) bool { return name == "up" || name == "http_requests_total" })
	w.write(t, "hot", series, w.boundary, w.now.Add(future), nil)
	began := w.now.Add(-4 * hour)
	w.write(t, "cold", series, w.boundary, began, labelsInCold)
	hot := w.prometheus(t, "hot", "hot", labelsInCold)
	cold, err := stack.Prometheus{
		Name: "cold", Dir: w.dir, Data: filepath.Join(w.dir, "cold"), Retention: "10y", Global: map[string]any{"scrape_interval": "30s", "evaluation_interval": "30s"},
		Arguments: []string{"--web.enable-remote-write-receiver"},
	}.Start(t.Context(), w.prometheusPath)
	require.NoError(t, err)
	t.Cleanup(func() { _ = cold.Stop() })
	other, late := map[string]string{"cluster": "other"}, w.now.Add(-50*minute)
	send(t, cold.URL, append(samplesOf(series, other, began, late), samplesOf(series, labelsInCold, began, late)...))
	send(t, cold.URL, samplesOf(series, labelsInCold, late, w.now.Add(5*minute))) // So that it does not lag meanwhile.
	g := w.gateway(t, hot.URL, cold.URL, nil)
	for _, query := range []string{"count(up)", "sum by (cluster) (rate(http_requests_total[5m]))", `count(up{cluster="lab"})`} {
		asked := question{endpoint: "query_range", values: url.Values{
			"query": {query}, "start": {seconds(w.now.Add(-3 * hour))}, "end": {seconds(w.now)}, "step": {"60"},
		}}
		require.Eventually(t, func() bool {
			got, err := ask(t.Context(), g.URL, asked)
			require.NoError(t, err)
			require.Equal(t, "cold", got.tier, "%s %v", got.reason, got.warnings)
			return strings.HasPrefix(got.cache, "hit")
		}, 30*time.Second, 50*time.Millisecond, "%s", asked)
	}
	send(t, cold.URL, samplesOf(series, other, late, w.now))
	for _, query := range []string{"count(up)", "sum by (cluster) (rate(http_requests_total[5m]))"} {
		asked := question{endpoint: "query_range", values: url.Values{
			"query": {query}, "start": {seconds(w.now.Add(-3 * hour))}, "end": {seconds(w.now)}, "step": {"60"},
		}}
		expected, err := ask(t.Context(), cold.URL, asked)
		require.NoError(t, err)
		got, err := ask(t.Context(), g.URL, asked)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(got.cache, "hit") && !strings.Contains(got.cache, "steps=0/"), got.cache)
		require.Empty(t, difference(expected, got), "%s", asked)
	}
	// What is kept cannot change: cold does not accept what is older.
	status, message := remoteWrite(t, cold.URL, samplesOf(series, map[string]string{"cluster": "third"}, w.now.Add(-65*minute), w.now.Add(-61*minute)))
	require.Equal(t, http.StatusBadRequest, status, message)
	require.Contains(t, message, "out of bounds")
}
