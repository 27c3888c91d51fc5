//go:build e2e

package oracle

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// outOfOrder is how late samples may come where they do, counted from the newest
// ones, which the blocks have in the future.
const outOfOrder = 2 * hour

// ofDashboards is the part of dashboards in what is asked again and again.
const ofDashboards = 0.75

// TestOracle_CutAndCachedWhileTheTiersChange repeats the same questions to a gateway
// that cuts and caches. Meanwhile samples arrive late, cold catches up with hot, and
// hot restarts empty.
func TestOracle_CutAndCachedWhileTheTiersChange(t *testing.T) {
	t.Parallel() // It waits most of the time.
	const rounds, behind = 8, 90 * minute
	w := shopWorld(t)
	series, from, to := w.shop("", nil), w.now.Add(-400*hour), w.now.Add(future)
	w.write(t, "oracle", series, from, to, nil)
	w.write(t, "hot", series, w.boundary, to, nil)
	w.write(t, "cold-behind", series, from, w.now.Add(-behind), nil)
	require.NoError(t, os.CopyFS(filepath.Join(w.dir, "cold"), os.DirFS(filepath.Join(w.dir, "oracle"))))
	oracle, hot, cold := w.ingesting(t, "oracle", nil), w.ingesting(t, "hot", nil), w.ingesting(t, "cold-behind", nil)
	g := w.gateway(t, hot.URL, cold.URL, func(settings *config.Config) {
		settings.Routing.Threshold = config.Duration(splitThreshold)
	})
	// Long enough for cold to have steps that can no longer change.
	r := &repetition{world: w, random: rand.New(rand.NewSource(seed(t))), seen: &tally{}}
	r.first = append(w.ranges(seed(t)+20, max(count(t)*30/100/rounds, 8), behind+outOfOrder, []time.Time{w.boundary, w.now.Add(-behind), w.now}, nil, ofDashboards), w.frozen()...)
	held := coverage{hotBegins: w.boundary, coldEnds: w.now.Add(-behind)}
	ask := func(how round) {
		t.Helper()
		waitForProbes(t, g.URL, 3)
		r.ask(t, g.URL, oracle.URL, how)
	}
	comeLate := func(from, to time.Duration, servers ...*stack.Server) {
		t.Helper()
		samples := lateSamples(w.now.Add(from), w.now.Add(to))
		for _, each := range servers {
			send(t, each.URL, samples)
		}
	}

	ask(round{what: "cold is behind", held: held})
	ask(round{what: "the same again", held: held, again: true})
	comeLate(-75*minute, -35*minute, oracle, hot)
	ask(round{what: "samples have come late", held: held, again: true})

	require.NoError(t, cold.Stop())
	cold = w.ingesting(t, "cold", cold)
	comeLate(-75*minute, -35*minute, cold)
	ask(round{what: "cold has caught up", late: true, again: true})
	comeLate(-35*minute, 0, oracle, hot, cold)
	ask(round{what: "more samples have come late", late: true, again: true})

	require.NoError(t, hot.Stop())
	empty := w.ingesting(t, "hot-empty", hot)
	ask(round{what: "hot was restarted empty", excused: true, again: true})
	require.NoError(t, empty.Stop())
	w.ingesting(t, "hot", hot)
	ask(round{what: "hot is back with what it had", again: true})
	ask(round{what: "the same again", again: true})
	r.end(t)
}

// ingesting starts a Prometheus over a directory, which is made if it is not there,
// that takes samples out of order; where another one was, unless that is nil.
func (w *world) ingesting(t *testing.T, data string, instead *stack.Server) *stack.Server {
	t.Helper()
	server, err := stack.Prometheus{
		Name: data, Dir: w.dir, Data: filepath.Join(w.dir, data), Retention: "10y", OutOfOrderWindow: outOfOrder.String(), Port: portOf(t, instead),
		Global:    map[string]any{"scrape_interval": "30s", "evaluation_interval": "30s"},
		Arguments: []string{"--enable-feature=promql-experimental-functions", "--web.enable-remote-write-receiver"},
	}.Start(t.Context(), w.prometheusPath)
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop() })
	return server
}

// lateSamples are samples of the web shop between those that are there.
func lateSamples(from, to time.Time) []prompb.TimeSeries {
	const beside = 7 * time.Second
	var list []prompb.TimeSeries
	for _, each := range (history.Generator{Interval: scrapeInterval}).All() {
		var made prompb.TimeSeries
		each.Labels.Range(func(label labels.Label) {
			made.Labels = append(made.Labels, prompb.Label{Name: label.Name, Value: label.Value})
		})
		for at := from.Truncate(scrapeInterval).Add(beside); at.Before(to); at = at.Add(scrapeInterval) {
			if each.Histogram != nil {
				made.Histograms = append(made.Histograms, prompb.FromIntHistogram(at.UnixMilli(), each.Histogram(at.UnixMilli())))
			} else {
				made.Samples = append(made.Samples, prompb.Sample{Timestamp: at.UnixMilli(), Value: each.Value(at.UnixMilli())})
			}
		}
		list = append(list, made)
	}
	return list
}

// send sends samples to a Prometheus by remote write.
func send(t *testing.T, base string, samples []prompb.TimeSeries) {
	t.Helper()
	status, answer := remoteWrite(t, base, samples)
	require.Equal(t, http.StatusNoContent, status, "%s", answer)
}

// remoteWrite is send for samples that may be refused. It returns the answer.
func remoteWrite(t *testing.T, base string, samples []prompb.TimeSeries) (status int, answer string) {
	t.Helper()
	text, err := (&prompb.WriteRequest{Timeseries: samples}).Marshal()
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/api/v1/write", bytes.NewReader(snappy.Encode(nil, text)))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/x-protobuf")
	request.Header.Set("Content-Encoding", "snappy")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, errors.Join(err, response.Body.Close()))
	return response.StatusCode, string(body)
}

// portOf returns the port of a server; 0, for any, without one.
func portOf(t *testing.T, server *stack.Server) int {
	t.Helper()
	if server == nil {
		return 0
	}
	parsed, err := url.Parse(server.URL)
	require.NoError(t, err)
	port, err := strconv.Atoi(parsed.Port())
	require.NoError(t, err)
	return port
}
