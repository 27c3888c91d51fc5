//go:build e2e

package oracle

import (
	"fmt"
	"math"
	"math/rand"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
)

// gap is when a replica was down.
type gap struct{ from, to time.Time }

// gaps are some minutes long, and up to two hours apart.
func gaps(random *rand.Rand, from, to time.Time) []gap {
	var list []gap
	for at := from; at.Before(to); {
		at = at.Add(20*minute + time.Duration(random.Int63n(int64(100*minute))))
		end := at.Add(time.Duration(90+random.Intn(300)) * time.Second)
		list = append(list, gap{at, end})
		at = end
	}
	return list
}

// scraped are the samples of the web shop as a replica has them that scrapes at a
// phase of its own, and was down at times.
func scraped(from, to time.Time, phase time.Duration, down []gap) []loadedSeries {
	var all []loadedSeries
	for _, each := range (history.Generator{Interval: scrapeInterval}).All() {
		made, next := loadedSeries{labels: each.Labels}, 0
		for at := from.Truncate(scrapeInterval).Add(phase); at.Before(to); at = at.Add(scrapeInterval) {
			for next < len(down) && !at.Before(down[next].to) {
				next++
			}
			if next < len(down) && at.After(down[next].from) {
				continue
			}
			sample := loadedSample{at: at.UnixMilli()}
			if each.Histogram != nil {
				sample.histogramI = each.Histogram(at.UnixMilli())
			} else {
				sample.value = each.Value(at.UnixMilli())
			}
			made.samples = append(made.samples, sample)
		}
		all = append(all, made)
	}
	return all
}

const (
	// beginning is how many steps at the beginning of a piece would show a seam.
	beginning = 1
	// visible is how many times further than elsewhere from what was there values are
	// that can be seen. Without the steps before a piece it is about 2.5, with
	// them 1.1: the values that the replicas' gaps leave vary by as much.
	visible = 1.7
)

// TestCut_NoSeamBetweenDeduplicatedReplicas asks a Thanos that deduplicates two
// replicas with gaps. The answers consist of three pieces that begin at any step.
//
// Which replica Thanos reads, and where it changes over, depends on where a query
// begins. So the same step has other values in another query. The test therefore
// compares with a Prometheus without gaps: values at the beginning of a piece may not
// be further from it than values within an answer that is not cut.
func TestCut_NoSeamBetweenDeduplicatedReplicas(t *testing.T) {
	w := shopWorld(t)
	random := rand.New(rand.NewSource(seed(t)))
	from, to := w.now.Add(-12*hour), w.now.Add(future)
	a, b := scraped(from, to, 0, gaps(random, from, w.now)), scraped(from, to, 11*time.Second, gaps(random, from, w.now))
	w.write(t, "a", a, from, to, nil)
	w.write(t, "b", b, from, to, nil)
	w.write(t, "hot", a, w.boundary, to, nil)
	w.write(t, "whole", scraped(from, to, 0, nil), from, to, labelsInCold)
	whole := w.prometheus(t, "whole", "whole", nil)
	hot := w.prometheus(t, "hot", "hot", hotLabels)
	cold := w.thanos(t, "replicas", map[string][]string{"a": pairs(labelsInCold, "replica", "a"), "b": pairs(labelsInCold, "replica", "b")})
	g := w.gateway(t, hot.URL, cold.Query.URL, func(settings *config.Config) {
		settings.Routing.Threshold = config.Duration(minute)
	})
	var trials []*seamTrial
	for _, query := range []string{
		`rate(http_requests_total[5m])`, `sum by (job) (rate(http_requests_total[5m]))`, `increase(http_requests_total{code="200"}[10m])`,
		`histogram_quantile(0.9, sum by (le, job) (rate(http_request_duration_seconds_bucket[5m])))`,
		`histogram_quantile(0.9, sum by (job) (rate(http_response_size_bytes[10m])))`, `count_over_time(up[10m])`,
	} {
		for i := range 40 { // Each with a step of its own, and so an entry of its own in the cache.
			trials = append(trials, &seamTrial{
				query: query, step: time.Duration(30+2*i) * time.Second, last: 30 + random.Intn(60),
				start: w.now.Add(-8*hour + time.Duration(random.Int63n(int64(3*hour)))).Truncate(time.Second),
			})
		}
	}
	for _, each := range trials {
		each.truth, each.uncut = points(each.ask(t, whole.URL, 0, each.last)), points(each.ask(t, cold.Query.URL, 0, each.last))
		each.ask(t, g.URL, each.last/3, 2*each.last/3)
	}
	waitForProbes(t, g.URL, 2)
	var begins, midst, seams errorsOf // of answers that are not cut, and of pieces
	for _, each := range trials {
		got := each.ask(t, g.URL, 0, each.last)
		first, last := each.last/3, 2*each.last/3
		require.Equal(t, fmt.Sprintf("partial; steps=%d/%d", last-first+1, each.last+1), got.cache, each.query)
		pieces := points(got)
		begins.add(each, each.uncut, 0)
		for step := beginning; step <= each.last; step += beginning {
			midst.add(each, each.uncut, step)
		}
		for _, step := range []int{0, first, last + 1} {
			seams.add(each, pieces, step)
		}
	}
	t.Logf("distance from what was there: %s at the beginning of an answer that is not cut, %s in the midst of it, %s where pieces begin", &begins, &midst, &seams)
	require.Greater(t, begins.mean(), visible*midst.mean(), "where a query begins can be seen")
	require.Less(t, seams.mean(), visible*midst.mean(), "where a piece begins cannot")
}

// seamTrial is a range query that is asked in pieces.
type seamTrial struct {
	query        string
	start        time.Time
	step         time.Duration
	last         int // index of the last step
	truth, uncut map[string]map[int64]float64
}

func (s *seamTrial) at(step int) time.Time { return s.start.Add(time.Duration(step) * s.step) }

// ask asks for some steps, both inclusive.
func (s *seamTrial) ask(t *testing.T, base string, first, last int) reply {
	t.Helper()
	got, err := ask(t.Context(), base, question{endpoint: "query_range", values: url.Values{
		"query": {s.query}, "start": {seconds(s.at(first))}, "end": {seconds(s.at(last))}, "step": {strconv.FormatFloat(s.step.Seconds(), 'f', 3, 64)},
	}})
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, got.status, got.message)
	for _, warning := range got.warnings { // Thanos lists infos among them.
		require.True(t, strings.HasPrefix(warning, "PromQL info: "), warning)
	}
	return got
}

// errorsOf are how far values are from what was there, relative to it.
type errorsOf struct{ all []float64 }

// add adds those of the steps from one on that would show a seam.
func (e *errorsOf) add(of *seamTrial, got map[string]map[int64]float64, from int) {
	for name, series := range of.truth {
		for step := from; step < min(from+beginning, of.last+1); step++ {
			at := of.at(step).UnixMilli()
			distance := 1.0 // It is missing.
			if value, found := got[name][at]; found {
				distance = math.Abs(value-series[at]) / series[at]
			}
			e.all = append(e.all, distance)
		}
	}
}

func (e *errorsOf) mean() float64 {
	total := 0.0
	for _, each := range e.all {
		total += each
	}
	return total / float64(len(e.all))
}

// String shows them in percent.
func (e *errorsOf) String() string {
	sorted := slices.Sorted(slices.Values(e.all))
	return fmt.Sprintf("%.2f %% (p95 %.2f %%, most %.1f %%, of %d values)", 100*e.mean(), 100*sorted[len(sorted)*95/100], 100*sorted[len(sorted)-1], len(sorted))
}

// points are the values of an answer by series and time in milliseconds.
func points(got reply) map[string]map[int64]float64 {
	all := map[string]map[int64]float64{}
	object, _ := got.data.(map[string]any)
	result, _ := object["result"].([]any)
	for _, each := range result {
		one, _ := each.(map[string]any)
		series := map[int64]float64{}
		values, _ := one["values"].([]any)
		for _, value := range values {
			pair, _ := value.([]any)
			at, _ := pair[0].(float64)
			text, _ := pair[1].(string)
			number, _ := strconv.ParseFloat(text, 64)
			series[int64(math.Round(at*1000))] = number
		}
		all[fmt.Sprint(one["metric"])] = series
	}
	return all
}
