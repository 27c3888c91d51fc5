package catalogtest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/stretchr/testify/require"
)

// MemoryOf serves the same series as WorldOf, from memory: it starts at once. It evaluates queries
// with Prometheus' engine. Of the other endpoints, it has series and label values.
func MemoryOf(t testing.TB, now time.Time, parts ...Wrote) string {
	t.Helper()
	m := &memory{engine: promql.NewEngine(promql.EngineOpts{
		MaxSamples: 5_000_000, Timeout: 10 * time.Second, EnableAtModifier: true, EnableNegativeOffset: true, Parser: parser.NewParser(parser.Options{}),
	})}
	byLabels := map[string]*memorySeries{}
	for _, part := range parts {
		for _, job := range part.Jobs {
			set := part.labelsOf(job)
			series := byLabels[set.String()]
			if series == nil {
				series = &memorySeries{labels: set}
				byLabels[set.String()], m.series = series, append(m.series, series)
			}
			interval := part.interval()
			for at := now.Add(-part.From).Truncate(interval); at.Before(now.Add(-part.To)); at = at.Add(interval) {
				if !at.Before(now.Add(-part.From)) {
					series.samples = append(series.samples, at.UnixMilli())
				}
			}
		}
	}
	slices.SortFunc(m.series, func(a, b *memorySeries) int { return labels.Compare(a.labels, b.labels) })
	for _, each := range m.series {
		slices.Sort(each.samples)
	}
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	t.Cleanup(func() { require.NoError(t, m.engine.Close()) })
	return server.URL
}

type memorySeries struct {
	labels  labels.Labels
	samples []int64 // timestamps; all values are 1
}

// between reports whether there is a sample between two timestamps, inclusive.
func (s *memorySeries) between(from, to int64) bool {
	i, _ := slices.BinarySearch(s.samples, from)
	return i < len(s.samples) && s.samples[i] <= to
}

// memory is a Prometheus without a disk.
type memory struct {
	engine *promql.Engine
	series []*memorySeries
}

// ServeHTTP implements http.Handler.
func (m *memory) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	milliseconds := func(name string) int64 {
		seconds, _ := strconv.ParseFloat(request.FormValue(name), 64)
		return int64(seconds*1000 + 0.5)
	}
	at := func(name string) time.Time { return time.UnixMilli(milliseconds(name)) }
	var (
		query promql.Query
		err   error
	)
	label, isValues := strings.CutPrefix(strings.TrimSuffix(request.URL.Path, "/values"), "/api/v1/label/")
	switch {
	case isValues:
		m.values(w, label)
		return
	case request.URL.Path == "/api/v1/series":
		m.list(w, request.FormValue("match[]"), milliseconds("start"), milliseconds("end"), request.FormValue("limit"))
		return
	case request.URL.Path == "/api/v1/query" && request.FormValue("time") == "":
		query, err = m.engine.NewInstantQuery(request.Context(), m, nil, request.FormValue("query"), time.Now())
	case request.URL.Path == "/api/v1/query":
		query, err = m.engine.NewInstantQuery(request.Context(), m, nil, request.FormValue("query"), at("time"))
	case request.URL.Path == "/api/v1/query_range":
		query, err = m.engine.NewRangeQuery(request.Context(), m, nil, request.FormValue("query"), at("start"), at("end"), time.Duration(milliseconds("step"))*time.Millisecond)
	default:
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	defer query.Close()
	result := query.Exec(request.Context())
	if result.Err != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	answer(w, map[string]any{"resultType": result.Value.Type(), "result": result.Value}, nil)
}

func answer(w http.ResponseWriter, data any, warnings []string) {
	_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": data, "warnings": warnings}) // The client may be gone.
}

// values answers with the values of a label.
func (m *memory) values(w http.ResponseWriter, label string) {
	values := []string{}
	for _, each := range m.series {
		if value := each.labels.Get(label); value != "" && !slices.Contains(values, value) {
			values = append(values, value)
		}
	}
	slices.Sort(values)
	answer(w, values, nil)
}

// list answers with the series of a selector, and with a warning if there are more than the limit.
func (m *memory) list(w http.ResponseWriter, selector string, start, end int64, limit string) {
	matchers, err := parser.NewParser(parser.Options{}).ParseMetricSelector(selector)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if end == 0 {
		end = time.Now().UnixMilli()
	}
	found := []labels.Labels{}
	for _, each := range m.series {
		if matches(each.labels, matchers) && each.between(start, end) {
			found = append(found, each.labels)
		}
	}
	if most, err := strconv.Atoi(limit); err == nil && most > 0 && len(found) > most {
		answer(w, found[:most], []string{"results truncated due to limit"})
		return
	}
	answer(w, found, nil)
}

func matches(set labels.Labels, matchers []*labels.Matcher) bool {
	return !slices.ContainsFunc(matchers, func(matcher *labels.Matcher) bool { return !matcher.Matches(set.Get(matcher.Name)) })
}

// Querier implements storage.Queryable.
func (m *memory) Querier(from, to int64) (storage.Querier, error) {
	return &memoryQuerier{Querier: storage.NoopQuerier(), memory: m, from: from, to: to}, nil
}

type memoryQuerier struct {
	storage.Querier
	memory   *memory
	from, to int64
}

// Select implements storage.Querier.
func (q *memoryQuerier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	set := &memorySet{}
	for _, each := range q.memory.series {
		first, _ := slices.BinarySearch(each.samples, q.from)
		after, _ := slices.BinarySearch(each.samples, q.to+1)
		if first >= after || !matches(each.labels, matchers) {
			continue
		}
		var samples []chunks.Sample
		for _, at := range each.samples[first:after] {
			samples = append(samples, memorySample(at))
		}
		set.list = append(set.list, storage.NewListSeries(each.labels, samples))
	}
	return set
}

// memorySet implements storage.SeriesSet.
type memorySet struct {
	list []*storage.SeriesEntry
	next int
}

// Next implements storage.SeriesSet.
func (s *memorySet) Next() bool { s.next++; return s.next <= len(s.list) }

// At implements storage.SeriesSet.
func (s *memorySet) At() storage.Series { return s.list[s.next-1] }

// Err implements storage.SeriesSet.
func (*memorySet) Err() error { return nil }

// Warnings implements storage.SeriesSet.
func (*memorySet) Warnings() annotations.Annotations { return nil }

// memorySample is the timestamp of a sample, whose value is 1. It implements chunks.Sample.
type memorySample int64

// T implements chunks.Sample.
func (s memorySample) T() int64 { return int64(s) }

// ST implements chunks.Sample.
func (memorySample) ST() int64 { return 0 }

// F implements chunks.Sample.
func (memorySample) F() float64 { return 1 }

// H implements chunks.Sample.
func (memorySample) H() *histogram.Histogram { return nil }

// FH implements chunks.Sample.
func (memorySample) FH() *histogram.FloatHistogram { return nil }

// Type implements chunks.Sample.
func (memorySample) Type() chunkenc.ValueType { return chunkenc.ValFloat }

// Copy implements chunks.Sample.
func (s memorySample) Copy() chunks.Sample { return s }
