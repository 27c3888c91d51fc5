// Package coldholes holds the gateway to its promise where cold does not hold everything: it
// has holes, never gets a metric, lags, or has a past that hot does not have.
package coldholes

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

const (
	minute = time.Minute
	hour   = time.Hour
	// interval is the time between two samples.
	interval = 15 * time.Second
	// hotReach and coldReach are how far back the tiers hold samples.
	hotReach, coldReach = 6 * hour, 26 * hour
)

// external is the label that cold adds to hot's series.
var external = map[string]string{"cluster": "lab"}

// isHeld reports whether a tier has a sample of a metric at an age: how long before the start of
// the test it is. Ages of samples in the future are negative.
type isHeld func(metric string, age time.Duration) bool

func everything(string, time.Duration) bool { return true }

// world is a hot tier, a cold tier, and one Prometheus with all samples.
type world struct {
	now              time.Time
	hot, cold, whole *embedded.Prometheus
}

// newWorld starts the servers. Cold and the whole have the external label.
func newWorld(t *testing.T, hot, cold isHeld) *world {
	t.Helper()
	w := &world{now: time.Now().Truncate(minute)}
	inHot := func(metric string, age time.Duration) bool { return age <= hotReach && hot(metric, age) }
	inCold := func(metric string, age time.Duration) bool { return age <= coldReach && cold(metric, age) }
	w.hot = w.start(t, nil, inHot)
	w.cold = w.start(t, external, inCold)
	w.whole = w.start(t, external, everything)
	return w
}

// start starts a Prometheus with the samples that it has, with more labels.
func (w *world) start(t *testing.T, more map[string]string, has isHeld) *embedded.Prometheus {
	t.Helper()
	data := t.TempDir()
	w.write(t, data, more, has)
	return serve(t, data)
}

// write writes the samples of a Prometheus as blocks of a day.
func (w *world) write(t *testing.T, data string, more map[string]string, has isHeld) {
	t.Helper()
	for from := w.now.Add(-coldReach); from.Before(w.now.Add(running.Ahead)); from = from.Truncate(24 * hour).Add(24 * hour) {
		require.NoError(t, w.writeBlock(t.Context(), data, more, has, from))
	}
}

// serve starts a Prometheus with blocks.
func serve(t *testing.T, data string) *embedded.Prometheus {
	t.Helper()
	server, err := embedded.Start(embedded.Options{Address: "127.0.0.1:0", Data: data, Retention: 30 * 24 * hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return server
}

// writeBlock writes the samples from a time until the end of its day.
func (w *world) writeBlock(ctx context.Context, directory string, more map[string]string, has isHeld, from time.Time) (err error) {
	writer, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), directory, (50 * hour).Milliseconds())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, writer.Close()) }()
	appender, count := writer.Appender(ctx), 0
	end := from.Truncate(24 * hour).Add(24 * hour)
	for _, metric := range []string{"up", "demo_temp", "demo_requests_total", "job:demo:sum"} {
		for instance := range 2 {
			builder := labels.NewBuilder(labels.FromStrings("__name__", metric, "instance", strconv.Itoa(instance)))
			for name, value := range more {
				builder.Set(name, value)
			}
			for at := from.Truncate(interval); at.Before(end) && at.Before(w.now.Add(running.Ahead)); at = at.Add(interval) {
				if at.Before(from) || !has(metric, w.now.Sub(at)) {
					continue
				}
				count++
				if _, err := appender.Append(0, builder.Labels(), at.UnixMilli(), valueOf(metric, instance, at)); err != nil {
					return err
				}
			}
		}
	}
	if err := appender.Commit(); err != nil || count == 0 {
		return err
	}
	_, err = writer.Flush(ctx)
	return err
}

// valueOf returns the value of a sample.
func valueOf(metric string, instance int, at time.Time) float64 {
	seconds := float64(at.Unix())
	switch metric {
	case "up":
		return 1
	case "demo_requests_total":
		return math.Round(3*seconds + 100*math.Sin(seconds/1000) + float64(instance))
	}
	return math.Round(100*math.Sin(seconds/3000+float64(instance))) + 100
}

// gateway starts a gateway over both tiers.
func (w *world) gateway(t *testing.T, change func(*config.Config)) string {
	t.Helper()
	settings := running.TwoTiers(w.hot.URL, w.cold.URL)
	settings.Hot.ExternalLabels = external
	settings.Probe.Interval, settings.Probe.LearnInterval = config.Duration(200*time.Millisecond), config.Duration(time.Second)
	if change != nil {
		change(&settings)
	}
	manager := running.Manager(t, settings)
	server := httptest.NewServer(gateway.New(manager))
	t.Cleanup(server.Close)
	return server.URL
}

// route is the configuration that neither cuts queries nor caches answers.
func route(settings *config.Config) {
	settings.Routing.Strategy, settings.Cache.Enabled = config.StrategyRoute, false
}

// answer is what a server answered.
type answer struct {
	tier, reason string
	Warnings     []string `json:"warnings"`
	Data         struct {
		Result []struct {
			Metric map[string]string `json:"metric"`
			Values [][2]any          `json:"values"`
			Value  *[2]any           `json:"value"`
		} `json:"result"`
	} `json:"data"`
}

// points returns the number of points in the answer.
func (a *answer) points() (count int) {
	for _, series := range a.Data.Result {
		count += len(series.Values)
		if series.Value != nil {
			count++
		}
	}
	return count
}

// ask asks a server for a query over a time that ends some time ago. Without a span, the query is
// an instant query.
func (w *world) ask(t *testing.T, server, query string, span, ago time.Duration) *answer {
	t.Helper()
	end := w.now.Add(-ago)
	parameters, endpoint := url.Values{"query": {query}, "time": {seconds(end)}}, "query"
	if span > 0 {
		parameters = url.Values{"query": {query}, "start": {seconds(end.Add(-span))}, "end": {seconds(end)}, "step": {"60"}}
		endpoint = "query_range"
	}
	made := &answer{}
	header := get(t, server+"/api/v1/"+endpoint+"?"+parameters.Encode(), made)
	made.tier, made.reason = header.Get("X-Tier"), header.Get("X-Tier-Reason")
	return made
}

// health returns what a gateway says of its tiers.
func (*world) health(t *testing.T, gateway string) (health resolve.Health) {
	t.Helper()
	get(t, gateway+"/api/v1/datasources/health", &health)
	return health
}

// get decodes what a server returns, and returns the header.
func get(t *testing.T, address string, made any) http.Header {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.NoError(t, json.NewDecoder(response.Body).Decode(made))
	return response.Header
}

func seconds(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }
