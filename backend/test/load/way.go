package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// way is one way to a dashboard.
type way struct {
	name string
	// bases are asked in turns, as a Service would.
	bases []string
	next  atomic.Int64
	// cold is the Thanos Query whose engine counts what it reads.
	cold      *stack.Server
	processes map[string]*stack.Server
	client    *http.Client
	// anew asks tierproxy not to read from its cache.
	anew bool
	// What each load took, of its user, of all servers, and of cold's engine in
	// samples.
	took, cpu []time.Duration
	samples   []float64
	// cached and steps are those of the answers after the first load, by their
	// header X-Tier-Cache.
	cached, steps atomic.Int64
}

// load asks for all panels once, and notes how long that took and what it cost
// all servers.
func (w *way) load(ctx context.Context, shown window, end time.Time) error {
	before, err := w.spent(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	group, groupContext := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, panel := range panels {
		group.Go(func() error {
			_, err := w.ask(groupContext, panel, shown, end)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	w.took = append(w.took, time.Since(began))
	after, err := w.spent(ctx)
	w.cpu = append(w.cpu, after.cpu-before.cpu)
	w.samples = append(w.samples, after.samples-before.samples)
	return err
}

// spent is what was used up so far.
type spent struct {
	cpu     time.Duration
	samples float64
}

func (w *way) spent(ctx context.Context) (spent, error) {
	used, err := readCPU(target{processes: w.processes})
	if err != nil {
		return spent{}, err
	}
	var found spent
	for _, each := range used {
		found.cpu += each
	}
	_, body, _, err := get(ctx, w.cold.URL+"/metrics")
	if err != nil {
		return spent{}, err
	}
	counters := lines(string(body), "prometheus_engine_query_samples_total")
	if len(counters) == 0 {
		return spent{}, fmt.Errorf("%s does not count the samples that its engine reads", w.cold.URL)
	}
	for _, line := range counters {
		value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			return spent{}, fmt.Errorf("read %q: %w", line, err)
		}
		found.samples += value
	}
	return found, nil
}

// ask asks for one panel.
func (w *way) ask(ctx context.Context, panel string, shown window, end time.Time) ([]byte, error) {
	end = end.Truncate(shown.step)
	values := url.Values{
		"query": {panel}, "start": {seconds(end.Add(-shown.span))}, "end": {seconds(end)}, "step": {strconv.Itoa(int(shown.step.Seconds()))},
	}
	base := w.bases[int(w.next.Add(1))%len(w.bases)]
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/v1/query_range?"+values.Encode(), http.NoBody)
	if err != nil {
		return nil, err
	}
	if w.anew {
		request.Header.Set("Cache-Control", "no-cache")
	}
	response, err := w.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d: %.300s", w.name, response.StatusCode, text)
	}
	var cached, steps int64
	if _, scanError := fmt.Sscanf(response.Header.Get("X-Tier-Cache"), "%s steps=%d/%d", new(string), &cached, &steps); scanError == nil && len(w.took) > 0 {
		w.cached.Add(cached)
		w.steps.Add(steps)
	}
	return text, err
}

// hitRatio is the part of the steps that came from the cache.
func (w *way) hitRatio() float64 { return float64(w.cached.Load()) / float64(max(w.steps.Load(), 1)) }

// differentPoints counts the points of all panels that are not as another way has
// them, missing and needless ones included.
func (w *way) differentPoints(ctx context.Context, other *way, shown window, end time.Time) (different, all int, err error) {
	for _, panel := range panels {
		var points [2]map[string]float64
		for i, each := range []*way{w, other} {
			text, err := each.ask(ctx, panel, shown, end)
			if err == nil {
				points[i], err = pointsOf(text)
			}
			if err != nil {
				return 0, 0, err
			}
		}
		for name, value := range points[1] {
			all++
			got, found := points[0][name]
			// The order in which numbers are added may differ, and with it the last digits.
			if !found || math.Abs(got-value) > 1e-9*math.Abs(value) {
				different++
			}
		}
		for name := range points[0] {
			if _, found := points[1][name]; !found {
				different++
			}
		}
	}
	return different, all, nil
}

// pointsOf are the values of an answer by series and time.
func pointsOf(text []byte) (map[string]float64, error) {
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
				Value  [2]any // of an instant query
			}
		}
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, err
	}
	points := map[string]float64{}
	for _, series := range answer.Data.Result {
		if series.Value[0] != nil {
			series.Values = append(series.Values, series.Value)
		}
		for _, pair := range series.Values {
			number, err := strconv.ParseFloat(fmt.Sprint(pair[1]), 64)
			if err != nil {
				return nil, err
			}
			if !math.IsNaN(number) {
				points[fmt.Sprint(series.Metric, pair[0])] = number
			}
		}
	}
	return points, nil
}

func medianOf(list []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

// lines are those of a text that begin so.
func lines(text, prefix string) []string {
	var found []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, prefix) {
			found = append(found, line)
		}
	}
	return found
}
