package coldholes

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
)

// front is a server in front of others, one at a time. It can leave questions of the gateway
// about the samples of a metric unanswered.
type front struct {
	*httptest.Server
	target atomic.Pointer[url.URL]
	hangs  atomic.Pointer[string]
}

func newFront(t *testing.T, target string) *front {
	t.Helper()
	f := &front{}
	f.pointTo(t, target)
	proxy := &httputil.ReverseProxy{Rewrite: func(request *httputil.ProxyRequest) { request.SetURL(f.target.Load()) }}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		parameters := request.URL.Query()
		isAboutSamples := strings.Contains(request.UserAgent(), "probe") && parameters.Has("max_source_resolution")
		if metric := f.hangs.Load(); metric != nil && isAboutSamples && strings.Contains(parameters.Encode(), *metric) {
			<-request.Context().Done()
			return
		}
		proxy.ServeHTTP(w, request)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *front) pointTo(t *testing.T, target string) {
	t.Helper()
	parsed, err := url.Parse(target)
	require.NoError(t, err)
	f.target.Store(parsed)
}

// Cold stops to get a metric that is in use, and gets all of it later on.
func TestChange_IsNoticedWhileAMetricIsInUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, everything, everything)
	stopped := w.start(t, external, func(metric string, age time.Duration) bool {
		return age <= coldReach && (metric != "demo_temp" || age >= 4*minute)
	})
	cold := newFront(t, w.cold.URL)
	g := w.gateway(t, func(settings *config.Config) { route(settings); settings.Cold.URL = cold.URL })
	reason := func() string { return w.ask(t, g, `demo_temp`, hour, 0).reason }
	require.Equal(t, "at-or-above-threshold", reason())
	cold.pointTo(t, stopped.URL)
	require.Eventually(t, func() bool { return reason() == "newer-than-cold" }, 30*time.Second, 50*time.Millisecond)
	require.Equal(t, "at-or-above-threshold", w.ask(t, g, `demo_requests_total`, hour, 0).reason)
	cold.pointTo(t, w.cold.URL)
	require.Eventually(t, func() bool { return reason() == "at-or-above-threshold" }, 30*time.Second, 50*time.Millisecond)
}

// A question that is not answered concerns its own metric only. Hot answers what it holds.
func TestSilence_ConcernsOneMetric(t *testing.T) {
	t.Parallel()
	w := newWorld(t, everything, everything)
	cold := newFront(t, w.cold.URL)
	g := w.gateway(t, func(settings *config.Config) { route(settings); settings.Cold.URL = cold.URL })
	require.Equal(t, "at-or-above-threshold", w.ask(t, g, `demo_requests_total`, hour, 0).reason)
	metric := "demo_temp"
	cold.hangs.Store(&metric)
	got := w.ask(t, g, `demo_temp`, hour, 0)
	require.Equal(t, []string{"hot", "not-in-cold"}, []string{got.tier, got.reason})
	require.Empty(t, got.Warnings)
	got = w.ask(t, g, `demo_temp`, 24*hour, 0)
	require.Equal(t, []string{"cold", "older-than-hot"}, []string{got.tier, got.reason})
	require.Contains(t, got.Warnings[0], "it is not known yet whether it has all samples of demo_temp")
	require.Equal(t, "at-or-above-threshold", w.ask(t, g, `demo_requests_total`, hour, 0).reason)
	cold.hangs.Store(nil)
	require.Eventually(t, func() bool { return w.ask(t, g, `demo_temp`, hour, 0).reason == "at-or-above-threshold" }, 3*time.Minute, 50*time.Millisecond)
}
