//go:build e2e

// Package oracle holds the gateway to its one promise: every answer equals
// that of one Prometheus which holds all the data. It asks both the same and
// compares.
package oracle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	minute = time.Minute
	hour   = time.Hour

	scrapeInterval = 30 * time.Second
	// future is how far the blocks reach beyond the start of the test, so that
	// all servers hold the same samples up to now while it runs.
	future = 40 * minute
	// threshold is that of the datasource in all setups.
	threshold = 2 * hour
	// lag is how far cold is behind where it lags.
	lag = 3 * hour
)

// world is the data and the programs that all setups share.
type world struct {
	dir                        string
	prometheusPath, thanosPath string

	hotIsThanos bool // and not a Prometheus

	now      time.Time // start of the test
	boundary time.Time // where hot begins

	blocks []*evalBlock
	placed map[*evalBlock]time.Time // where the blocks stand in time

	series []loadedSeries // everything that hot's cluster has
	others []loadedSeries // what another cluster has
	users  []loadedSeries // what the user-workload Prometheus has
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := shopWorld(t)
	w.placed = map[*evalBlock]time.Time{}
	w.blocks = readEvals(t)
	w.now = time.Now().Truncate(minute) // Reading took its time.
	w.place()
	w.generate()
	return w
}

// shopWorld is a world without Prometheus' test data: of the web shop, of which
// hot has the last five hours.
func shopWorld(t *testing.T) *world {
	t.Helper()
	w := &world{now: time.Now().Truncate(minute)}
	w.boundary = w.now.Add(-5 * hour)
	var err error
	w.dir, err = os.MkdirTemp("", "tiered-prometheus-oracle-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(w.dir) })
	for name, path := range map[string]*string{"prometheus": &w.prometheusPath, "thanos": &w.thanosPath} {
		*path, err = stack.Tool(t.Context(), os.Stderr, name)
		require.NoError(t, err)
	}
	return w
}

// place puts the blocks of the test data behind each other, so that the last
// one ends before now and most of them are in hot.
func (w *world) place() {
	const apart = 6 * minute
	length := func(block *evalBlock) time.Duration {
		return min(block.length, 30*hour).Truncate(minute) + apart
	}
	var total time.Duration
	for _, block := range w.blocks {
		total += length(block)
	}
	start := w.now.Add(-total - hour)
	for i, block := range w.blocks {
		w.placed[block] = start
		start = start.Add(length(block))
		if i == len(w.blocks)/5 {
			w.boundary = start
		}
	}
}

// shared are the metrics that another cluster has too.
var shared = []string{"up", "http_requests_total", "process_resident_memory_bytes"}

// generate makes the series.
func (w *world) generate() {
	for _, block := range w.blocks {
		base := w.placed[block].UnixMilli()
		for _, series := range block.series {
			shifted := loadedSeries{labels: series.labels}
			for _, sample := range series.samples {
				sample.at += base
				shifted.samples = append(shifted.samples, sample)
			}
			w.series = append(w.series, shifted)
		}
	}
	w.series = append(w.series, w.shop("", nil)...)
	w.others = w.shop("", func(name string) bool { return slices.Contains(shared, name) })
	w.users = w.shop("user_", func(name string) bool { return name == "up" || name == "http_requests_total" })
}

// shop is the web shop of package history around now and around the boundary;
// its series named up are there all the time.
func (w *world) shop(prefix string, keep func(name string) bool) []loadedSeries {
	var all []loadedSeries
	oldest := w.boundary.Add(-20 * hour)
	generated := (history.Generator{Interval: scrapeInterval}).All()
	for phase := range 5 {
		// Series that have to be looked back for.
		generated = append(generated, history.Series{
			Labels: labels.FromStrings(model.MetricNameLabel, "sparse", "phase", strconv.Itoa(phase)),
			Value:  func(at int64) float64 { return float64(at / 1000 % 86400) },
		})
	}
	for _, series := range generated {
		name := series.Labels.Get(model.MetricNameLabel)
		if keep != nil && !keep(name) {
			continue
		}
		made := loadedSeries{labels: series.Labels}
		if prefix != "" && name != "up" {
			made.labels = labels.NewBuilder(series.Labels).Set(model.MetricNameLabel, prefix+name).Labels()
		}
		shift := int64(0)
		if keep != nil {
			shift = 3 * hour.Milliseconds() // Other values than hot's.
		}
		for at := oldest.Truncate(scrapeInterval); at.Before(w.now.Add(future)); at = at.Add(scrapeInterval) {
			near := at.After(w.now.Add(-7*hour)) || (at.After(w.boundary.Add(-4*hour)) && at.Before(w.boundary.Add(4*hour)))
			if series.Labels.Get("phase") == "4" {
				// Every 6 minutes: longer than the lookback of Prometheus, and
				// shorter than that of the Thanos here.
				if at.Unix()%360 != 0 {
					continue
				}
			} else if phase := series.Labels.Get("phase"); phase != "" && strconv.FormatInt(at.Unix()/60%4, 10)+"0" != phase+strconv.Itoa(at.Second()) {
				continue
			}
			if name != "up" && !near {
				continue
			}
			sample := loadedSample{at: at.UnixMilli()}
			if series.Histogram != nil {
				sample.histogramI = series.Histogram(at.UnixMilli() + shift)
			} else {
				sample.value = series.Value(at.UnixMilli() + shift)
			}
			made.samples = append(made.samples, sample)
		}
		all = append(all, made)
	}
	return all
}

// write writes the samples of the series from a time, inclusive, to another,
// exclusive, as blocks of at most a day. more are labels that all of them get.
func (w *world) write(t *testing.T, directory string, series []loadedSeries, from, to time.Time, more map[string]string) {
	t.Helper()
	const day = 24 * hour
	for start := from; start.Before(to); start = start.Truncate(day).Add(day) {
		end := start.Truncate(day).Add(day)
		if end.After(to) {
			end = to
		}
		require.NoError(t, writeBlock(t.Context(), filepath.Join(w.dir, directory), series, start.UnixMilli(), end.UnixMilli(), more))
	}
}

func writeBlock(ctx context.Context, directory string, series []loadedSeries, from, to int64, more map[string]string) (err error) {
	writer, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), directory, (50 * hour).Milliseconds())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, writer.Close()) }()
	appender := writer.Appender(ctx)
	count := 0
	for _, each := range series {
		builder := labels.NewBuilder(each.labels)
		for name, value := range more {
			builder.Set(name, value)
		}
		set := builder.Labels()
		var reference storage.SeriesRef
		for _, sample := range each.samples {
			if sample.at < from || sample.at >= to {
				continue
			}
			count++
			if sample.histogram != nil || sample.histogramI != nil {
				reference, err = appender.AppendHistogram(reference, set, sample.at, sample.histogramI, sample.histogram)
			} else {
				reference, err = appender.Append(reference, set, sample.at, sample.value)
			}
			if err != nil {
				return fmt.Errorf("append to %s at %d: %w", set, sample.at, err)
			}
		}
	}
	if err := appender.Commit(); err != nil || count == 0 {
		return err
	}
	_, err = writer.Flush(ctx)
	return err
}

// prometheus starts a Prometheus over a directory that was written.
func (w *world) prometheus(t *testing.T, name, directory string, external map[string]string) *stack.Server {
	t.Helper()
	global := map[string]any{"scrape_interval": "30s", "evaluation_interval": "30s"}
	if external != nil {
		global["external_labels"] = external
	}
	server, err := stack.Prometheus{
		Name: name, Dir: w.dir, Data: filepath.Join(w.dir, directory), Retention: "10y", Global: global,
		Arguments: []string{"--enable-feature=promql-experimental-functions"},
	}.Start(t.Context(), w.prometheusPath)
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop() })
	return server
}

// thanos starts a store gateway and a query over what was written, one
// directory for each label set. more are arguments of the query, which take the
// place of those with the same names.
func (w *world) thanos(t *testing.T, name string, sources map[string][]string, more ...string) *stack.ThanosServers {
	t.Helper()
	directory := filepath.Join(w.dir, name)
	require.NoError(t, os.MkdirAll(directory, 0o700))
	arguments := slices.DeleteFunc([]string{
		"--query.replica-label=replica", "--enable-feature=promql-experimental-functions",
		// It differs from the oracle's: the gateway has to say what is meant.
		"--query.default-evaluation-interval=1m", "--query.lookback-delta=7m", "--query.auto-downsampling",
	}, func(argument string) bool {
		name, _, _ := strings.Cut(argument, "=")
		return slices.ContainsFunc(more, func(other string) bool { return strings.HasPrefix(other, name+"=") })
	})
	server := stack.Thanos{Dir: directory, Bucket: filepath.Join(directory, "bucket"), QueryArguments: append(arguments, more...)}
	log, err := os.Create(filepath.Join(directory, "upload.log"))
	require.NoError(t, err)
	defer func() { _ = log.Close() }()
	for source, sets := range sources {
		// Thanos notes there what it has uploaded, to whatever bucket.
		_ = os.Remove(filepath.Join(w.dir, source, "thanos.shipper.json"))
		if err := server.Upload(t.Context(), w.thanosPath, filepath.Join(w.dir, source), log, sets...); err != nil {
			text, _ := os.ReadFile(log.Name())
			require.NoError(t, err, string(text))
		}
	}
	servers, err := server.Start(t.Context(), w.thanosPath)
	require.NoError(t, err)
	t.Cleanup(servers.Stop)
	running.AwaitStores(t, servers.Query, "cluster", len(sources))
	return servers
}

// runningGateway is a running gateway.
type runningGateway struct {
	*httptest.Server
	manager *datasource.Manager
}

// gateway starts a gateway over two tiers and waits until it has learned.
func (w *world) gateway(t *testing.T, hot, cold string, change func(*config.Config)) *runningGateway {
	t.Helper()
	settings := running.TwoTiers(hot, cold)
	settings.Routing.Threshold = config.Duration(threshold)
	settings.Probe.Interval = config.Duration(500 * time.Millisecond)
	settings.Probe.LearnInterval = config.Duration(2 * time.Second)
	if change != nil {
		change(&settings)
	}
	return serve(t, settings)
}

// serve starts a gateway.
func serve(t *testing.T, settings config.Config, options ...datasource.Option) *runningGateway {
	t.Helper()
	manager := running.Start(t, settings, running.Errors(), options...)
	server := httptest.NewServer(gateway.New(manager))
	t.Cleanup(server.Close)
	return &runningGateway{Server: server, manager: manager}
}
