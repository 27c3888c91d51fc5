//go:build e2e

package oracle

import (
	"fmt"
	"math"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/value"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/hotreplicas"
)

// outage is a time in which a server could not scrape a target, between two ages.
type outage struct {
	instance  string
	from, to  time.Duration
	isMissing bool // the server did not know the target; otherwise its up is 0
}

// outages returns outages of some targets within the last hour, of a minute up to 20 minutes.
func (w *world) outages(random *rand.Rand, count int) (list []outage) {
	var instances []string
	for _, series := range w.series {
		if instance := series.labels.Get(model.InstanceLabel); instance != "" && !slices.Contains(instances, instance) {
			instances = append(instances, instance)
		}
	}
	for range count {
		length := minute + time.Duration(random.Int63n(int64(19*minute)))
		to := 3*minute + time.Duration(random.Int63n(int64(50*minute-length)))
		list = append(list, outage{instances[random.Intn(len(instances))], to + length, to, random.Intn(2) == 0})
	}
	return list
}

// during returns series as a server has them that could not scrape some targets for a while.
func during(series []loadedSeries, now time.Time, outages []outage) (left []loadedSeries) {
	for _, each := range series {
		kept, wasDown := loadedSeries{labels: each.labels}, false
		isUp := each.labels.Get(model.MetricNameLabel) == "up"
		for _, sample := range each.samples {
			age, isDown := now.Sub(time.UnixMilli(sample.at)), false
			for _, of := range outages {
				if of.instance == each.labels.Get(model.InstanceLabel) && age <= of.from && age > of.to {
					isDown = true
					if sample.value = math.Float64frombits(value.StaleNaN); isUp && !of.isMissing {
						sample.value = 0
					}
				}
			}
			isStale := isDown && math.IsNaN(sample.value)
			if isStale {
				sample.histogram, sample.histogramI = nil, nil
			}
			if !isStale || !wasDown {
				kept.samples = append(kept.samples, sample)
			}
			wasDown = isStale
		}
		left = append(left, kept)
	}
	return left
}

// blind returns the address of a server in front of hot that does not tell which targets it could not
// scrape. A gateway then does not know.
func blind(t *testing.T, hot string) string {
	t.Helper()
	target, err := url.Parse(hot)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if strings.Contains(request.URL.Query().Get("query"), "sum_over_time(up[") && strings.Contains(request.UserAgent(), "probe") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		proxy.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// nearOutages are questions about the last hour.
func (w *world) nearOutages(seed int64, count int) []question {
	edges := []time.Time{w.now.Add(-45 * minute), w.now.Add(-25 * minute), w.now.Add(-10 * minute), w.now}
	list := append(w.ranges(seed, count/2, 0, edges, nil, 0.7), w.fresh(seed, count/2, edges)...)
	return slices.DeleteFunc(list, func(asked question) bool { return !strings.HasPrefix(asked.endpoint, "query") })
}

// TestOracle_TargetsThatWereNotScraped requires that no answer is wrong without a warning, and none has a
// warning, where a server of hot could not scrape some targets for a while.
func TestOracle_TargetsThatWereNotScraped(t *testing.T) {
	t.Parallel() // It waits most of the time.
	w := shopWorld(t)
	w.generate()
	from, to := w.now.Add(-400*hour), w.now.Add(future)
	random := rand.New(rand.NewSource(seed(t)))
	start := func(name string, series []loadedSeries, since time.Time, more, external map[string]string) string {
		w.write(t, name, series, since, to, more)
		return w.prometheus(t, name, name, external).URL
	}
	whole := start("whole", w.series, from, labelsInCold, nil)
	var hot []string
	for i := range 2 {
		hot = append(hot, start(fmt.Sprintf("hot-%d", i), during(w.series, w.now, w.outages(random, 5)), w.boundary, nil, hotLabels))
	}
	w.write(t, "thanos-cold", w.series, from, to, nil)
	thanos := w.thanos(t, "thanos", map[string][]string{"thanos-cold": append(pairs(hotLabels), `replica="b"`)}).Query.URL
	worlds := map[string]struct {
		cold     string
		strategy tier.Strategy
		hot      int
	}{
		"one server, cold is a Prometheus":        {whole, tier.StrategyRoute, 1},
		"one server, cold is a Prometheus, split": {whole, tier.StrategySplit, 1},
		"one server, cold is a Thanos":            {thanos, tier.StrategyRoute, 1},
		"two replicas, cold is a Prometheus":      {whole, tier.StrategyRoute, 2},
		"two replicas, cold is a Thanos":          {thanos, tier.StrategyRoute, 2},
	}
	questions, wrong, total := w.nearOutages(seed(t), max(count(t)/len(worlds), 20)), 0, 0
	for name, world := range worlds {
		t.Run(name, func(t *testing.T) {
			gateway := func(isBlind bool, hot []string) string {
				return hotreplicas.Start(t, hotreplicas.Options{
					Hot: hot, Cold: world.cold, ExternalLabels: hotLabels, ReplicaLabels: []string{"replica"}, Threshold: threshold, Strategy: world.strategy, ProbeInterval: 500 * time.Millisecond,
					Blind: isBlind,
				})
			}
			g := gateway(false, hot[:world.hot])
			w.compareAll(t, g)
			result := w.judgeAll(t, g, whole, lacking{}, questions)
			t.Logf("%s", result)
			// On a busy machine, comparing the tiers takes longer than a query waits for it.
			result.needless = slices.DeleteFunc(result.needless, func(text string) bool { return strings.Contains(text, "it is not known yet") })
			require.Empty(t, strings.Join(result.silent[:min(len(result.silent), 5)], "\n\n"), "%d answers are wrong without a warning", len(result.silent))
			require.Empty(t, strings.Join(result.needless[:min(len(result.needless), 5)], "\n\n"), "%d answers have a warning for nothing", len(result.needless))
			var blinded []string
			for _, each := range hot[:world.hot] {
				blinded = append(blinded, blind(t, each))
			}
			unknowing := gateway(true, blinded)
			w.compareAll(t, unknowing)
			before := w.judgeAll(t, unknowing, whole, lacking{}, questions)
			t.Logf("if targets are not followed: %s", before)
			wrong, total = wrong+len(before.silent), total+before.total
		})
	}
	t.Logf("if targets are not followed, %d of %d answers are wrong without a warning", wrong, total)
	require.NotZero(t, wrong)
}

// Case 18: cold is a Thanos that deduplicates a replica that could not scrape a target, and one that
// could. Hot is the first one.
func TestTargetHole_ThanosThatDeduplicates(t *testing.T) {
	w := shopWorld(t)
	w.generate()
	from, to := w.now.Add(-20*hour), w.now.Add(future)
	hole := []outage{{instance: "node-1:9100", from: 40 * minute, to: 20 * minute}}
	w.write(t, "a", during(w.series, w.now, hole), from, to, nil)
	w.write(t, "b", w.series, from, to, nil)
	sources := map[string][]string{}
	for _, replica := range []string{"a", "b"} {
		sources[replica] = append(pairs(hotLabels), fmt.Sprintf("replica=%q", replica))
	}
	thanos := w.thanos(t, "thanos", sources).Query.URL
	a, b := w.prometheus(t, "a", "a", hotLabels).URL, w.prometheus(t, "b", "b", hotLabels).URL
	asked := question{endpoint: "query_range", values: url.Values{
		"query": {"count(node_load1)"}, "start": {seconds(w.now.Add(-36 * minute))}, "end": {seconds(w.now.Add(-22 * minute))}, "step": {"60"},
	}}
	expected, err := ask(t.Context(), b, asked)
	require.NoError(t, err)
	for hot, answering := range map[string]string{a: "cold", b: "hot"} {
		address := hotreplicas.Start(t, hotreplicas.Options{Hot: []string{hot}, Cold: thanos, ExternalLabels: hotLabels, Threshold: threshold, ProbeInterval: 500 * time.Millisecond})
		got, err := ask(t.Context(), address, asked)
		require.NoError(t, err)
		require.Empty(t, difference(expected, got))
		require.Equal(t, answering, got.tier, got.reason)
	}
}
