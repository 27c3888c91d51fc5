// Package targetholes holds the gateway to its promise where a server of hot could not scrape one
// of its targets for a while, although the server itself never stopped.
package targetholes

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/hotreplicas"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

const (
	minute = time.Minute
	hour   = time.Hour
	// interval is the time between two scrapes.
	interval = 15 * time.Second
)

// outage is a time in which a server could not scrape one of the targets.
type outage struct {
	instance string
	// from and to are ages: how long before the start of the test. from is inclusive.
	from, to time.Duration
	// isMissing is set if the target was not there at all, as far as the server knows. Otherwise
	// its up is 0.
	isMissing bool
}

// fewInstances are the targets of one job. Those that are compared by the samples of their metrics are
// among the first ones.
var fewInstances = []string{"0", "1", "2", "3", "4", "5", "6", "7"}

// database is the only target of another job.
const database = "db-0"

// down is an outage of one of the last targets for 20 minutes.
func down(isMissing bool) outage {
	return outage{instance: "7", from: 40 * minute, to: 20 * minute, isMissing: isMissing}
}

// world is the time of the test and what has all samples.
type world struct {
	now       time.Time
	instances []string
	reach     time.Duration // how far back the samples go
	whole     string
}

func newWorld(t *testing.T, reach time.Duration, instances ...string) *world {
	t.Helper()
	w := &world{now: time.Now().Truncate(minute), instances: instances, reach: reach}
	w.whole = w.start(t, external)
	return w
}

// external is the label that cold adds to hot's series.
var external = map[string]string{"cluster": "lab"}

// start starts a Prometheus with all samples but those of outages, and returns its address.
func (w *world) start(t *testing.T, more map[string]string, outages ...outage) string {
	t.Helper()
	data := t.TempDir()
	require.NoError(t, w.write(t.Context(), data, more, outages))
	server, err := embedded.Start(embedded.Options{Address: "127.0.0.1:0", Data: data, Retention: 30 * 24 * hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return server.URL
}

func (w *world) write(ctx context.Context, directory string, more map[string]string, outages []outage) (err error) {
	writer, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), directory, (50 * hour).Milliseconds())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, writer.Close()) }()
	appender, byInstance := writer.Appender(ctx), map[string][]outage{}
	for _, each := range outages {
		byInstance[each.instance] = append(byInstance[each.instance], each)
	}
	for _, metric := range []string{"up", "demo_temp", "demo_requests_total", "db_size"} {
		for _, instance := range append(w.instances, database) {
			job := "node"
			if instance == database {
				job = "db"
			}
			if isOfDatabase := metric == "db_size"; metric != "up" && isOfDatabase != (instance == database) {
				continue
			}
			builder := labels.NewBuilder(labels.FromStrings("__name__", metric, "job", job, "instance", instance))
			for name, value := range more {
				builder.Set(name, value)
			}
			set, wasDown := builder.Labels(), false
			var reference storage.SeriesRef
			for at := w.now.Add(-w.reach); at.Before(w.now.Add(running.Ahead)); at = at.Add(interval) {
				sample, isDown, isThere := valueOf(metric, instance, at), false, true
				for _, each := range byInstance[instance] {
					if age := w.now.Sub(at); age <= each.from && age > each.to {
						isDown, isThere = true, metric == "up" && !each.isMissing
						sample = 0
					}
				}
				if !isThere && !wasDown {
					sample, isThere = math.Float64frombits(value.StaleNaN), true
				}
				if wasDown = isDown; !isThere {
					continue
				}
				if reference, err = appender.Append(reference, set, at.UnixMilli(), sample); err != nil {
					return err
				}
			}
		}
	}
	if err := appender.Commit(); err != nil {
		return err
	}
	_, err = writer.Flush(ctx)
	return err
}

// valueOf returns the value of a sample.
func valueOf(metric, instance string, at time.Time) float64 {
	seconds := float64(at.Unix())
	switch metric {
	case "up":
		return 1
	case "demo_requests_total":
		return math.Round(3*seconds + 100*math.Sin(seconds/1000) + float64(instance[0]))
	}
	return math.Round(100*math.Sin(seconds/3000+float64(instance[0]))) + 100
}

// setup is a datasource with servers of hot, and maybe a cold tier.
type setup struct {
	*world
	address string
}

// setup returns a datasource over servers. Without an address, there is no cold tier.
func (w *world) setup(t *testing.T, cold string, hot ...string) *setup {
	t.Helper()
	return w.setupOf(t, tier.StrategyRoute, cold, hot...)
}

func (w *world) setupOf(t *testing.T, strategy tier.Strategy, cold string, hot ...string) *setup {
	t.Helper()
	return &setup{w, hotreplicas.Start(t, hotreplicas.Options{
		Hot: hot, Cold: cold, ExternalLabels: external, Threshold: 15 * minute, Strategy: strategy, ProbeInterval: 200 * time.Millisecond,
	})}
}

// answer is what answered a query, and what.
type answer struct {
	tier, replica, reason string
	warnings              []string
	data                  any
}

// ask asks for a query over a time that ends some time ago. Without a span, the query is an instant
// query.
func (s *setup) ask(t *testing.T, query string, span, ago time.Duration) *answer {
	t.Helper()
	return get(t, s.address+s.target(query, span, ago))
}

func (w *world) target(query string, span, ago time.Duration) string {
	seconds := func(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }
	end := w.now.Add(-ago)
	if span == 0 {
		return "/api/v1/query?" + url.Values{"query": {query}, "time": {seconds(end)}}.Encode()
	}
	return "/api/v1/query_range?" + url.Values{"query": {query}, "start": {seconds(end.Add(-span))}, "end": {seconds(end)}, "step": {"60"}}.Encode()
}

// askWhole asks the Prometheus that has everything.
func (w *world) askWhole(t *testing.T, query string, span, ago time.Duration) *answer {
	t.Helper()
	return get(t, w.whole+w.target(query, span, ago))
}

func get(t *testing.T, address string) *answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	var got struct {
		Status   string
		Data     any
		Warnings []string
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&got))
	require.Equal(t, "success", got.Status)
	of := response.Header.Get
	return &answer{tier: of("X-Tier"), replica: of("X-Tier-Replica"), reason: of("X-Tier-Reason"), data: got.Data, warnings: got.Warnings}
}
