//go:build e2e

package oracle

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
)

// stretch is what a tier does not have: the samples of some metrics at ages between two, inclusive.
// Without metrics, it is those of all.
type stretch struct {
	metrics  []string
	from, to time.Duration
}

// noMetrics are names of metrics that the questions contain and no tier has.
var noMetrics = []string{"nonexistent", "user_http_requests_total"}

// always is an age that no sample has.
const always = 1000 * hour

// measured is how exactly the end of cold is known: two scrape intervals, and a bit.
const measured = 3 * scrapeInterval

// widened returns stretches that begin earlier and end later by a time, which may be negative.
func widened(stretches []stretch, by time.Duration) (wider []stretch) {
	for _, each := range stretches {
		wider = append(wider, stretch{each.metrics, each.from + by, each.to - by})
	}
	return wider
}

// contains reports whether samples of a metric between two timestamps belong to the stretch.
func (s stretch) contains(metric string, now time.Time, oldest, newest int64) bool {
	return (len(s.metrics) == 0 || slices.Contains(s.metrics, metric)) && newest >= now.Add(-s.from).UnixMilli() && oldest <= now.Add(-s.to).UnixMilli()
}

// lacking is what the tiers of a world do not have.
type lacking struct{ hot, cold []stretch }

// without returns series without the samples of stretches.
func without(series []loadedSeries, now time.Time, stretches []stretch) (left []loadedSeries) {
	for _, each := range series {
		kept := loadedSeries{labels: each.labels}
		name := each.labels.Get(model.MetricNameLabel)
		for _, sample := range each.samples {
			if !slices.ContainsFunc(stretches, func(lacked stretch) bool { return lacked.contains(name, now, sample.at, sample.at) }) {
				kept.samples = append(kept.samples, sample)
			}
		}
		left = append(left, kept)
	}
	return left
}

// readsLacked reports whether a question reads samples that a tier does not have.
func (w *world) readsLacked(ctx context.Context, asked question, stretches []stretch) bool {
	for _, read := range selectionsOf(ctx, asked) {
		for _, name := range append(w.names(), noMetrics...) {
			matches := true
			for _, matcher := range read.matchers {
				matches = matches && (matcher.Name != model.MetricNameLabel || matcher.Matches(name))
			}
			if matches && slices.ContainsFunc(stretches, func(lacked stretch) bool { return lacked.contains(name, w.now, read.oldest, read.newest) }) {
				return true
			}
		}
	}
	return false
}

// names returns the names of the shop's metrics.
func (w *world) names() (names []string) {
	for _, series := range w.series {
		names = append(names, series.labels.Get(model.MetricNameLabel))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// verdicts count how answers were in a world in which tiers lack something.
type verdicts struct {
	total, differ, warned int
	silent, needless      []string // wrong without a warning, and with one that is not necessary
	reasons               map[string]int
}

func (v *verdicts) String() string {
	return fmt.Sprintf("%d questions, %d answers differ, %d have a warning, %d are wrong without one, %d have one for nothing; %v",
		v.total, v.differ, v.warned, len(v.silent), len(v.needless), v.reasons)
}

// judgeAll asks a gateway and the oracle the same.
func (w *world) judgeAll(t *testing.T, gateway, oracle string, lacks lacking, questions []question) *verdicts {
	t.Helper()
	counted := &verdicts{reasons: map[string]int{}}
	hot := append([]stretch{{from: always, to: w.now.Sub(w.boundary) + time.Millisecond}, {metrics: noMetrics, from: always, to: -hour}}, lacks.hot...)
	var mutex sync.Mutex
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(4)
	for _, asked := range questions {
		group.Go(func() error {
			got, found, err := w.judge(ctx, gateway, oracle, asked)
			if err != nil {
				return fmt.Errorf("%s: %w", asked, err)
			}
			ofCold := w.readsLacked(ctx, asked, widened(lacks.cold, measured))
			neither := w.readsLacked(ctx, asked, widened(hot, measured)) && ofCold
			isExcused := found == unsure || found == tied || w.refuses(got) || w.mayDiffer(asked, got)
			mutex.Lock()
			defer mutex.Unlock()
			counted.total++
			counted.reasons[got.tier+" "+got.reason]++
			if got.hasOwnWarning() {
				counted.warned++
				if !neither && !warnsOfEngine(got) {
					counted.needless = append(counted.needless, fmt.Sprintf("%s\n      %s for %s, warnings %q", asked, got.tier, got.reason, got.warnings))
				}
			}
			if found != "" && !isExcused {
				counted.differ++
				if !got.hasOwnWarning() {
					counted.silent = append(counted.silent, fmt.Sprintf("%s\n      %s for %s:\n      %s", asked, got.tier, got.reason, found))
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	return counted
}

// warnsOfEngine reports whether the gateway warns that cold evaluates in another way.
func warnsOfEngine(got reply) bool {
	return slices.ContainsFunc(got.warnings, func(warning string) bool {
		return strings.Contains(warning, "the cold tier downsamples") || strings.Contains(warning, "the cold tier corrects counter resets")
	})
}

// compareAll asks for all metrics once, until it is known what the tiers have of them.
func (w *world) compareAll(t *testing.T, gateway string) {
	t.Helper()
	for _, name := range w.names() {
		require.Eventually(t, func() bool {
			got, err := ask(t.Context(), gateway, question{endpoint: "query", values: url.Values{"query": {fmt.Sprintf("count_over_time(%s[30h])", name)}, "time": {seconds(w.now)}}})
			return err == nil && !strings.Contains(strings.Join(got.warnings, " "), "not known yet")
		}, time.Minute, 50*time.Millisecond, name)
	}
}

// believing returns the address of a server in front of cold that does not tell which samples it
// has. A gateway then believes that it has all, as version 0.1.0 did.
func believing(t *testing.T, cold string) string {
	t.Helper()
	target, err := url.Parse(cold)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		parameters := request.URL.Query()
		comparesSeries := strings.HasSuffix(request.URL.Path, "/series") && parameters.Get("max_source_resolution") != ""
		if strings.Contains(request.UserAgent(), "probe") && (comparesSeries || strings.Contains(parameters.Get("query"), "timestamp({")) {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		proxy.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// coldWorlds are worlds in which cold does not have everything. Hot has the last five hours.
var coldWorlds = map[string]struct {
	lacking
	thanos bool
	lags   time.Duration // behind the start of the test, by what the operator declares
}{
	"cold lags by less than two scrape intervals": {lags: 50 * time.Second},
	"cold has holes": {lacking: lacking{cold: []stretch{
		{from: 150 * minute, to: 90 * minute}, {from: 6 * hour, to: 270 * minute}, {metrics: []string{"node_load1", "http_requests_total"}, from: 50 * minute, to: 20 * minute},
	}}},
	"cold never got some metrics": {thanos: true, lacking: lacking{cold: []stretch{
		{metrics: []string{"node_load1", "http_requests_total", "http_response_size_bytes", "sparse"}, from: always, to: -hour},
	}}},
	"cold lags, and has no up": {lacking: lacking{cold: []stretch{{metrics: []string{"up"}, from: always, to: -hour}, {from: 2 * hour, to: -hour}}}},
	"some metrics are younger in hot": {thanos: true, lacking: lacking{hot: []stretch{
		{metrics: []string{"node_cpu_seconds_total", "http_request_duration_seconds_bucket", "process_resident_memory_bytes"}, from: always, to: 50 * minute},
	}}},
	"all of it": {lacking: lacking{
		hot:  []stretch{{metrics: []string{"node_cpu_seconds_total"}, from: always, to: 3 * hour}, {metrics: []string{"http_requests_total"}, from: 2 * hour, to: hour}},
		cold: []stretch{{metrics: []string{"node_load1"}, from: always, to: -hour}, {from: 220 * minute, to: 170 * minute}, {metrics: []string{"up", "sparse"}, from: 30 * minute, to: -hour}},
	}},
}

// TestOracle_ColdDoesNotHoldEverything requires that no answer is wrong without a warning, and that
// no warning is there if one tier holds what is read.
func TestOracle_ColdDoesNotHoldEverything(t *testing.T) {
	w := shopWorld(t)
	w.generate()
	each := max(count(t)/(2*len(coldWorlds)), 20)
	from, to := w.now.Add(-400*hour), w.now.Add(future)
	w.write(t, "whole", w.series, from, to, labelsInCold)
	whole := w.prometheus(t, "whole", "whole", nil)
	wrong := 0
	for i, name := range slices.Sorted(maps.Keys(coldWorlds)) {
		world := coldWorlds[name]
		t.Run(name, func(t *testing.T) {
			directory := fmt.Sprintf("world-%d", i)
			w.write(t, directory+"-hot", without(w.series, w.now, world.hot), w.boundary, to, nil)
			hot := w.prometheus(t, directory+"-hot", directory+"-hot", hotLabels)
			cold := w.coldOf(t, directory, world.lacking, world.thanos)
			edges := []time.Time{w.boundary, w.now.Add(-2 * hour), w.now.Add(-hour), w.now}
			questions := append(w.ranges(seed(t)+int64(i), each/2, 0, edges, nil, 0.5), w.fresh(seed(t)+int64(i), each/2, edges)...)
			questions = slices.DeleteFunc(questions, func(asked question) bool { return !strings.HasPrefix(asked.endpoint, "query") })
			if world.lags > 0 {
				world.cold = append(world.cold, stretch{from: world.lags, to: -hour})
			}
			for _, strategy := range []string{config.StrategyRoute, config.StrategySplit} {
				change := func(settings *config.Config) {
					withStrategy(strategy)(settings)
					settings.Routing.Threshold = config.Duration(splitThreshold)
					settings.Cold.ReplicaLabels = []string{"replica"}
					if world.lags > 0 {
						settings.Cold.Lag = config.Duration(time.Since(w.now) + world.lags)
					}
				}
				g := w.gateway(t, hot.URL, cold, change)
				w.compareAll(t, g.URL)
				result := w.judgeAll(t, g.URL, whole.URL, world.lacking, questions)
				t.Logf("%s: %s", strategy, result)
				require.Empty(t, strings.Join(result.silent[:min(len(result.silent), 5)], "\n\n"), "%d answers are wrong without a warning", len(result.silent))
				require.Empty(t, strings.Join(result.needless[:min(len(result.needless), 5)], "\n\n"), "%d answers have a warning for nothing", len(result.needless))
				if strategy != config.StrategySplit {
					continue
				}
				before := w.judgeAll(t, w.gateway(t, hot.URL, believing(t, cold), change).URL, whole.URL, world.lacking, questions)
				t.Logf("if cold is believed: %s", before)
				wrong += len(before.silent)
			}
		})
	}
	t.Logf("if cold is believed, %d answers are wrong without a warning", wrong)
	require.NotZero(t, wrong)
}

// coldOf starts the cold tier of a world.
func (w *world) coldOf(t *testing.T, directory string, lacks lacking, thanos bool) string {
	t.Helper()
	series, from, to := without(w.series, w.now, lacks.cold), w.now.Add(-400*hour), w.now.Add(future)
	if thanos {
		w.write(t, directory+"-cold", series, from, to, nil)
		return w.thanos(t, directory, map[string][]string{directory + "-cold": pairs(hotLabels)}).Query.URL
	}
	w.write(t, directory+"-cold", series, from, to, labelsInCold)
	return w.prometheus(t, directory+"-cold", directory+"-cold", nil).URL
}
