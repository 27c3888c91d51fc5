package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// panelForm is what a panel of the last five minutes asks.
func panelForm() string {
	now := time.Now().Unix()
	return url.Values{
		"query": {`sum by (job) (rate(http_requests_total{job=~"cart|checkout"}[5m]))`},
		"start": {fmt.Sprint(now - 300)}, "end": {fmt.Sprint(now)}, "step": {"15"},
	}.Encode()
}

// answerOf returns an answer of about that many bytes.
func answerOf(size int) []byte {
	point := `[1764115200,"0.123456789"],`
	points := strings.Repeat(point, max(1, (size-120)/len(point)))
	return []byte(`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"job":"cart"},"values":[` + strings.TrimSuffix(points, ",") + `]}]}}`)
}

// BenchmarkPassThrough answers panel queries through the whole gateway and, for
// comparison, through httputil.ReverseProxy with a tuned transport. Client, proxy
// and tier share the process, so the difference between the two is the gateway's.
func BenchmarkPassThrough(b *testing.B) {
	for _, size := range []int{1 << 10, 100 << 10, 20 << 20} {
		answer := answerOf(size)
		tier := faketier.New()
		b.Cleanup(tier.Close)
		probe := tier.Config.Handler
		tier.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.URL.Path, "/api/v1/query_range") {
				probe.ServeHTTP(w, r)
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(answer)
		})
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			name := fmt.Sprintf("%s/%dKB", method, size>>10)
			b.Run("proxy=reverseproxy/"+name, func(b *testing.B) {
				benchmarkPanel(b, bareProxy(b, tier.URL), method, len(answer))
			})
			b.Run("proxy=tierproxy/"+name, func(b *testing.B) {
				benchmarkPanel(b, gateway.New(benchmarkedGateway(b, tier.URL)), method, len(answer))
			})
		}
	}
}

// bareProxy is what people would write in a few lines, with a transport that
// keeps its connections.
func bareProxy(b *testing.B, target string) http.Handler {
	b.Helper()
	parsed, err := url.Parse(target)
	require.NoError(b, err)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(request *httputil.ProxyRequest) { request.SetURL(parsed) },
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 50, MaxConnsPerHost: 50, IdleConnTimeout: 90 * time.Second, DisableCompression: true,
		},
	}
	return proxy
}

// benchmarkedGateway is a Manager that logs as tierproxy does by default.
func benchmarkedGateway(b *testing.B, hot string) *datasource.Manager {
	b.Helper()
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	settings := running.TwoTiers(hot, hot)
	settings.Hot.Complete = true
	manager := running.Start(b, settings, logger)
	running.Settle(b, manager)
	require.Equal(b, datasource.StatusHealthy, manager.Health().Status)
	return manager
}

func benchmarkPanel(b *testing.B, handler http.Handler, method string, size int) {
	b.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	client := &http.Transport{MaxIdleConnsPerHost: 50, DisableCompression: true}
	defer client.CloseIdleConnections()
	form := panelForm()
	target, body := server.URL+"/api/v1/query_range?"+form, ""
	if method == http.MethodPost {
		target, body = server.URL+"/api/v1/query_range", form
	}
	buffer := make([]byte, 256<<10)
	ask := func() {
		request, err := http.NewRequestWithContext(b.Context(), method, target, bytes.NewReader([]byte(body)))
		if err != nil {
			b.Fatal(err)
		}
		if body != "" {
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		response, err := client.RoundTrip(request)
		if err != nil {
			b.Fatal(err)
		}
		written, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{response.Body}, buffer)
		_ = response.Body.Close()
		if err != nil || written != int64(size) || response.StatusCode != http.StatusOK {
			b.Fatalf("status %d, %d bytes of %d: %v", response.StatusCode, written, size, err)
		}
	}
	ask()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		ask()
	}
}
