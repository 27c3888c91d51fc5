//go:build e2e

package replicas

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand"
	randv2 "math/rand/v2"
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

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	// unbroken is how long before now no replica was down.
	unbroken = 20 * time.Minute
	// seams is how many seams each query has, at different times.
	seams = 96
	// tolerated is how many times larger jumps at seams may be. For gauges and quantiles, it is noiseTolerated: where
	// hot's coverage begins at a gap, many seams are at the same moment, so that chance decides how noisy it is. Of
	// averages, all samples of a window become those of the other replica at once, and at Thanos one after the other.
	tolerated, noiseTolerated = 1.25, 2
)

// downtimes returns a function that reports whether a replica misses a scrape. Replicas are down in turn, as in
// a rolling update, for some minutes in each half hour. Each also misses one of 200 scrapes.
func downtimes(seed, turn int64, now time.Time) func(at time.Time) bool {
	const slot = 30 * time.Minute
	return func(at time.Time) bool {
		if rand.New(rand.NewSource(seed+at.Unix())).Intn(200) == 0 {
			return true
		}
		number := at.Truncate(slot).Unix() / int64(slot.Seconds())
		random := rand.New(rand.NewSource(seed + number))
		from := at.Truncate(slot).Add(time.Duration(random.Intn(20)) * time.Minute)
		to := from.Add(time.Duration(90+random.Intn(300)) * time.Second)
		return number%2 == turn && at.Before(now.Add(-unbroken)) && !at.Before(from) && at.Before(to)
	}
}

// latency is a classic histogram whose shape changes, on two instances.
func latency() (list []history.Series) {
	grown := func(at int64, phase float64) float64 {
		const period = 900 / (2 * math.Pi)
		elapsed := float64(at-1_700_000_000_000) / 1000
		return 10 * (elapsed - 0.9*period*math.Cos(elapsed/period+phase)) // It grows by 10 * (1 + 0.9 sin).
	}
	for instance := range 2 {
		for i, le := range []string{"0.1", "0.5", "1", "5", "+Inf"} {
			list = append(list, history.Series{
				Labels: labels.FromStrings("__name__", "latency_seconds_bucket", "instance", strconv.Itoa(instance), "le", le),
				Value: func(at int64) (count float64) {
					for below := range i + 1 {
						count += grown(at, float64(3*below+instance))
					}
					return math.Round(count)
				},
			})
		}
	}
	return list
}

// temperatures are gauges that are nothing but noise, of so many instances that their quantiles do not depend on when
// the test runs.
func temperatures() (list []history.Series) {
	for instance := range int64(30) {
		list = append(list, history.Series{
			Labels: labels.FromStrings("__name__", "temperature_celsius", "instance", strconv.FormatInt(instance, 10)),
			Value: func(at int64) float64 {
				noise := randv2.New(randv2.NewPCG(uint64(at), uint64(instance)))
				return 18 + math.Round(400*noise.Float64())/100
			},
		})
	}
	return list
}

// pair are two replicas of hot, a Thanos that deduplicates both, a Prometheus that was never down, and a gateway.
type pair struct {
	now                  time.Time
	hot                  map[string]string // by the name of the replica
	cold, whole, gateway string
}

// newPair starts all servers.
func newPair(t *testing.T, random *rand.Rand) *pair {
	t.Helper()
	p := &pair{now: time.Now().Truncate(time.Minute), hot: map[string]string{}}
	directory, tool := t.TempDir(), func(name string) string {
		path, err := stack.Tool(t.Context(), os.Stderr, name)
		require.NoError(t, err)
		return path
	}
	thanos := stack.Thanos{Dir: directory, Bucket: filepath.Join(directory, "bucket"), QueryArguments: []string{"--query.replica-label=replica"}}
	start := func(of replica, external map[string]string) string {
		data := filepath.Join(directory, of.name)
		require.NoError(t, of.write(t.Context(), data, p.now.Add(-past), p.now.Add(future)))
		if external["replica"] != "" {
			require.NoError(t, thanos.Upload(t.Context(), tool("thanos"), data, os.Stderr, `cluster="lab"`, fmt.Sprintf("replica=%q", of.name)))
		}
		server, err := stack.Prometheus{
			Name: of.name, Dir: directory, Data: data, Retention: "10y",
			Global: map[string]any{"scrape_interval": "30s", "external_labels": external},
		}.Start(t.Context(), tool("prometheus"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = server.Stop() })
		return server.URL
	}
	for i, each := range replicas {
		each.misses = downtimes(each.gaps, int64(i), p.now)
		p.hot[each.name] = start(each, map[string]string{"cluster": "lab", "replica": each.name})
	}
	p.whole = start(replica{name: "whole", offset: 6 * time.Second, misses: func(time.Time) bool { return false }}, nil)
	started, err := thanos.Start(t.Context(), tool("thanos"))
	require.NoError(t, err)
	t.Cleanup(started.Stop)
	running.AwaitStores(t, started.Query, "replica", len(replicas))
	p.cold = started.Query.URL
	p.startGateway(t, directory, random)
	return p
}

// startGateway starts a gateway with a datasource for each threshold.
func (p *pair) startGateway(t *testing.T, directory string, random *rand.Rand) {
	t.Helper()
	saved := map[string]fakeperses.Datasource{}
	for i := range seams {
		threshold := time.Duration(15*60+random.Intn(45*60)) * time.Second
		saved[fmt.Sprintf("/globaldatasources/seam-%d", i)] = fakeperses.Datasource{Tiers: fmt.Sprintf("%q:%q,", "threshold", config.Duration(threshold))}
	}
	file := filepath.Join(directory, "tierproxy.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil,
		"hot: [{url: %q}, {url: %q}]\ncold: {url: %q}\nperses: {url: %q}\nprobe: {interval: 1s, learn_interval: 2s}\n",
		p.hot["a"], p.hot["b"], p.cold, fakeperses.Start(t, "", saved).URL), 0o600))
	settings, err := config.Load(file)
	require.NoError(t, err)
	server := httptest.NewServer(gateway.New(running.Manager(t, settings)))
	t.Cleanup(server.Close)
	p.gateway = server.URL
}

// line is the values of a series by step; NaN where there is none.
type line []float64

// lines are the series of an answer by their labels without the external ones.
type lines map[string]line

// rangeOf returns the parameters of a range query.
func rangeOf(query string, start time.Time, step time.Duration, steps int) url.Values {
	return url.Values{
		"query": {query}, "start": {strconv.FormatInt(start.Unix(), 10)}, "end": {strconv.FormatInt(start.Add(time.Duration(steps-1)*step).Unix(), 10)},
		"step": {strconv.FormatFloat(step.Seconds(), 'f', 0, 64)},
	}
}

// linesOf asks for a range, and returns the lines and the header.
func linesOf(t *testing.T, base, query string, start time.Time, step time.Duration, steps int) (lines, http.Header) {
	t.Helper()
	found, header := matrix(t, base, rangeOf(query, start, step, steps))
	made := lines{}
	for _, series := range found {
		one := slices.Repeat(line{math.NaN()}, steps)
		for _, sample := range series.Values {
			at, _ := strconv.ParseFloat(string(sample[0]), 64)
			value, err := strconv.ParseFloat(strings.Trim(string(sample[1]), `"`), 64)
			require.NoError(t, err)
			one[int(math.Round((at-float64(start.Unix()))/step.Seconds()))] = value
		}
		made[labels.NewBuilder(series.Metric).Del("cluster", "replica").Labels().String()] = one
	}
	return made, header
}

func isNear(one, other float64) bool { return math.Abs(one-other) <= 1e-9*math.Abs(one) }

// jump returns how far a line moves to a step beyond what the true one does, relative to the mean of that.
func jump(got, truth line, step int) float64 {
	mean, count := 0.0, 0.0
	for _, value := range truth {
		if !math.IsNaN(value) {
			mean, count = mean+math.Abs(value), count+1
		}
	}
	return math.Abs((got[step]-got[step-1])-(truth[step]-truth[step-1])) / (mean / count)
}

// jumps are those of many places.
type jumps []float64

func (j jumps) quantile(of float64) float64 {
	sorted := slices.Sorted(slices.Values(j))
	return sorted[min(int(of*float64(len(sorted))), len(sorted)-1)]
}

// String shows the median, the 95th percentile and the maximum in percent.
func (j jumps) String() string {
	if len(j) == 0 {
		return "none"
	}
	return fmt.Sprintf("%.2f | %.2f | %.2f | %d", 100*j.quantile(0.5), 100*j.quantile(0.95), 100*j.quantile(1), len(j))
}

// found is what one query has.
type found struct {
	// changes are the largest jumps where Thanos changes from one replica to the other, and elsewhere those
	// between two steps of the same replica.
	changes, elsewhere jumps
	// seams are those between the last step of cold and the first of hot: all, and those where the replicas differ.
	seams, changing jumps
}

// followed returns which replica a deduplicated value is of: "" for neither alone, or for both.
func followed(value, a, b float64) string {
	switch isA, isB := isNear(value, a), isNear(value, b); {
	case isA && !isB:
		return "a"
	case isB && !isA:
		return "b"
	}
	return ""
}

// addChanges adds the places where a deduplicated answer changes the replica.
func (f *found) addChanges(got, a, b, truth line) {
	last, at := "", 0 // the replica that is followed, and the last step that is its own
	for step := range got {
		if math.IsNaN(got[step]) || math.IsNaN(truth[step]) {
			last = ""
			continue
		}
		now := followed(got[step], a[step], b[step])
		if now == "" {
			continue
		}
		switch {
		case last == now && at == step-1:
			f.elsewhere = append(f.elsewhere, jump(got, truth, step))
		case last != "" && last != now:
			largest := 0.0
			for i := at + 1; i <= step; i++ {
				largest = max(largest, jump(got, truth, i))
			}
			f.changes = append(f.changes, largest)
		}
		last, at = now, step
	}
}

// examineThanos asks Thanos and both replicas for the past in which they were down at times.
func (p *pair) examineThanos(t *testing.T, f *found, query string, step time.Duration, random *rand.Rand) {
	t.Helper()
	span := min(20*time.Hour, 1200*step)
	for range 3 {
		start := p.now.Add(-unbroken - span - time.Duration(random.Intn(3600))*time.Second)
		steps := int(span / step)
		got, _ := linesOf(t, p.cold, query, start, step, steps)
		truth, _ := linesOf(t, p.whole, query, start, step, steps)
		a, _ := linesOf(t, p.hot["a"], query, start, step, steps)
		b, _ := linesOf(t, p.hot["b"], query, start, step, steps)
		require.Len(t, got, len(truth), query)
		for name := range truth {
			f.addChanges(got[name], a[name], b[name], truth[name])
		}
	}
}

// cut asks a datasource of the gateway until it cuts the query. It returns the lines and the first step of hot.
func (p *pair) cut(t *testing.T, base, query string, start time.Time, step time.Duration, steps int) (got lines, first int) {
	t.Helper()
	parameters := rangeOf(query, start, step, steps)
	var explained struct {
		Data struct {
			NotCut string `json:"not_cut"`
			Cut    struct {
				Parts     int
				ColdSteps int `json:"cold_steps"`
			}
		}
	}
	explain := func() int {
		text, _ := fetch(t, base+"/api/v1/datasources/explain", parameters)
		require.NoError(t, json.Unmarshal(text, &explained))
		return explained.Data.Cut.ColdSteps
	}
	for range 100 {
		var header http.Header
		first = explain()
		got, header = linesOf(t, base, query, start, step, steps)
		if header.Get("X-Tier") == "hot,cold" && first == explain() && explained.Data.Cut.Parts == 2 {
			return got, first
		}
		time.Sleep(50 * time.Millisecond)
	}
	require.Failf(t, "it is not cut", "%s: %+v", query, explained)
	return nil, 0
}

// examineSeams asks the gateway, and looks at its seam.
func (p *pair) examineSeams(t *testing.T, f *found, query string, step time.Duration, random *rand.Rand) {
	t.Helper()
	for i := range seams {
		steps := 180 + random.Intn(60)
		start := time.Now().Truncate(time.Second).Add(-time.Duration(steps-1) * step)
		base := fmt.Sprintf("%s/proxy/globaldatasources/seam-%d", p.gateway, i)
		// The replica of hot is chosen by the text of the query.
		got, first := p.cut(t, base, query+strings.Repeat(" ", i), start, step, steps)
		truth, _ := linesOf(t, p.whole, query, start, step, steps)
		a, _ := linesOf(t, p.hot["a"], query, start, step, steps)
		b, _ := linesOf(t, p.hot["b"], query, start, step, steps)
		require.Len(t, got, len(truth), query)
		for name := range truth {
			one, last := got[name], ""
			for j := first; j < steps; j++ {
				of := followed(one[j], a[name][j], b[name][j])
				require.True(t, isNear(one[j], a[name][j]) || isNear(one[j], b[name][j]), "%s %s: step %d from %d on is of no replica", query, name, j, first)
				require.False(t, of != "" && last != "" && of != last, "%s %s: hot is one replica", query, name)
				last = max(last, of)
			}
			f.seams = append(f.seams, jump(one, truth[name], first))
			if before := followed(one[first-1], a[name][first-1], b[name][first-1]); before != last {
				f.changing = append(f.changing, jump(one, truth[name], first))
			}
		}
	}
}

// TestSeam_JumpsNoFurtherThanThanosDoes compares the step from cold's deduplicated answer to that of one hot replica
// with what Thanos does where it changes the replica by itself. The values are those beyond what a Prometheus
// does that was never down.
func TestSeam_JumpsNoFurtherThanThanosDoes(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	p := newPair(t, random)
	t.Log("each: median | p95 | max in percent | count; of Thanos' changes of the replica, of seams where it changes, of all seams, and of steps elsewhere")
	for _, query := range []string{
		`node_load1`, `process_resident_memory_bytes`, `avg_over_time(temperature_celsius[10m])`,
		`rate(http_requests_total[5m])`, `increase(http_requests_total[10m])`,
		`sum by (job) (rate(http_requests_total[2m]))`, `sum(rate(http_requests_total[5m]))`,
		`histogram_quantile(0.9, sum by (le) (rate(latency_seconds_bucket[5m])))`,
	} {
		t.Run(query, func(t *testing.T) {
			f := &found{}
			for _, step := range []time.Duration{30 * time.Second, time.Minute} {
				p.examineThanos(t, f, query, step, random)
				p.examineSeams(t, f, query, step, random)
			}
			t.Logf("| `%s` | %s | %s | %s | %s |", query, f.changes, f.changing, f.seams, f.elsewhere)
			require.Greater(t, len(f.changes), 100, "Thanos changes the replica")
			require.Greater(t, len(f.changing), seams/4, "so do seams")
			require.NotZero(t, f.changes.quantile(0.5))
			factor := float64(tolerated)
			if !strings.Contains(query, "_total") {
				factor = noiseTolerated
			}
			for _, quantile := range []float64{0.5, 0.95} {
				// A gauge that is noise moves as far between any two steps.
				most := max(f.changes.quantile(quantile), f.elsewhere.quantile(quantile))
				require.LessOrEqual(t, f.changing.quantile(quantile), factor*most, "quantile %v", quantile)
			}
		})
	}
}
