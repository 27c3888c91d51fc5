package promql

import (
	"context"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

var (
	now    = time.UnixMilli(1_760_000_000_000).UTC()
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour
)

// milliseconds before now.
func before(duration time.Duration) int64 { return now.Add(-duration).UnixMilli() }

// readBy parses a text and returns what it reads in an evaluation.
func readBy(text string, e Evaluation) (Extent, error) {
	query, err := Parse(text)
	if err != nil {
		return Extent{}, err
	}
	return query.Extent(e)
}

func TestExtent_BoundsWhatAQueryReads(t *testing.T) {
	for _, test := range []struct {
		name   string
		query  string
		span   time.Duration // end − start; zero is an instant query
		oldest int64
		newest int64
		reads  time.Duration
	}{
		{"an instant selector looks back", "up", 0, before(5*minute) + 1, before(0), 0},
		{"a range query reads from its start", "up", hour, before(65*minute) + 1, before(0), hour},
		{"a range selector reads its range", "rate(x[30d])", 5 * minute, before(30*day+5*minute) + 1, before(0), 30 * day},
		{"offset moves the extent and not the span", "x offset 1w", 5 * minute, before(7*day+10*minute) + 1, before(7 * day), 5 * minute},
		{"a negative offset reads ahead", "x offset -10m", 0, before(-5*minute) + 1, before(-10 * minute), 0},
		{"ranges of nested subqueries add up", "max_over_time(rate(x[5m])[1h:1m])", 0, before(65*minute) + 1, before(0), 65 * minute},
		{"@ pins a selector", "x @ 1000000000", hour, 1_000_000_000_000 - 300_000 + 1, 1_000_000_000_000, hour},
		{"@ end() is the end of the range", "x @ end()", hour, before(5*minute) + 1, before(0), hour},
		{"@ start() is its start", "rate(x[1m] @ start())", hour, before(61*minute) + 1, before(60 * minute), hour},
		{"the widest selector counts", "x + rate(y[2h]) - z offset 3h", 0, before(185*minute) + 1, before(0), 2 * hour},
		{"durations may be expressions", "rate(x[5m * 12])", 0, before(hour) + 1, before(0), hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			extent, err := readBy(test.query, Evaluation{Start: now.Add(-test.span), End: now, Step: step(test.span)})
			require.NoError(t, err)
			require.Equal(t, Extent{Oldest: test.oldest, Newest: test.newest, Span: test.reads}, extent)
		})
	}
}

func step(span time.Duration) time.Duration {
	if span == 0 {
		return 0
	}
	return 15 * time.Second
}

func TestExtent_LookbackDelta(t *testing.T) {
	extent, err := readBy("up", Evaluation{Start: now, End: now, LookbackDelta: hour})
	require.NoError(t, err)
	require.Equal(t, before(hour)+1, extent.Oldest)
}

func TestExtent_WithoutSelector(t *testing.T) {
	for _, query := range []string{"1", "vector(1)", "time() - 5", `"text"`} {
		t.Run(query, func(t *testing.T) {
			extent, err := readBy(query, Evaluation{Start: now.Add(-day), End: now, Step: minute})
			require.NoError(t, err)
			require.True(t, extent.Nothing, query)
		})
	}
}

func TestExtent_BeyondArithmetic(t *testing.T) {
	for _, query := range []string{
		"x @ 1125899906843", "x @ -1125899906843", "max_over_time(x[1h:] @ 1125899906843)",
		"max_over_time((max_over_time(x[200y:1y]))[200y:1y])", "max_over_time((rate(x[200y]))[100y:1y])",
		"x offset 290y",
	} {
		t.Run(query, func(t *testing.T) {
			_, err := readBy(query, Evaluation{Start: now, End: now})
			require.ErrorIs(t, err, ErrBeyondArithmetic, query)
		})
	}
	for _, query := range []string{"x @ 1125899906842", "x @ -1125899906842", "rate(x[70y] offset 70y)"} {
		t.Run(query, func(t *testing.T) {
			_, err := readBy(query, Evaluation{Start: now, End: now})
			require.NoError(t, err, query)
		})
	}
}

// What was remembered of a query moves along with its start, but for a time that
// stands in the query itself.
func TestExtent_TimesInTheQueryDoNotMove(t *testing.T) {
	for _, query := range []string{
		"up offset 1h", "up @ 1000", "max_over_time(up[10m:1m] @ 1000)", "up - up @ 1000", "up @ 1000 - up", "max_over_time(up[10m:1m] @ end())", "sum(rate(up[10m] @ 1000))",
	} {
		t.Run(query, func(t *testing.T) {
			for _, start := range []time.Time{now, now.Add(hour)} {
				extent, err := readBy(query, Evaluation{Start: start, End: start})
				require.NoError(t, err)
				fresh, err := anew(t, query).computeExtent(Evaluation{Start: start, End: start})
				require.NoError(t, err)
				require.Equal(t, fresh, extent, query)
			}
		})
	}
}

func TestUnknownExtent_ReachesBackToTheBeginning(t *testing.T) {
	require.Equal(t, Extent{Oldest: math.MinInt64, Newest: before(0), Span: hour}, UnknownExtent(now.Add(-hour), now))
	require.Equal(t, int64(math.MinInt64), RangeExtent(time.Time{}, now).Oldest)
	require.Equal(t, Extent{Oldest: before(hour), Newest: before(0), Span: hour}, RangeExtent(now.Add(-hour), now))
}

// recorder is a storage without samples that notes the time ranges which the
// engine asks for.
type recorder struct {
	mutex          sync.Mutex
	oldest, newest int64
}

func (r *recorder) Querier(_, _ int64) (storage.Querier, error) {
	return &recordingQuerier{Querier: storage.NoopQuerier(), recorder: r}, nil
}

type recordingQuerier struct {
	storage.Querier
	recorder *recorder
}

func (q *recordingQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	q.recorder.mutex.Lock()
	defer q.recorder.mutex.Unlock()
	q.recorder.oldest = min(q.recorder.oldest, hints.Start)
	q.recorder.newest = max(q.recorder.newest, hints.End)
	return q.Querier.Select(ctx, sorted, hints, matchers...)
}

// TestExtent_AgreesWithTheEngine holds the extent to what the real engine asks
// its storage for.
func TestExtent_AgreesWithTheEngine(t *testing.T) {
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 1_000_000, Timeout: 10 * time.Second, EnableAtModifier: true, EnableNegativeOffset: true,
		LookbackDelta: DefaultLookbackDelta, Parser: lenientParser,
	})
	for _, query := range []string{
		"up", "rate(x[5m])", "x offset 1h", "x offset -1h", "rate(x[5m] offset 1h)", "x @ 1000000000", "x @ start()", "x @ end()",
		"rate(x[1h] @ end() offset 10m)", "max_over_time(x[1h:5m])", "max_over_time(rate(x[5m])[1h:5m] offset 1d)",
		"sum by (a) (x) / on (a) group_left sum by (a) (y offset 2h)", "absent(x)", "quantile_over_time(0.5, x[2h:1m] @ 1500000000)",
		"min_over_time((max_over_time(x[30m:1m] offset 5m))[1h:10m])", "histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))",
		"rate(x[1h] anchored)", "rate(x[1h] smoothed)", "x smoothed", "label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\")",
		"predict_linear(x[4h], 3600)", "x and on() (y offset 3d) unless z", "timestamp(x)", "count_values(\"v\", x)", "info(x)", "topk(3, x @ end())",
	} {
		t.Run(query, func(t *testing.T) {
			for _, span := range []time.Duration{0, 10 * minute, 6 * hour} {
				recorded := &recorder{oldest: math.MaxInt64, newest: math.MinInt64}
				extent, err := readBy(query, Evaluation{Start: now.Add(-span), End: now, Step: step(span)})
				require.NoError(t, err, query)
				var evaluation promql.Query
				if span == 0 {
					evaluation, err = engine.NewInstantQuery(t.Context(), recorded, nil, query, now)
				} else {
					evaluation, err = engine.NewRangeQuery(t.Context(), recorded, nil, query, now.Add(-span), now, step(span))
				}
				require.NoError(t, err, query)
				result := evaluation.Exec(t.Context())
				require.NoError(t, result.Err, query)
				evaluation.Close()
				if recorded.oldest == math.MaxInt64 {
					t.Fatalf("%s: the engine asked its storage for nothing", query)
				}
				require.LessOrEqual(t, extent.Oldest, recorded.oldest, "%s over %s reads older samples than its extent says", query, span)
				require.GreaterOrEqual(t, extent.Newest, recorded.newest, "%s over %s reads newer samples than its extent says", query, span)
			}
		})
	}
}

// What is remembered of a query has to be what would be computed anew.
func TestExtent_RememberedIsTheSame(t *testing.T) {
	for _, query := range []string{
		"up", "rate(x[5m] offset 1h)", "x @ start()", "x @ end()", "max_over_time(x[1h:5m] @ end())", "x @ 1000000000", "vector(1)", "rate(x[step()])",
		"x offset step()", "max_over_time(x[range() + 1m:1m])", "x + time() - start()", "info(x)", "x @ 9223372036854775",
	} {
		t.Run(query, func(t *testing.T) {
			for _, span := range []time.Duration{0, hour} {
				for _, shift := range []time.Duration{0, 17 * time.Millisecond, day, -3 * hour} {
					e := Evaluation{Start: now.Add(shift - span), End: now.Add(shift), Step: step(span)}
					remembered, rememberedError := readBy(query, e)
					computed, err := anew(t, query).computeExtent(e)
					require.Equal(t, err, rememberedError)
					require.Equal(t, computed, remembered, "%s over %s, %s later", query, span, shift)
				}
			}
		})
	}
}

// FuzzExtent holds the extent to what the real engine asks its storage for.
func FuzzExtent(f *testing.F) {
	for _, query := range []string{
		"up", "rate(x[5m] @ end())", "x[1h:] offset 5m", "info(x)", "sum(x) by (a)", "rate(x[1m] anchored)", "x smoothed offset -3m",
		"max_over_time(rate(x[5m])[1h:5m] offset 1d)", "x offset step()", "min_over_time((x @ 1e9)[10m:1m] @ start())",
	} {
		f.Add(query, int64(0), int64(0))
		f.Add(query, int64(600_000), int64(60_000))
	}
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 100_000, Timeout: 2 * time.Second, EnableAtModifier: true, EnableNegativeOffset: true, Parser: lenientParser,
		NoStepSubqueryIntervalFn: func(int64) int64 { return 60_000 },
	})
	f.Fuzz(func(t *testing.T, query string, spanMilliseconds, lookbackMilliseconds int64) {
		span := time.Duration(spanMilliseconds%(hour.Milliseconds())) * time.Millisecond
		lookback := time.Duration(lookbackMilliseconds%(hour.Milliseconds())) * time.Millisecond
		if span < 0 || lookback < 0 || len(query) > 200 {
			return
		}
		extent, err := readBy(query, Evaluation{Start: now.Add(-span), End: now, Step: step(span), LookbackDelta: lookback})
		if err != nil {
			return // It is routed as if it read everything.
		}
		recorded := &recorder{oldest: math.MaxInt64, newest: math.MinInt64}
		options := promql.NewPrometheusQueryOpts(false, lookback, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		var evaluation promql.Query
		if span == 0 {
			evaluation, err = engine.NewInstantQuery(ctx, recorded, options, query, now)
		} else {
			evaluation, err = engine.NewRangeQuery(ctx, recorded, options, query, now.Add(-span), now, step(span))
		}
		if err != nil {
			return
		}
		defer evaluation.Close()
		_ = evaluation.Exec(ctx) // What it asked for counts, whatever came of it.
		if recorded.oldest == math.MaxInt64 {
			return
		}
		if extent.Nothing || recorded.oldest < extent.Oldest || recorded.newest > extent.Newest {
			t.Errorf("%q over %s: the engine asks for %d to %d, and the extent is %+v", query, span, recorded.oldest, recorded.newest, extent)
		}
	})
}

func FuzzExtentArithmetic(f *testing.F) {
	for _, query := range []string{"up", "rate(x[5m] @ end())", "x[1h:] offset 5m", "info(x)", "sum(x) by (a)", "x @ 1e300"} {
		f.Add(query, int64(0), int64(60_000))
	}
	f.Fuzz(func(t *testing.T, query string, spanMilliseconds, lookbackMilliseconds int64) {
		span := time.Duration(spanMilliseconds%(1000*hour.Milliseconds())) * time.Millisecond
		lookback := time.Duration(lookbackMilliseconds%(1000*hour.Milliseconds())) * time.Millisecond
		if span < 0 || lookback < 0 {
			return // A request never has these.
		}
		extent, err := readBy(query, Evaluation{Start: now.Add(-span), End: now, Step: step(span), LookbackDelta: lookback})
		if err != nil || extent.Nothing {
			return
		}
		if extent.Span < span {
			t.Errorf("%q: the span %s is shorter than the query, %s", query, extent.Span, span)
		}
		const farthest = int64(1 << 52)
		if extent.Oldest < -farthest || extent.Oldest > farthest || extent.Newest < -farthest || extent.Newest > farthest {
			t.Errorf("%q: the extent %+v has overflown", query, extent)
		}
	})
}

func BenchmarkExtent(b *testing.B) {
	for b.Loop() {
		_, err := readBy(`sum by (job) (rate(http_requests_total{job=~"api|web", code!~"2.."}[5m])) / ignoring (code) group_left sum by (job) (rate(http_requests_total[5m] offset 1d))`,
			Evaluation{Start: now.Add(-hour), End: now, Step: 15 * time.Second})
		if err != nil {
			b.Fatal(err)
		}
	}
}
