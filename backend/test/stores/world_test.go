//go:build e2e

// Package stores holds the gateway to its promise in front of other stores than Prometheus and a
// Thanos with a bucket: each answer equals that of one Prometheus with all the data, or has a warning.
// What the store itself answers stands beside.
package stores

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// world is two tiers that are fed with the same samples, and an oracle.
type world struct {
	now time.Time
	// hot, cold and oracle are asked directly.
	hot, cold, oracle server
	// settings are added to those of the gateway.
	settings func(*config.Config)
	// tenantHeaders are those of the proxy of the datasource, in JSON; empty for the default datasource.
	tenantHeaders string
	// senders feed the tiers while time goes by.
	senders []sender
	// stopHot stops hot.
	stopHot func()
	// takesExemplars is set if hot takes exemplars by remote write.
	takesExemplars bool
	// secret is a text that no answer may have.
	secret string
}

func program(t *testing.T, name string) string {
	t.Helper()
	path, err := stack.Tool(t.Context(), os.Stderr, name)
	require.NoError(t, err)
	return path
}

func newWorld() *world { return &world{now: time.Now().Truncate(minute)} }

// startOracle starts a Prometheus with all the data, also with that of some time to come.
func (w *world) startOracle(t *testing.T, groups []group) {
	t.Helper()
	data := t.TempDir()
	writeBlocks(t, data, groups, w.now.Add(-reach), w.now.Add(ahead))
	started, err := embedded.Start(embedded.Options{Address: "127.0.0.1:0", Data: data, Retention: 30 * 24 * hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, started.Close()) })
	w.oracle = server{base: started.URL}
}

// prometheusOptions say what is special about a Prometheus.
type prometheusOptions struct {
	program     string
	external    map[string]any
	remoteWrite string
	until       time.Duration // of its blocks, after now
}

// prometheus starts a Prometheus that has some of the past, and takes more by remote write.
func (w *world) prometheus(t *testing.T, name string, groups []group, past time.Duration, options prometheusOptions) *stack.Server {
	t.Helper()
	directory := t.TempDir()
	data := filepath.Join(directory, "data")
	writeBlocks(t, data, groups, w.now.Add(-past), w.now.Add(options.until))
	global := map[string]any{"scrape_interval": interval.String(), "evaluation_interval": interval.String()}
	if options.external != nil {
		global["external_labels"] = options.external
	}
	if options.program == "" {
		options.program = "prometheus"
	}
	started, err := stack.Prometheus{
		Name: name, Dir: directory, Data: data, Retention: "90d", Global: global, RemoteWrite: options.remoteWrite,
		Arguments: []string{"--web.enable-remote-write-receiver", "--enable-feature=promql-at-modifier,promql-negative-offset,exemplar-storage"},
	}.Start(t.Context(), program(t, options.program))
	require.NoError(t, err)
	t.Cleanup(started.Kill)
	return started
}

// hotPrometheus makes a Prometheus the hot tier, fed by remote write.
func (w *world) hotPrometheus(t *testing.T, groups []group, options prometheusOptions) {
	t.Helper()
	started := w.prometheus(t, "hot", groups, hotReach, options)
	w.hot, w.stopHot, w.takesExemplars = server{base: started.URL}, started.Kill, true
	w.senders = append(w.senders, sender{url: started.URL + "/api/v1/write", groups: groups})
}

// coldPrometheus makes a Prometheus the cold tier, fed by remote write.
func (w *world) coldPrometheus(t *testing.T, groups []group, options prometheusOptions) {
	t.Helper()
	started := w.prometheus(t, "cold", groups, reach, options)
	w.cold = server{base: started.URL}
	w.senders = append(w.senders, sender{url: started.URL + "/api/v1/write", groups: groups})
}

// fill sends the past to a store that takes no blocks, and goes on to feed it.
func (w *world) fill(t *testing.T, to sender, past time.Duration) {
	t.Helper()
	require.NoError(t, to.send(t.Context(), w.now.Add(-past), w.now))
	w.senders = append(w.senders, to)
}

// feed sends the samples since now, and goes on with that until the test ends.
func (w *world) feed(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var feeding sync.WaitGroup
	for _, each := range w.senders {
		next := w.now
		send := func() {
			if until := time.Now(); !next.After(until) {
				until = until.Truncate(interval).Add(time.Millisecond)
				if err := each.send(ctx, next, until); err == nil { // It is sent again otherwise.
					next = first(until)
				}
			}
		}
		send()
		require.Greater(t, next, w.now, "%s takes no samples", each.url)
		feeding.Go(func() {
			ticker := time.NewTicker(500 * time.Millisecond)
			defer ticker.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
					send()
				}
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		feeding.Wait()
	})
}

// tierproxy is a gateway over the tiers of a world.
type tierproxy struct {
	server

	manager *datasource.Manager
}

// gateway starts one.
func (w *world) gateway(t *testing.T, threshold time.Duration, change func(*config.Config)) *tierproxy {
	t.Helper()
	settings := running.TwoTiers(w.hot.base, w.cold.base)
	settings.Routing.Threshold = config.Duration(threshold)
	settings.Probe.Interval, settings.Probe.LearnInterval = config.Duration(time.Second), config.Duration(4*time.Second)
	settings.Discovery.Enabled = false
	base := ""
	if w.tenantHeaders != "" {
		base = "/proxy/globaldatasources/metrics"
		saved := map[string]fakeperses.Datasource{"/globaldatasources/metrics": {Headers: w.tenantHeaders}}
		settings.Perses.URL = fakeperses.Start(t, "", saved).URL
	}
	for _, each := range []func(*config.Config){w.settings, change} {
		if each != nil {
			each(&settings)
		}
	}
	manager := running.Start(t, settings, running.Errors())
	listener := httptest.NewServer(gateway.New(manager))
	t.Cleanup(listener.Close)
	if w.tenantHeaders == "" {
		running.Settle(t, manager)
	}
	return &tierproxy{server{base: listener.URL + base}, manager}
}

// upTo waits until a server has the newest samples up to a time.
func (s server) upTo(t *testing.T, at time.Time) {
	t.Helper()
	var last string
	require.Eventually(t, func() bool {
		got, err := s.ask(t.Context(), "query", instant(`max(timestamp(temperature_celsius))`).values(at.Add(interval)))
		if err != nil {
			last = err.Error()
			return false
		}
		last = got.body
		for _, points := range got.points {
			for _, value := range points {
				return !strings.HasPrefix(value, "NaN") && sameOrLater(value, at)
			}
		}
		return false
	}, minute, 200*time.Millisecond, "%s does not have its samples: %s", s.base, &last)
}
