package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
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

	"github.com/klauspost/compress/zstd"

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
	// bytes are those of all answers so far, as they came over the network, and lastBytes those of
	// the last load.
	bytes     atomic.Int64
	lastBytes int64
	// cached and steps are those of the answers by their header X-Tier-Cache. Loads count them from the
	// second one on.
	cached, steps atomic.Int64
}

// load asks for all panels once, and notes how long that took and what it cost
// all servers.
func (w *way) load(ctx context.Context, shown window, end time.Time) error {
	before, err := w.spent(ctx)
	if err != nil {
		return err
	}
	if len(w.took) == 1 { // The first load is no refresh.
		w.cached.Store(0)
		w.steps.Store(0)
	}
	began, received := time.Now(), w.bytes.Load()
	if err := w.fetchAll(ctx, shown, end); err != nil {
		return err
	}
	w.took, w.lastBytes = append(w.took, time.Since(began)), w.bytes.Load()-received
	after, err := w.spent(ctx)
	w.cpu = append(w.cpu, after.cpu-before.cpu)
	w.samples = append(w.samples, after.samples-before.samples)
	return err
}

// fetchAll asks for all panels once, as a browser does.
func (w *way) fetchAll(ctx context.Context, shown window, end time.Time) error {
	group, groupContext := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, panel := range panels {
		group.Go(func() error {
			_, _, err := w.fetch(groupContext, panel, shown, end)
			return err
		})
	}
	return group.Wait()
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

// ask asks for one panel, and returns the answer as JSON.
func (w *way) ask(ctx context.Context, panel string, shown window, end time.Time) ([]byte, error) {
	text, encoding, err := w.fetch(ctx, panel, shown, end)
	if err != nil {
		return nil, err
	}
	return decompress(text, encoding)
}

// fetch asks for one panel as a browser does, and returns the answer and its encoding.
func (w *way) fetch(ctx context.Context, panel string, shown window, end time.Time) (text []byte, encoding string, err error) {
	end = end.Truncate(shown.step)
	values := url.Values{
		"query": {panel}, "start": {seconds(end.Add(-shown.span))}, "end": {seconds(end)}, "step": {strconv.Itoa(int(shown.step.Seconds()))},
	}
	base := w.bases[int(w.next.Add(1))%len(w.bases)]
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/v1/query_range?"+values.Encode(), http.NoBody)
	if err != nil {
		return nil, "", err
	}
	request.Header.Set("Accept-Encoding", browserEncodings)
	if w.anew {
		request.Header.Set("Cache-Control", "no-cache")
	}
	response, err := w.client.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err = io.ReadAll(response.Body)
	w.bytes.Add(int64(len(text)))
	encoding = response.Header.Get("Content-Encoding")
	if err == nil && response.StatusCode != http.StatusOK {
		text, err = decompress(text, encoding)
		return nil, "", errors.Join(fmt.Errorf("%s: status %d: %.300s", w.name, response.StatusCode, text), err)
	}
	var cached, steps int64
	if _, scanError := fmt.Sscanf(response.Header.Get("X-Tier-Cache"), "%s steps=%d/%d", new(string), &cached, &steps); scanError == nil {
		w.cached.Add(cached)
		w.steps.Add(steps)
	}
	return text, encoding, err
}

// browserEncodings is what Chromium accepts over HTTPS and on loopback.
const browserEncodings = "gzip, deflate, br, zstd"

// decompress returns the text of an answer. It returns an error for an encoding other than gzip and zstd.
func decompress(text []byte, encoding string) ([]byte, error) {
	switch encoding {
	case "", "identity":
		return text, nil
	case "gzip":
		reader, err := gzip.NewReader(bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(reader)
	case "zstd":
		reader, err := zstd.NewReader(bytes.NewReader(text), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		defer reader.Close()
		return io.ReadAll(reader)
	}
	return nil, fmt.Errorf("an answer has the encoding %q, which was accepted, but is not read here", encoding)
}

// hitRatio is the part of the steps that came from the cache.
func (w *way) hitRatio() float64 { return float64(w.cached.Load()) / float64(max(w.steps.Load(), 1)) }

// differentPoints counts the points of all panels that are not as another way has
// them, missing and needless ones included.
func (w *way) differentPoints(ctx context.Context, other *way, shown window, end time.Time) (different, all int, err error) {
	for _, panel := range panels {
		var found [2]points
		for i, each := range []*way{w, other} {
			text, err := each.ask(ctx, panel, shown, end)
			if err == nil {
				found[i], err = pointsOf(text)
			}
			if err != nil {
				return 0, 0, err
			}
		}
		all += len(found[1])
		different += differentIn(found[0], found[1])
	}
	return different, all, nil
}

// point is a series, as text, and a timestamp in seconds since the Unix epoch.
type point struct {
	series string
	at     float64
}

// points are values of an answer.
type points map[point]float64

// until returns the points until a time, inclusive.
func (p points) until(end time.Time) points {
	kept := points{}
	for at, value := range p {
		if at.at <= float64(end.Unix()) {
			kept[at] = value
		}
	}
	return kept
}

// from returns the points from a time on.
func (p points) from(start time.Time) points {
	kept := points{}
	for at, value := range p {
		if at.at >= float64(start.Unix()) {
			kept[at] = value
		}
	}
	return kept
}

// pointsOf returns the points of an answer.
func pointsOf(text []byte) (points, error) {
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
	found := points{}
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
				at, _ := pair[0].(float64) // It is a number.
				found[point{fmt.Sprint(series.Metric), at}] = number
			}
		}
	}
	return found, nil
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
