//go:build e2e

// Package coldalone holds the gateway to its promise where there is no hot tier: what it has kept of cold equals what
// cold answers after late samples, blocks and stores have come in.
package coldalone

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	interval = 15 * time.Second
	minute   = time.Minute
	hour     = time.Hour
	// span is what the questions are about.
	span = 10 * hour
	// ahead is how far the samples of a source without late ones reach beyond now.
	ahead = 20 * minute
)

func program(t *testing.T, name string) string {
	t.Helper()
	path, err := stack.Tool(t.Context(), os.Stderr, name)
	require.NoError(t, err)
	return path
}

// seriesOf returns the series of a cluster. Their values differ between replicas by a seed.
func seriesOf(cluster string, seed float64, more ...string) (list []history.Series) {
	for i := range 2 {
		add := func(name string, value func(int64) float64) {
			pairs := append([]string{"__name__", name, "job", "node", "instance", fmt.Sprint(cluster, i)}, more...)
			list = append(list, history.Series{Labels: labels.FromStrings(pairs...), Value: value})
		}
		add("up", func(int64) float64 { return 1 })
		add("temp", func(at int64) float64 { return math.Round(100*math.Sin(float64(at)/3e6+float64(i))) + 200 + seed })
		add("requests_total", func(at int64) float64 { return math.Floor(float64(at%864_000_000) / 1000 * float64(1+i)) })
	}
	return list
}

// blocks writes the blocks of series, and returns their directory.
func blocks(t *testing.T, every time.Duration, series []history.Series, stretches ...[2]time.Time) string {
	t.Helper()
	directory := t.TempDir()
	for _, each := range stretches {
		require.NoError(t, history.Generator{Interval: every, Only: series}.WriteBlocks(t.Context(), directory, each[0], each[1]))
	}
	return directory
}

// send sends the samples of series from a time to another by remote write.
func send(t *testing.T, target string, series []history.Series, from, to time.Time) {
	t.Helper()
	status, message := trySend(t, target, series, from, to)
	require.Less(t, status, http.StatusMultipleChoices, message)
}

func trySend(t *testing.T, target string, series []history.Series, from, to time.Time) (status int, message string) {
	t.Helper()
	var list []prompb.TimeSeries
	for _, each := range series {
		made := prompb.TimeSeries{Labels: prompb.FromLabels(each.Labels, nil)}
		for at := from.Truncate(interval).Add(interval).UnixMilli(); at < to.UnixMilli(); at += interval.Milliseconds() {
			made.Samples = append(made.Samples, prompb.Sample{Timestamp: at, Value: each.Value(at)})
		}
		list = append(list, made)
	}
	text, err := (&prompb.WriteRequest{Timeseries: list}).Marshal()
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, bytes.NewReader(snappy.Encode(nil, text)))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/x-protobuf")
	request.Header.Set("Content-Encoding", "snappy")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, errors.Join(err, response.Body.Close()))
	return response.StatusCode, string(body)
}

// asked is a range query that reached cold.
type asked struct {
	query      string
	start, end time.Time
}

// front is a proxy in front of cold. It notes the range queries that are not the gateway's own.
type front struct {
	*httptest.Server

	mutex sync.Mutex
	asked []asked
}

// newFront starts one. It answers 404 at paths that hidden selects.
func newFront(t *testing.T, target string, hidden func(path string) bool) *front {
	t.Helper()
	base, err := url.Parse(target)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(base)
	f := &front{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if hidden != nil && hidden(request.URL.Path) {
			http.NotFound(w, request)
			return
		}
		if strings.HasSuffix(request.URL.Path, "/query_range") && !strings.HasPrefix(request.UserAgent(), "tierproxy (probe)") {
			values := request.URL.Query()
			f.mutex.Lock()
			f.asked = append(f.asked, asked{values.Get("query"), at(values.Get("start")), at(values.Get("end"))})
			f.mutex.Unlock()
		}
		proxy.ServeHTTP(w, request)
	}))
	t.Cleanup(f.Close)
	return f
}

// take returns what was asked since the last call.
func (f *front) take() []asked {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	list := f.asked
	f.asked = nil
	return list
}

func at(text string) time.Time {
	number, _ := strconv.ParseFloat(text, 64) // The gateway has written it.
	return time.UnixMilli(int64(number * 1000))
}

// gatewayOf starts a gateway with cold alone.
func gatewayOf(t *testing.T, cold string, change func(*config.Config)) string {
	t.Helper()
	settings := running.TwoTiers("", cold)
	settings.Probe.Interval, settings.Probe.LearnInterval = config.Duration(250*time.Millisecond), config.Duration(2*time.Second)
	settings.Cache.Enabled, settings.Discovery.Enabled = true, false
	if change != nil {
		change(&settings)
	}
	server := httptest.NewServer(gateway.New(running.Manager(t, settings)))
	t.Cleanup(server.Close)
	return server.URL
}

// question is a range query, or an instant one without step.
type question struct {
	query      string
	start, end time.Time
	step       time.Duration
	merges     bool // replicas
}

// answer is what a server answers.
type answer struct {
	points         map[string]map[int64]string // values by labels and time
	cache          string
	cached, steps  int
	warnings       []string
	status         int
	message, whole string
}

func ask(t *testing.T, address string, q question) answer {
	t.Helper()
	values, path := url.Values{"query": {q.query}}, "/api/v1/query"
	if !q.merges {
		values.Set("dedup", "false")
	}
	if q.step > 0 {
		path += "_range"
		values.Set("start", strconv.FormatInt(q.start.Unix(), 10))
		values.Set("end", strconv.FormatInt(q.end.Unix(), 10))
		values.Set("step", strconv.FormatInt(int64(q.step.Seconds()), 10))
	} else {
		values.Set("time", strconv.FormatInt(q.end.Unix(), 10))
	}
	return fetch(t, address+path+"?"+values.Encode())
}

func fetch(t *testing.T, target string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, errors.Join(err, response.Body.Close()))
	var read struct {
		Error    string
		Warnings []string
		Data     json.RawMessage
	}
	require.NoError(t, json.Unmarshal(body, &read), string(body))
	found := answer{
		points: map[string]map[int64]string{}, cache: response.Header.Get("X-Tier-Cache"), warnings: read.Warnings, status: response.StatusCode, message: read.Error,
		whole: string(read.Data),
	}
	_, steps, _ := strings.Cut(found.cache, "steps=")
	cached, all, _ := strings.Cut(steps, "/")
	found.cached, _ = strconv.Atoi(cached)
	found.steps, _ = strconv.Atoi(all)
	var result struct{ Result model.Matrix }
	if json.Unmarshal(read.Data, &result) == nil {
		for _, series := range result.Result {
			points := map[int64]string{}
			for _, pair := range series.Values {
				points[int64(pair.Timestamp)] = pair.Value.String()
			}
			found.points[series.Metric.String()] = points
		}
	}
	return found
}

// changes returns the points not after a time that differ between two answers, at times that both are about.
func changes(before, after answer, from, until time.Time) (list []string) {
	for name, points := range before.points {
		for at, value := range points {
			if other := after.points[name][at]; at >= from.UnixMilli() && at <= until.UnixMilli() && other != value {
				list = append(list, fmt.Sprintf("%s at %s: %q, then %q", name, time.UnixMilli(at).UTC().Format(time.TimeOnly), value, other))
			}
		}
	}
	for name, points := range after.points {
		for at := range points {
			if _, is := before.points[name][at]; !is && at >= from.UnixMilli() && at <= until.UnixMilli() {
				list = append(list, fmt.Sprintf("%s at %s is new", name, time.UnixMilli(at).UTC().Format(time.TimeOnly)))
			}
		}
	}
	return list
}

// healthOf returns the health of cold.
func healthOf(t *testing.T, address string) resolve.TierHealth {
	t.Helper()
	_, body, err := stack.Get(t.Context(), address+"/api/v1/datasources/health", nil)
	require.NoError(t, err)
	var health resolve.Health
	require.NoError(t, json.Unmarshal(body, &health), string(body))
	return health.Tiers["cold"]
}

// warm asks until some steps come from the cache.
func warm(t *testing.T, address string, q question) {
	t.Helper()
	var last answer
	require.Eventually(t, func() bool {
		last = ask(t, address, q)
		return last.cached > 0
	}, time.Minute, 100*time.Millisecond, "%s is never kept", q.query)
	t.Logf("%s: %s", q.query, last.cache)
}

// requireEqual requires that the gateway answers as cold does, and from the cache.
func requireEqual(t *testing.T, address, cold string, q question) {
	t.Helper()
	expected, got := ask(t, cold, q), ask(t, address, q)
	require.Equal(t, http.StatusOK, got.status, got.message)
	require.Positive(t, got.cached, "%s: %s", q.query, got.cache)
	found := changes(expected, got, q.start, q.end)
	require.Empty(t, found[:min(len(found), 10)], "%s (%s): %d points differ", q.query, got.cache, len(found))
}
