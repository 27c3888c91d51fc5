package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"net/http/httptest"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// observed is a gateway whose log is read.
func observed(t *testing.T, change func(*config.Config), options ...datasource.Option) (*served, *test.Hook) {
	t.Helper()
	g := &served{hot: faketier.Start(t), cold: faketier.Start(t)}
	settings := running.TwoTiers(g.hot.URL, g.cold.URL)
	change(&settings)
	logger, hook := test.NewNullLogger()
	logger.SetLevel(logrus.DebugLevel)
	manager := running.Start(t, settings, logger, options...)
	g.Server = httptest.NewServer(gateway.New(manager))
	t.Cleanup(g.Close)
	running.Settle(t, manager)
	return g, hook
}

func entryOf(t *testing.T, hook *test.Hook, message string) *logrus.Entry {
	t.Helper()
	var found *logrus.Entry
	require.Eventually(t, func() bool {
		for _, each := range hook.AllEntries() {
			if each.Message == message {
				found = each
			}
		}
		return found != nil
	}, 10*time.Second, 5*time.Millisecond, message)
	return found
}

func TestLogs_HoldTheRequestID(t *testing.T) {
	g, hook := observed(t, func(*config.Config) {})
	response, _ := g.ask(t, http.MethodGet, query, "")
	id := response.Header.Get("X-Request-Id")
	require.Len(t, id, 16)
	line := entryOf(t, hook, "query answered")
	require.Equal(t, id, line.Data["request_id"])
	require.Regexp(t, "^[0-9a-f]{16}$", line.Data["fingerprint"])
	for _, field := range []string{"tier", "reason", "duration", "endpoint", "datasource"} {
		require.Contains(t, line.Data, field)
	}
	require.NotContains(t, line.Data, "query")

	// A plain id that comes along stays, any other does not, and a tier has none to give.
	g.hot.Handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "of-the-tier")
		faketier.Success(w, r)
	})
	for given, kept := range map[string]bool{"of-the-caller.1": true, "two words": false, strings.Repeat("x", 65): false, "<b>": false} {
		response, _ = g.ask(t, http.MethodGet, query, "", "X-Request-Id", given)
		require.Len(t, response.Header.Values("X-Request-Id"), 1)
		require.Equal(t, kept, response.Header.Get("X-Request-Id") == given, given)
	}
	response, body := g.ask(t, http.MethodGet, "/api/v1/query?query=up&time=never", "", "X-Request-Id", "mine")
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
	require.Contains(t, body, `"requestId":"mine"`)
	require.Equal(t, "mine", entryOf(t, hook, "rejected a request").Data["request_id"])
}

func TestTracing_EachStepIsASpan(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	g, hook := observed(t, func(*config.Config) {}, datasource.WithTracerProvider(provider))
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	g.ask(t, http.MethodGet, query, "", "Traceparent", parent, "Tracestate", "vendor=1")
	names := map[string]sdktrace.ReadOnlySpan{}
	require.Eventually(t, func() bool {
		for _, each := range spans.Ended() {
			names[each.Name()] = each
		}
		return len(names) == 4
	}, 10*time.Second, 5*time.Millisecond)
	server := names["tierproxy request"]
	require.Equal(t, "b7ad6b7169203331", server.Parent().SpanID().String())
	require.Equal(t, trace.SpanKindServer, server.SpanKind())
	for name, kind := range map[string]trace.SpanKind{"plan": trace.SpanKindInternal, "ask the hot tier": trace.SpanKindClient, "stream the answer": trace.SpanKindInternal} {
		require.Contains(t, names, name)
		require.Equal(t, server.SpanContext().SpanID(), names[name].Parent().SpanID(), name)
		require.Equal(t, kind, names[name].SpanKind(), name)
	}
	// The tier goes on with the trace.
	requests := g.hot.Requests()
	sent := requests[len(requests)-1].Header
	require.Equal(t, "00-0af7651916cd43dd8448eb211c80319c-"+names["ask the hot tier"].SpanContext().SpanID().String()+"-01", sent.Get("Traceparent"))
	require.Equal(t, "vendor=1", sent.Get("Tracestate"))
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", entryOf(t, hook, "query answered").Data["trace_id"])

	// Without a provider, what the caller sent is passed on as it is.
	g, _ = observed(t, func(*config.Config) {})
	g.ask(t, http.MethodGet, query, "", "Traceparent", parent)
	requests = g.hot.Requests()
	require.Equal(t, parent, requests[len(requests)-1].Header.Get("Traceparent"))
}
