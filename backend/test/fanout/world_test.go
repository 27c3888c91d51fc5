//go:build e2e

// Package fanout holds the gateway to its promise where hot is a Thanos Query over several sources:
// clusters, an HA pair, shards. Cold is another Thanos Query, which has a store gateway and one more cluster.
package fanout

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/diagnosis"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	interval = 15 * time.Second
	ahead    = 25 * time.Minute
	hour     = time.Hour
	whole    = 12 * hour // what cold and the oracle have
)

// source is a Prometheus with a sidecar, or one of several with equal labels.
type source struct {
	labels  map[string]string // external labels
	targets []string
	past    time.Duration
	gaps    []gap
	// sidecar is asked by hot, and inCold by cold.
	sidecar, inCold *stack.ThanosPart
}

// gap is a time in which a Prometheus was down, by its ages.
type gap struct{ from, to time.Duration }

// clusters are the sources of the world: an HA pair, two shards of which one is younger, and one cluster that hot
// does not have.
func clusters() (hot []*source, elsewhere *source) {
	return []*source{
		{labels: map[string]string{"cluster": "a", "replica": "0"}, targets: []string{"a-1", "a-2"}, past: 6 * hour},
		{labels: map[string]string{"cluster": "a", "replica": "1"}, targets: []string{"a-1", "a-2"}, past: 6 * hour},
		{labels: map[string]string{"cluster": "b", "replica": "shard-0"}, targets: []string{"b-1"}, past: 6 * hour},
		{labels: map[string]string{"cluster": "b", "replica": "shard-1"}, targets: []string{"b-2"}, past: hour},
	}, &source{labels: map[string]string{"cluster": "c"}, targets: []string{"c-1"}, past: whole}
}

// seriesOf returns the series of a cluster: all have up, temp and requests_total; only a and b have recent.
func seriesOf(cluster string, targets []string, more ...string) (list []history.Series) {
	for i, target := range targets {
		add := func(name string, value func(int64) float64) {
			pairs := append([]string{"__name__", name, "job", "node", "instance", target}, more...)
			list = append(list, history.Series{Labels: labels.FromStrings(pairs...), Value: value})
		}
		seed := float64(i + int(target[0]))
		add("up", func(int64) float64 { return 1 })
		add("temp", func(at int64) float64 { return math.Round(100*math.Sin(float64(at)/3e6+seed)) + 200 })
		add("requests_total", func(at int64) float64 { return math.Floor(float64(at%864_000_000) / 1000 * (1 + seed/100)) })
		if cluster != "c" {
			add("recent", func(at int64) float64 { return math.Round(float64(at%1_000_000)/1000) + seed })
		}
	}
	return list
}

type world struct {
	now               time.Time
	sources           []*source // of hot
	hot, cold, oracle string    // addresses
	ofHot             []string  // arguments of a Thanos Query over the sources of hot
	thanos, database  string    // programs
}

func program(t *testing.T, name string) string {
	t.Helper()
	path, err := stack.Tool(t.Context(), os.Stderr, name)
	require.NoError(t, err)
	return path
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{now: time.Now(), thanos: program(t, "thanos"), database: program(t, "prometheus")}
	hot, elsewhere := clusters()
	w.sources = hot
	// A Thanos Query drops a store that is lost after some seconds, unless it is strict about it.
	var ofCold []string
	for i, each := range hot {
		w.start(t, each, fmt.Sprint("hot", i))
		w.ofHot, ofCold = append(w.ofHot, "--endpoint-strict", each.sidecar.GRPC), append(ofCold, "--endpoint", each.inCold.GRPC)
	}
	w.start(t, elsewhere, "elsewhere")
	ofCold = append(ofCold, "--endpoint", elsewhere.inCold.GRPC, "--query.replica-label", "replica")
	w.hot = w.query(t, len(hot), append(w.ofHot, "--query.replica-label=replica")...)
	// Where chunks of two stores overlap, Thanos deduplicates them, and drops samples. So the store gateway has what
	// is older than the samples of the sidecars.
	bucket := stack.Thanos{Dir: t.TempDir(), Bucket: t.TempDir(), QueryArguments: ofCold}
	var all []history.Series
	for _, each := range []*source{hot[0], hot[2], hot[3]} {
		blocks := t.TempDir()
		cluster := each.labels["cluster"]
		require.NoError(t, history.Generator{Interval: interval, Only: seriesOf(cluster, each.targets)}.WriteBlocks(t.Context(), blocks, w.now.Add(-whole), w.now.Add(-each.past)))
		require.NoError(t, bucket.Upload(t.Context(), w.thanos, blocks, os.Stderr, fmt.Sprintf("cluster=%q", cluster), fmt.Sprintf("replica=%q", each.labels["replica"])))
		all = append(all, seriesOf(cluster, each.targets, "cluster", cluster)...)
	}
	all = append(all, seriesOf("c", elsewhere.targets, "cluster", "c")...)
	servers, err := bucket.Start(t.Context(), w.thanos)
	require.NoError(t, err)
	t.Cleanup(servers.Stop)
	w.cold = servers.Query.URL
	w.awaitStores(t, w.cold, len(hot)+2)
	data := t.TempDir()
	require.NoError(t, history.Generator{Interval: interval, Only: all}.WriteBlocks(t.Context(), data, w.now.Add(-whole), w.now.Add(ahead)))
	oracle, err := embedded.Start(embedded.Options{Address: "127.0.0.1:0", Data: data, Retention: 30 * 24 * hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, oracle.Close()) })
	w.oracle = oracle.URL
	return w
}

// start starts the Prometheus of a source, and a sidecar of it for each tier.
func (w *world) start(t *testing.T, of *source, name string) {
	t.Helper()
	directory := t.TempDir()
	data := filepath.Join(directory, "data")
	from := w.now.Add(-of.past)
	for _, each := range append(of.gaps, gap{from: -ahead}) {
		require.NoError(t, history.Generator{Interval: interval, Only: seriesOf(of.labels["cluster"], of.targets)}.WriteBlocks(t.Context(), data, from, w.now.Add(-each.from)))
		from = w.now.Add(-each.to)
	}
	server, err := stack.Prometheus{
		Name: name, Dir: directory, Data: data, Retention: "90d", Global: map[string]any{"external_labels": of.labels}, OutOfOrderWindow: "6h",
	}.Start(t.Context(), w.database)
	require.NoError(t, err)
	t.Cleanup(server.Kill)
	for _, part := range []**stack.ThanosPart{&of.sidecar, &of.inCold} {
		*part, err = stack.Thanos{Dir: t.TempDir()}.StartPart(t.Context(), w.thanos, "sidecar", "--prometheus.url", server.URL, "--tsdb.path", filepath.Join(directory, "none"))
		require.NoError(t, err)
		t.Cleanup((*part).Kill)
	}
}

// query starts a Thanos Query, and returns its address.
func (w *world) query(t *testing.T, stores int, arguments ...string) string {
	t.Helper()
	started, err := stack.Thanos{Dir: t.TempDir()}.StartPart(t.Context(), w.thanos, "query", arguments...)
	require.NoError(t, err)
	t.Cleanup(started.Kill)
	w.awaitStores(t, started.URL, stores)
	return started.URL
}

func (w *world) awaitStores(t *testing.T, address string, count int) {
	t.Helper()
	require.Eventually(t, func() bool {
		var listed struct {
			Data map[string][]struct {
				LabelSets []any
				LastError any
			}
		}
		_, body, err := fetch(t, address+"/api/v1/stores", "")
		if err != nil || json.Unmarshal(body, &listed) != nil {
			return false
		}
		total := 0
		for _, list := range listed.Data {
			for _, each := range list {
				// A strict one is listed before it is connected, and queries warn until then.
				if len(each.LabelSets) > 0 && each.LastError == nil {
					total++
				}
			}
		}
		return total == count
	}, 60*time.Second, 100*time.Millisecond, "the stores")
}

// gateway starts a gateway, and returns its address.
func (w *world) gateway(t *testing.T, threshold, probes time.Duration, strategy tier.Strategy) string {
	t.Helper()
	address, _ := gatewayOf(t, w.hot, w.cold, threshold, probes, strategy)
	return address
}

// gatewayOf starts a gateway with two tiers. It returns its address, and what it finds wrong with them.
func gatewayOf(t *testing.T, hot, cold string, threshold, probes time.Duration, strategy tier.Strategy) (address string, findings []diagnosis.Finding) {
	t.Helper()
	settings := running.TwoTiers(hot, cold)
	settings.Routing.Threshold, settings.Routing.Strategy = config.Duration(threshold), string(strategy)
	settings.Probe.Interval, settings.Probe.LearnInterval = config.Duration(probes), config.Duration(4*probes)
	manager := running.Manager(t, settings)
	findings = diagnosis.Diagnose(t.Context(), manager)
	server := httptest.NewServer(gateway.New(manager))
	t.Cleanup(server.Close)
	return server.URL, findings
}

func fetch(t *testing.T, target, choice string) (http.Header, []byte, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
	require.NoError(t, err)
	if choice != "" {
		request.Header.Set("X-Tier-Choice", choice)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	var body json.RawMessage
	err = json.NewDecoder(response.Body).Decode(&body)
	return response.Header, body, err
}

// question is a query of some time before now.
type question struct {
	query string
	span  time.Duration // zero for an instant query
}

// answer is what a server answers.
type answer struct {
	tier, reason string
	source       string            // of hot
	series       map[string]string // values by labels
	warnings     []string
}

func (w *world) ask(t *testing.T, address string, q question) answer {
	t.Helper()
	return w.askTier(t, address, q, "")
}

// askTier asks one tier of a gateway.
func (w *world) askTier(t *testing.T, address string, q question, choice string) answer {
	t.Helper()
	end := w.now.Truncate(time.Minute)
	parameters := url.Values{"query": {q.query}}
	path := "/api/v1/query"
	if q.span > 0 {
		path += "_range"
		step := max(q.span/60, 15*time.Second).Truncate(15 * time.Second)
		start := end.Add(-q.span)
		parameters.Set("start", seconds(start))
		parameters.Set("end", seconds(end))
		parameters.Set("step", strconv.FormatFloat(step.Seconds(), 'f', -1, 64))
	} else {
		parameters.Set("time", seconds(end))
	}
	header, body, err := fetch(t, address+path+"?"+parameters.Encode(), choice)
	require.NoError(t, err)
	var read struct {
		Status, Error string
		Warnings      []string
		Data          struct {
			ResultType string
			Result     json.RawMessage
		}
	}
	require.NoError(t, json.Unmarshal(body, &read), string(body))
	require.Equal(t, "success", read.Status, read.Error)
	found := answer{header.Get("X-Tier"), header.Get("X-Tier-Reason"), header.Get("X-Tier-Source"), map[string]string{}, read.Warnings}
	if read.Data.ResultType == "matrix" {
		var matrix model.Matrix
		require.NoError(t, json.Unmarshal(read.Data.Result, &matrix))
		for _, series := range matrix {
			found.series[series.Metric.String()] = fmt.Sprint(series.Values)
		}
		return found
	}
	var vector model.Vector
	require.NoError(t, json.Unmarshal(read.Data.Result, &vector))
	for _, sample := range vector {
		found.series[sample.Metric.String()] = fmt.Sprint(sample.Value)
	}
	return found
}

func seconds(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

// String says which tier answered, and why.
func (a *answer) String() string { return fmt.Sprintf("%s: %s %s", a.tier, a.reason, a.warnings) }

// differences returns some values that differ between two answers.
func differences(expected, found map[string]string) (list []string) {
	for name, value := range expected {
		if other := found[name]; other != value {
			list = append(list, fmt.Sprintf("%s: expected %s, got %s", name, missingIn(value, other), missingIn(other, value)))
		}
	}
	for name := range found {
		if _, is := expected[name]; !is {
			list = append(list, "not expected: "+name)
		}
	}
	return list
}

// missingIn returns the values of a text that another one lacks.
func missingIn(text, other string) (missing []string) {
	for value := range strings.SplitSeq(strings.Trim(text, "[]"), "] ") {
		if !strings.Contains(other, value) {
			missing = append(missing, value)
		}
	}
	return missing[:min(len(missing), 5)]
}
