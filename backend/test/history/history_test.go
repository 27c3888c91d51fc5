package history

import (
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/stretchr/testify/require"
)

var end = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func TestWriteBlocks_HoldEverySample(t *testing.T) {
	generator := Generator{Interval: time.Minute}
	directory := t.TempDir()
	start := end.Add(-50 * time.Hour)
	require.NoError(t, generator.WriteBlocks(t.Context(), directory, start, end))
	db, err := tsdb.Open(directory, slog.New(slog.DiscardHandler), nil, tsdb.DefaultOptions(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	querier, err := db.Querier(math.MinInt64, math.MaxInt64)
	require.NoError(t, err)
	defer func() { require.NoError(t, querier.Close()) }()

	expected := map[string]Series{}
	for _, series := range generator.All() {
		expected[series.Labels.String()] = series
	}
	found := querier.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+"))
	for found.Next() {
		series, known := expected[found.At().Labels().String()]
		require.True(t, known, found.At().Labels())
		delete(expected, series.Labels.String())
		at := generator.first(start)
		samples := found.At().Iterator(nil)
		for kind := samples.Next(); kind != chunkenc.ValNone; kind = samples.Next() {
			require.Equal(t, at, samples.AtT())
			if series.Histogram != nil {
				_, value := samples.AtHistogram(nil)
				value.CounterResetHint = series.Histogram(at).CounterResetHint
				require.Equal(t, series.Histogram(at), value)
			} else {
				_, value := samples.At()
				require.Equal(t, series.Value(at), value)
			}
			at += time.Minute.Milliseconds()
		}
		require.NoError(t, samples.Err())
		require.Equal(t, generator.first(end), at)
	}
	require.NoError(t, found.Err())
	require.Empty(t, expected)
}

func TestGenerator_CountersNeverFall(t *testing.T) {
	value := counter(3, 1)
	for at := end.UnixMilli(); at < end.Add(48*time.Hour).UnixMilli(); at += 30_000 {
		require.Less(t, value(at), value(at+30_000))
	}
}
