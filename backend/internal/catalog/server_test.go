package catalog

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// someServer answers paths as a server of some kind, and counts what it was asked.
type someServer struct {
	header  http.Header
	answers map[string]string // data by the end of the path
	stats   string            // behind the data of queries
	tenant  bool              // it wants one

	mutex sync.Mutex
	asked map[string]int
}

func (s *someServer) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.asked == nil {
		s.asked = map[string]int{}
	}
	s.asked[request.URL.Path]++
	for name, values := range s.header {
		w.Header()[name] = values
	}
	path := request.URL.Path
	switch {
	case s.tenant && request.Header.Get("X-Scope-OrgID") == "":
		http.Error(w, "no org id", http.StatusUnauthorized)
	case request.URL.Query().Get("query") == "vector(1)":
		_, _ = fmt.Fprint(w, strings.TrimSuffix(faketier.Vector("1"), "}")+s.stats+"}")
	case s.answers[path[strings.LastIndex(path, "/")+1:]] != "":
		_, _ = fmt.Fprintf(w, `{"status":"success","data":%s}`, s.answers[path[strings.LastIndex(path, "/")+1:]])
	case strings.HasSuffix(path, "/query"):
		_, _ = fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector","result":[]}}`)
	case strings.HasSuffix(path, "/series"), strings.HasSuffix(path, "/values"):
		_, _ = fmt.Fprint(w, `{"status":"success","data":[]}`)
	default:
		http.NotFound(w, request)
	}
}

const (
	statsOfMetricsQL = `,"stats":{"seriesFetched": "0","executionTimeMsec":0}`
	oneStore         = `{"%s":[{"name":"a","lastError":null,"labelSets":[{"cluster":"a"}],"minTime":1,"maxTime":9223372036854775807}]}`
)

// kinds are servers with the kind that is recognised.
func kinds() map[string]*someServer {
	hostname := http.Header{"X-Server-Hostname": {"vm"}}
	return map[string]*someServer{
		"Prometheus 3.16.0":                 {answers: map[string]string{"buildinfo": `{"version":"3.16.0"}`, "runtimeinfo": `{"storageRetention":"15d"}`}},
		"Prometheus 3.16.1":                 {header: hostname, answers: map[string]string{"buildinfo": `{"version":"3.16.1"}`, "runtimeinfo": `{"storageRetention":"15d"}`}},
		"Thanos Query 0.42.4":               {answers: map[string]string{"buildinfo": `{"version":"0.42.4"}`, "runtimeinfo": `{}`, "stores": fmt.Sprintf(oneStore, "sidecar")}},
		"Thanos Query over receivers 0.1.0": {answers: map[string]string{"buildinfo": `{"version":"0.1.0"}`, "stores": fmt.Sprintf(oneStore, "receive")}},
		"VictoriaMetrics":                   {header: hostname, stats: statsOfMetricsQL, answers: map[string]string{"buildinfo": `{"version":"2.24.0"}`}},
		"Mimir 2.17.0":                      {answers: map[string]string{"buildinfo": `{"application":"Grafana Mimir","version":"2.17.0"}`}, tenant: true},
		"Cortex":                            {tenant: true},
		"":                                  {answers: map[string]string{"buildinfo": `{"version":"1"}`}},
	}
}

func tierOf(t *testing.T, name tier.Name, handler http.Handler, interval time.Duration) *Tier {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	require.NoError(t, err)
	client, err := upstream.NewClient(upstream.ClientOptions{URL: base, PoolSize: 4, Header: http.Header{"X-Scope-Orgid": {"a"}}})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return NewTier(TierOptions{Name: name, Client: client, ProbeInterval: interval})
}

func TestRecognize_KindsOfServers(t *testing.T) {
	for _, name := range tier.Names() {
		for expected, server := range kinds() {
			t.Run(string(name)+": "+expected, func(t *testing.T) {
				inspected := tierOf(t, name, server, time.Hour)
				found := inspected.Inspect(t.Context())
				require.Equal(t, expected, found.Server.String())
				require.Equal(t, expected == "VictoriaMetrics", inspected.SpeaksMetricsQL())
				require.LessOrEqual(t, server.asked["/api/v1/status/buildinfo"], 1)
			})
		}
	}
	for name, server := range map[string]*someServer{
		"behind a proxy that removes the header": {stats: statsOfMetricsQL},
	} {
		require.Equal(t, "VictoriaMetrics", tierOf(t, tier.Cold, server, time.Hour).Inspect(t.Context()).Server.String(), name)
	}
	front := &someServer{stats: statsOfMetricsQL, header: http.Header{"X-Tier": {"cold"}}}
	require.Empty(t, tierOf(t, tier.Cold, front, time.Hour).Inspect(t.Context()).Server.String(), "another tierproxy warns itself")
}

// runTier runs a tier until the end of the test, and waits for the first probe.
func runTier(t *testing.T, of *Tier) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { of.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	of.Wait(t.Context())
}

// switching hands requests to one server after the other.
type switching struct{ atomic.Pointer[someServer] }

func (s *switching) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	s.Load().ServeHTTP(w, request)
}

func TestRecognize_AnotherServerBehindTheSameAddress(t *testing.T) {
	all, handler := kinds(), &switching{}
	handler.Store(all["Prometheus 3.16.0"])
	seen := tierOf(t, tier.Cold, handler, 5*time.Millisecond)
	runTier(t, seen)
	for _, expected := range []string{"VictoriaMetrics", "Thanos Query 0.42.4", "Prometheus 3.16.0"} {
		handler.Store(all[expected])
		seen.IsMetricsQL(all[expected].header)
		require.Eventually(t, func() bool {
			seen.probes.Request()
			return seen.Server().String() == expected
		}, 30*time.Second, 5*time.Millisecond, expected)
	}
	require.False(t, seen.SpeaksMetricsQL())
	_, isOther := seen.api.IsMetricsQL(http.Header{})
	require.False(t, isOther)
}

// The version is read once, however often the tier is probed.
func TestRecognize_AsksRarely(t *testing.T) {
	server := kinds()["VictoriaMetrics"]
	seen := tierOf(t, tier.Cold, server, time.Millisecond)
	runTier(t, seen)
	probes := func() int {
		server.mutex.Lock()
		defer server.mutex.Unlock()
		return server.asked["/api/v1/query"]
	}
	require.Eventually(t, func() bool { seen.probes.Request(); return probes() > 20 }, 30*time.Second, time.Millisecond)
	server.mutex.Lock()
	defer server.mutex.Unlock()
	require.Equal(t, 1, server.asked["/api/v1/status/buildinfo"])
}
