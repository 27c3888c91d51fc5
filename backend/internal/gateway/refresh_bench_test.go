//go:build unix

package gateway_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// benchmarkedValues are values with the digits of rates, of bytes and of ratios.
func benchmarkedValues() []string {
	random, values := rand.New(rand.NewPCG(1, 2)), make([]string, 0, 3*20021) // More than a range has, so that nothing repeats.
	level := 500.0
	for range cap(values) / 3 {
		level += random.NormFloat64() * level / 50
		for _, value := range []float64{float64(int(level*300)) / 300, float64(int(level*1e5)) * 4096, level / (level + 700 + random.Float64())} {
			values = append(values, strconv.FormatFloat(value, 'f', -1, 64))
		}
	}
	return values
}

// dashboardTier answers range queries with so many series that have a sample at each step. It
// answers probes as the given handler does.
func dashboardTier(b *testing.B, series int, probes http.HandlerFunc) *httptest.Server {
	b.Helper()
	values := benchmarkedValues()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasPrefix(r.UserAgent(), "tierproxy (probe)") || !strings.HasSuffix(r.URL.Path, "/query_range") {
			probes(w, r)
			return
		}
		_ = r.ParseForm()
		number := func(name string) int64 {
			value, _ := strconv.ParseFloat(r.Form.Get(name), 64)
			return int64(value + 0.5)
		}
		start, end, step := number("start"), number("end"), max(number("step"), 1)
		out := make([]byte, 0, 64<<10)
		out = append(out, `{"status":"success","data":{"resultType":"matrix","result":[`...)
		for i := range series {
			if i > 0 {
				out = append(out, ',')
			}
			out = fmt.Appendf(out, `{"metric":{"cluster":"lab","instance":"10.1.%d.%d:9100","job":"node-exporter"},"values":[`, i%4, 100+i)
			for at := start; at <= end; at += step {
				if at > start {
					out = append(out, ',')
				}
				out = strconv.AppendInt(append(out, '['), at, 10)
				out = append(append(append(out, `,"`...), values[((int(at/step)+i/3*1500)*3+i%3)%len(values)]...), `"]`...)
			}
			out = append(out, `]}`...)
		}
		_, _ = w.Write(append(out, `]}}`...))
	}))
	b.Cleanup(server.Close)
	return server
}

func processCPU() int64 {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return used.Utime.Nano() + used.Stime.Nano()
}

// BenchmarkRefresh asks again for a panel of which all old steps are kept, through the whole gateway as
// it is by default. Client, gateway and tiers share the process.
func BenchmarkRefresh(b *testing.B) {
	for _, shown := range []struct {
		name       string
		span, step time.Duration
	}{{"7d-10m", 7 * 24 * time.Hour, 10 * time.Minute}, {"24h-1m", 24 * time.Hour, time.Minute}} {
		for _, series := range []int{3, 30} {
			for _, accepted := range []string{"gzip", "zstd,gzip"} {
				b.Run(fmt.Sprintf("%s/series=%d/accept=%s", shown.name, series, accepted), func(b *testing.B) {
					benchmarkRefresh(b, shown.span, shown.step, series, accepted)
				})
			}
		}
	}
}

func benchmarkRefresh(b *testing.B, span, step time.Duration, series int, accepted string) {
	b.Helper()
	hot := dashboardTier(b, series, faketier.Telling(map[string]string{
		"/label/__name__": `["up"]`, "/status/config": `{"yaml":"global: {evaluation_interval: 30s}"}`,
	}))
	newest := fmt.Sprintf(`{"resultType":"vector","result":[{"metric":{},"value":[1,"%d"]}]}`, time.Now().Add(time.Hour).Unix())
	cold := dashboardTier(b, series, faketier.Telling(map[string]string{
		"/status/config": `{"yaml":"global: {}"}`, "max(timestamp(": newest, "/label/__name__": `["up"]`,
	}))
	settings := running.TwoTiers(hot.URL, cold.URL)
	settings.Hot.Complete, settings.Probe.Interval = true, config.Duration(time.Second)
	manager := running.Start(b, settings, nil)
	running.Settle(b, manager)
	server := httptest.NewServer(gateway.New(manager))
	defer server.Close()
	client := &http.Transport{MaxIdleConnsPerHost: 50, DisableCompression: true}
	defer client.CloseIdleConnections()
	ask := func() (used string, bytes int64) {
		end := time.Now().Truncate(step)
		form := url.Values{
			"query": {"sum by (instance) (rate(up[5m]))"}, "step": {strconv.Itoa(int(step.Seconds()))},
			"start": {strconv.FormatInt(end.Add(-span).Unix(), 10)}, "end": {strconv.FormatInt(end.Unix(), 10)},
		}
		request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, server.URL+"/api/v1/query_range?"+form.Encode(), http.NoBody)
		require.NoError(b, err)
		request.Header.Set("Accept-Encoding", accepted)
		response, err := client.RoundTrip(request)
		require.NoError(b, err)
		bytes, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		require.NoError(b, err)
		require.Equal(b, http.StatusOK, response.StatusCode)
		return response.Header.Get("X-Tier-Cache"), bytes
	}
	require.Eventually(b, func() bool { used, _ := ask(); return strings.HasPrefix(used, "hit") }, 30*time.Second, 100*time.Millisecond)
	bytes := int64(0)
	b.ReportAllocs()
	started := processCPU()
	for b.Loop() {
		_, bytes = ask()
	}
	b.ReportMetric(float64(processCPU()-started)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(bytes), "bytes")
}
