//go:build e2e

// Package replicas holds cached answers to those of the same Thanos without a
// cache, over two replicas of a Prometheus that have missed different scrapes.
package replicas

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	scrapeInterval = 30 * time.Second
	// past is how far back the samples reach, and future how far beyond the start
	// of the test, so that they come in while it runs.
	past, future = 26 * time.Hour, 40 * time.Minute
	rounds       = 4
)

// replica is one of two servers that scrape the same targets.
type replica struct {
	name   string
	offset time.Duration // of its scrapes
	gaps   int64         // seed of when it misses them
	// misses reports whether it missed a scrape. Without it, gaps says when, for all metrics but up.
	misses func(time.Time) bool
}

var replicas = []replica{{name: "a", gaps: 1}, {name: "b", offset: 13 * time.Second, gaps: 2}}

// missed returns a function that reports whether the replica missed a scrape of a metric.
func (r replica) missed(from, to time.Time) func(metric string, at time.Time) bool {
	if r.misses != nil {
		return func(_ string, at time.Time) bool { return r.misses(at) }
	}
	missed := map[int64]bool{}
	random := rand.New(rand.NewSource(r.gaps))
	for at := from; at.Before(to); at = at.Add(time.Duration(random.Intn(40)) * time.Minute) {
		end := at.Add(time.Duration(random.Intn(20)) * scrapeInterval)
		for ; at.Before(end) && at.Before(to.Add(-future-time.Hour)); at = at.Add(scrapeInterval) {
			missed[at.UnixMilli()] = true
		}
	}
	// up is what the gateway follows hot by.
	return func(metric string, at time.Time) bool { return metric != "up" && missed[at.UnixMilli()] }
}

// write writes what a replica has scraped as one block.
func (r replica) write(ctx context.Context, directory string, from, to time.Time) (err error) {
	writer, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), directory, (4 * past).Milliseconds())
	if err != nil {
		return err
	}
	defer func() { _ = writer.Close() }()
	missed := r.missed(from, to)
	appender := writer.Appender(ctx)
	for _, series := range slices.Concat((history.Generator{Interval: scrapeInterval}).All(), latency(), temperatures()) {
		if series.Value == nil {
			continue
		}
		var reference storage.SeriesRef
		for at := from; at.Before(to); at = at.Add(scrapeInterval) {
			scraped := at.Add(r.offset).UnixMilli()
			if missed(series.Labels.Get(model.MetricNameLabel), at) {
				continue
			}
			if reference, err = appender.Append(reference, series.Labels, scraped, series.Value(scraped)); err != nil {
				return err
			}
		}
	}
	if err := appender.Commit(); err != nil {
		return err
	}
	_, err = writer.Flush(ctx)
	return err
}

// queries are what panels ask for.
var queries = []string{
	`rate(http_requests_total[5m])`,
	`sum by (job) (rate(http_requests_total[2m]))`,
	`increase(http_requests_total{code="500"}[1h])`,
	`irate(node_cpu_seconds_total[5m])`,
	`node_load1`,
	`avg_over_time(node_load1[30m])`,
	`max by (job) (process_resident_memory_bytes)`,
	`histogram_quantile(0.9, sum by (le, job) (rate(http_request_duration_seconds_bucket[10m])))`,
	`max_over_time(rate(http_requests_total[5m])[1h:5m])`,
	`node_load1 - node_load1 offset 1h`,
	`deriv(node_memory_MemAvailable_bytes[15m])`,
	`count_over_time(node_load1[10m])`,
	`topk(2, rate(http_requests_total[5m]))`,
	`absent(node_load1{instance="none"})`,
	`quantile_over_time(0.5, node_load1[20m])`,
	`node_load1 / on (instance) group_left sum by (instance) (node_load1 @ start())`,
}

// points are the values of an answer by series and time.
type points map[string]string

// get asks, and returns the answer and how the cache was used.
func get(t *testing.T, target string, parameters url.Values) (text []byte, use string) {
	t.Helper()
	text, header := fetch(t, target, parameters)
	return text, header.Get("X-Tier-Cache")
}

// fetch asks, and returns the answer and its header.
func fetch(t *testing.T, target string, parameters url.Values) (text []byte, header http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target+"?"+parameters.Encode(), http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	text, err = io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode, string(text[:min(len(text), 500)]))
	return text, response.Header
}

// series is a series of an answer.
type series struct {
	Metric labels.Labels
	Values [][2]json.RawMessage
}

// matrix asks for a range, and returns the series and the header.
func matrix(t *testing.T, base string, parameters url.Values) ([]series, http.Header) {
	t.Helper()
	text, header := fetch(t, base+"/api/v1/query_range", parameters)
	var answer struct {
		Warnings []string
		Data     struct{ Result []series }
	}
	require.NoError(t, json.Unmarshal(text, &answer))
	for _, warning := range answer.Warnings {
		require.Contains(t, warning, "PromQL info")
	}
	return answer.Data.Result, header
}

// ask asks for a range, and returns the values and how the cache was used.
func ask(t *testing.T, base string, parameters url.Values) (points, string) {
	t.Helper()
	result, header := matrix(t, base, parameters)
	found := points{}
	for _, series := range result {
		for _, sample := range series.Values {
			found[series.Metric.String()+" @ "+string(sample[0])] = string(sample[1])
		}
	}
	return found, header.Get("X-Tier-Cache")
}

// differing counts the points that only one has, or that have other values.
func differing(one, other points) (count int, example string) {
	note := func(at string) {
		count++
		example = fmt.Sprintf("%s: %s or %s", at, one[at], other[at])
	}
	for at := range one {
		if one[at] != other[at] {
			note(at)
		}
	}
	for at := range other {
		if _, there := one[at]; !there {
			note(at)
		}
	}
	return count, example
}

// servers starts hot, the first replica, and a Thanos that has both.
func servers(t *testing.T, directory string, now time.Time) (hot, cold string) {
	t.Helper()
	prometheusPath, err := stack.Tool(t.Context(), os.Stderr, "prometheus")
	require.NoError(t, err)
	thanosPath, err := stack.Tool(t.Context(), os.Stderr, "thanos")
	require.NoError(t, err)
	thanos := stack.Thanos{Dir: directory, Bucket: filepath.Join(directory, "bucket"), QueryArguments: []string{"--query.replica-label=replica"}}
	for _, each := range replicas {
		blocks := filepath.Join(directory, each.name)
		require.NoError(t, each.write(t.Context(), blocks, now.Add(-past), now.Add(future)))
		require.NoError(t, thanos.Upload(t.Context(), thanosPath, blocks, io.Discard, `cluster="lab"`, fmt.Sprintf("replica=%q", each.name)))
	}
	prometheus, err := stack.Prometheus{
		Name: "hot", Dir: directory, Data: filepath.Join(directory, replicas[0].name), Retention: "10y",
		Global: map[string]any{"scrape_interval": "30s", "external_labels": map[string]string{"cluster": "lab", "replica": replicas[0].name}},
	}.Start(t.Context(), prometheusPath)
	require.NoError(t, err)
	t.Cleanup(func() { _ = prometheus.Stop() })
	started, err := thanos.Start(t.Context(), thanosPath)
	require.NoError(t, err)
	t.Cleanup(started.Stop)
	running.AwaitStores(t, started.Query, "replica", len(replicas))
	return prometheus.URL, started.Query.URL
}

// startGateway starts a gateway that caches, and waits until it has learned.
func startGateway(t *testing.T, hot, cold string) (string, *datasource.Manager) {
	t.Helper()
	settings := running.TwoTiers(hot, cold)
	settings.Probe.Interval = config.Duration(500 * time.Millisecond)
	manager := running.Start(t, settings, running.Errors())
	server := httptest.NewServer(gateway.New(manager))
	t.Cleanup(server.Close)
	return server.URL, manager
}

func TestCache_AnswersAreThoseOfTheSameTier(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	directory := t.TempDir()
	hot, cold := servers(t, directory, now)
	base, manager := startGateway(t, hot, cold)
	seconds := func(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }
	for _, dedup := range []string{"false", "true"} {
		t.Run("dedup="+dedup, func(t *testing.T) {
			all, differ, answers, fromCache := 0, 0, 0, 0
			common, moved := 0, 0 // points that Thanos has told before, and those that were others then
			before := map[string]points{}
			for round := range rounds {
				for _, query := range queries {
					for _, shape := range []struct{ step, span time.Duration }{{time.Minute, 4 * time.Hour}, {10 * time.Minute, 22 * time.Hour}, {77 * time.Second, 2 * time.Hour}} {
						// Every round is some steps later, as a refresh is, and a bit longer or shorter.
						end := now.Add(-shape.step * time.Duration(3*(rounds-round)))
						start := end.Add(-shape.span).Add(shape.step * time.Duration(round%3-1))
						parameters := url.Values{
							"query": {query}, "start": {seconds(start.Truncate(shape.step))}, "end": {seconds(end)}, "step": {seconds(time.Unix(0, 0).Add(shape.step))}, "dedup": {dedup},
						}
						expected, _ := ask(t, cold, parameters)
						got, use := ask(t, base, parameters)
						count, example := differing(expected, got)
						if count > 0 && dedup == "false" {
							t.Errorf("%d of %d points of %s differ: %s", count, len(expected), query, example)
						}
						all, differ = all+len(expected), differ+count
						panel := query + shape.step.String()
						if round == 0 && !strings.Contains(query, "start()") {
							before[panel] = expected
						}
						for at, value := range before[panel] {
							if now, there := expected[at]; there && round > 0 {
								common++
								if now != value {
									moved++
								}
							}
						}
						if round > 0 {
							answers++
							if strings.HasPrefix(use, "hit") || strings.HasPrefix(use, "partial") {
								fromCache++
							}
						}
					}
				}
				probes(t, manager, 3)
			}
			t.Logf("%d of %d points differ; %d of %d later answers came at least partly from the cache; Thanos itself told %d of %d points otherwise some steps before",
				differ, all, fromCache, answers, moved, common)
			require.Greater(t, all, 150_000)
			require.GreaterOrEqual(t, 10*fromCache, 9*answers)
			if dedup == "false" {
				require.Zero(t, differ)
				require.Zero(t, moved)
				return
			}
			// Where Thanos deduplicates, it depends on the beginning of what it reads which
			// replica it follows from gap to gap: there is no one answer. What is kept
			// is not much further from it than it is from itself: how far depends on where the steps lie.
			require.LessOrEqual(t, float64(differ)/float64(all), 2*float64(moved)/float64(common))
		})
	}
}

// elements are the elements of an answer, sorted: Thanos puts those of a vector in
// any order.
func elements(t *testing.T, text []byte) []string {
	t.Helper()
	var answer struct{ Data json.RawMessage }
	require.NoError(t, json.Unmarshal(text, &answer))
	var query struct{ Result []json.RawMessage }
	list := &query.Result
	if bytes.HasPrefix(answer.Data, []byte("[")) {
		require.NoError(t, json.Unmarshal(answer.Data, list))
	} else {
		require.NoError(t, json.Unmarshal(answer.Data, &query))
	}
	sorted := make([]string, 0, len(*list))
	for _, each := range *list {
		sorted = append(sorted, string(each))
	}
	slices.Sort(sorted)
	return sorted
}

func TestCache_WholeAnswersAreThoseOfTheSameTier(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	hot, cold := servers(t, t.TempDir(), now)
	base, manager := startGateway(t, hot, cold)
	at := func(ago time.Duration) string { return strconv.FormatInt(now.Add(-ago).Unix(), 10) }
	type question struct {
		path       string
		parameters url.Values
	}
	var questions []question
	for _, query := range queries {
		for _, ago := range []time.Duration{15 * time.Minute, 3 * time.Hour, 20 * time.Hour} {
			questions = append(questions, question{"/api/v1/query", url.Values{"query": {query}, "time": {at(ago)}, "dedup": {"false"}}})
		}
	}
	for _, path := range []string{"/api/v1/series", "/api/v1/labels", "/api/v1/label/job/values", "/api/v1/label/replica/values", "/api/v1/label/__name__/values"} {
		for _, selector := range []string{"up", `{job=~"c.+"}`} {
			for _, ago := range []time.Duration{5 * time.Hour, 20 * time.Hour} {
				questions = append(questions, question{path, url.Values{"match[]": {selector}, "start": {at(ago + time.Hour)}, "end": {at(ago)}, "dedup": {"false"}}})
			}
		}
	}
	fromCache := 0
	for range 3 {
		for _, each := range questions {
			expected, _ := get(t, cold+each.path, each.parameters)
			got, use := get(t, base+each.path, each.parameters)
			require.True(t, slices.Equal(elements(t, expected), elements(t, got)), "%s?%s: %s", each.path, each.parameters.Encode(), use)
			require.NotEmpty(t, use, each.path)
			if strings.HasPrefix(use, "hit") {
				fromCache++
			}
		}
		probes(t, manager, 3)
	}
	t.Logf("%d of %d answers came from the cache", fromCache, 3*len(questions))
	require.Equal(t, 2*len(questions), fromCache, "all that were asked again")
}

// probes waits for some probes of cold, after which what was answered is kept.
func probes(t *testing.T, manager *datasource.Manager, count int) {
	t.Helper()
	for range count {
		checked := manager.Health().Tiers["cold"].LastCheck
		require.Eventually(t, func() bool { return manager.Health().Tiers["cold"].LastCheck.After(checked) }, 60*time.Second, 10*time.Millisecond)
	}
}
