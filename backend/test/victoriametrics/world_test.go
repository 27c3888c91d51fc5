//go:build e2e

package victoriametrics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	interval = 15 * time.Second
	ahead    = 20 * time.Minute
)

// shop are the series of two targets. The counter grows unevenly.
func shop() []history.Series {
	var list []history.Series
	for _, instance := range []string{"a:80", "b:80"} {
		of := func(name string, value func(int64) float64) {
			list = append(list, history.Series{Labels: labels.FromStrings("__name__", name, "job", "shop", "instance", instance), Value: value})
		}
		of("up", func(int64) float64 { return 1 })
		of("orders_total", func(at int64) float64 { return float64(at/1000%100_000 + at/7000%13) })
		of("queue", func(at int64) float64 { return float64(at / 15_000 % 97) })
	}
	return list
}

// content is what a store holds of shop.
type content struct {
	kind upstream.ServerKind
	past time.Duration
	// cluster is a label of all series of a Prometheus; empty for none.
	cluster string
	// lacks reports whether a VictoriaMetrics lacks a sample, that long ago; nil for none.
	lacks func(series labels.Labels, ago time.Duration) bool
}

func (c content) series() []history.Series {
	list := shop()
	for i := range list {
		if c.cluster != "" {
			list[i].Labels = labels.NewBuilder(list[i].Labels).Set("cluster", c.cluster).Labels()
		}
	}
	return list
}

// store is a server with the samples of shop, and what it was asked.
type store struct {
	*httptest.Server

	server *stack.Server
	proxy  atomic.Pointer[httputil.ReverseProxy]
	mutex  sync.Mutex
	asked  []*http.Request
}

// startStore starts a VictoriaMetrics, or a Prometheus.
func startStore(t *testing.T, holds content, now time.Time) *store {
	t.Helper()
	made := &store{server: startServer(t, holds, now)}
	made.forwardTo(t, made.server)
	made.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, incoming *http.Request) {
		made.note(incoming)
		// A body that is still being sent on when the answer begins ends the connection to the server.
		body, err := io.ReadAll(incoming.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		incoming.Body = io.NopCloser(bytes.NewReader(body))
		made.proxy.Load().ServeHTTP(w, incoming)
	}))
	t.Cleanup(made.Close)
	return made
}

// forwardTo hands requests to a server from now on.
func (s *store) forwardTo(t *testing.T, server *stack.Server) {
	t.Helper()
	base, err := url.Parse(server.URL)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(base)
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	s.proxy.Store(proxy)
}

func startServer(t *testing.T, holds content, now time.Time) *stack.Server {
	t.Helper()
	var server *stack.Server
	var err error
	if holds.kind == upstream.ServerVictoriaMetrics {
		var path string
		path, err = stack.Tool(t.Context(), os.Stderr, "victoria-metrics")
		require.NoError(t, err)
		server, err = stack.VictoriaMetrics{Dir: t.TempDir(), LatencyOffset: "30s"}.Start(t.Context(), path)
		require.NoError(t, err)
		fill(t, server.URL, holds, now)
	} else {
		var path string
		path, err = stack.Tool(t.Context(), os.Stderr, "prometheus")
		require.NoError(t, err)
		directory := t.TempDir()
		data := filepath.Join(directory, "data")
		require.NoError(t, history.Generator{Interval: interval, Only: holds.series()}.WriteBlocks(t.Context(), data, now.Add(-holds.past), now.Add(ahead)))
		server, err = stack.Prometheus{Name: "prometheus", Dir: directory, Data: data, Retention: "90d"}.Start(t.Context(), path)
		require.NoError(t, err)
	}
	t.Cleanup(server.Kill)
	return server
}

// note notes a request, with its parameters in the URL.
func (s *store) note(incoming *http.Request) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.asked = append(s.asked, incoming)
}

// queries returns the parameters of the queries since the last call that are not tierproxy's own.
func (s *store) queries() (list []url.Values) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, asked := range s.asked {
		if strings.HasPrefix(asked.URL.Path, "/api/v1/query") && !strings.HasSuffix(asked.UserAgent(), "(probe)") {
			list = append(list, asked.URL.Query())
		}
	}
	s.asked = nil
	return list
}

// fill imports the samples of shop.
func fill(t *testing.T, server string, holds content, now time.Time) {
	t.Helper()
	var lines strings.Builder
	for _, each := range shop() {
		values, times := []float64{}, []int64{}
		for at := now.Add(-holds.past).Truncate(interval); at.Before(now.Add(ahead)); at = at.Add(interval) {
			if holds.lacks != nil && holds.lacks(each.Labels, now.Sub(at)) {
				continue
			}
			values, times = append(values, each.Value(at.UnixMilli())), append(times, at.UnixMilli())
		}
		require.NoError(t, json.NewEncoder(&lines).Encode(map[string]any{"metric": each.Labels.Map(), "values": values, "timestamps": times}))
	}
	post(t, server+"/api/v1/import", lines.String())
	get(t, server+"/internal/force_flush")
}

// world is a gateway in front of two tiers.
type world struct {
	hot, cold *store
	url       string
	manager   *datasource.Manager
	now       time.Time
}

// newWorld starts the tiers and a gateway.
func newWorld(t *testing.T, hot, cold content, change func(*datasource.Config)) *world {
	t.Helper()
	w := &world{now: time.Now()}
	w.hot, w.cold = startStore(t, hot, w.now), startStore(t, cold, w.now)
	config := running.TwoTiers(w.hot.URL, w.cold.URL)
	if change != nil {
		change(&config)
	}
	w.manager = running.Manager(t, config)
	server := httptest.NewServer(gateway.New(w.manager))
	t.Cleanup(server.Close)
	w.url = server.URL
	w.hot.queries()
	w.cold.queries()
	return w
}

// answer is what the gateway answers.
type answer struct {
	status            int
	Tier, Reason      string
	Status, ErrorType string
	Error             string
	Warnings          []string
	Data              json.RawMessage
}

// language returns the warnings about the language.
func (a answer) language() []string {
	return slices.DeleteFunc(slices.Clone(a.Warnings), func(text string) bool { return !promapi.IsAboutLanguage(text) })
}

func (w *world) ask(t *testing.T, path string, parameters url.Values, header ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+path+"?"+parameters.Encode(), http.NoBody)
	require.NoError(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	made := answer{status: response.StatusCode, Tier: response.Header.Get("X-Tier"), Reason: response.Header.Get("X-Tier-Reason")}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&made))
	return made
}

// over returns the parameters of a range query that ends now.
func (w *world) over(query string, length, step time.Duration) url.Values {
	end := time.Now()
	return url.Values{"query": {query}, "start": {fmt.Sprint(end.Add(-length).Unix())}, "end": {fmt.Sprint(end.Unix())}, "step": {fmt.Sprint(step.Seconds())}}
}
