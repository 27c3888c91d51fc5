package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// TestTracing_SpansReachTheCollector checks what a collector gets of a request, and
// what the tier gets of its trace.
func TestTracing_SpansReachTheCollector(t *testing.T) {
	tier := faketier.New()
	t.Cleanup(tier.Close)
	var mutex sync.Mutex
	spans := map[string]string{} // the trace of each, by name
	services := map[string]bool{}
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		var sent collector.ExportTraceServiceRequest
		if err != nil || request.URL.Path != "/v1/traces" || proto.Unmarshal(body, &sent) != nil {
			return
		}
		mutex.Lock()
		defer mutex.Unlock()
		for _, resource := range sent.GetResourceSpans() {
			for _, attribute := range resource.GetResource().GetAttributes() {
				if attribute.GetKey() == "service.name" {
					services[attribute.GetValue().GetStringValue()] = true
				}
			}
			for _, scope := range resource.GetScopeSpans() {
				for _, span := range scope.GetSpans() {
					spans[span.GetName()] = string(span.GetTraceId())
				}
			}
		}
	}))
	t.Cleanup(receiver.Close)
	address := running.FreeAddress(t)
	stop := startTierproxy(t, []string{"THANOS_QUERIER_URL=" + tier.URL, "TIERPROXY_TRACING_ENDPOINT=" + receiver.URL, "OTEL_BSP_SCHEDULE_DELAY=50"},
		"--web.listen-address", address)
	asking := caller{t: t}
	asking.eventually("http://"+address+"/-/ready", http.StatusOK)
	status, _, err := asking.get("http://" + address + "/api/v1/query?query=up")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	stop() // It sends what is left.
	mutex.Lock()
	defer mutex.Unlock()
	require.Equal(t, map[string]bool{"tierproxy": true}, services)
	for _, name := range []string{"tierproxy request", "plan", "ask the cold tier", "stream the answer"} {
		require.Contains(t, spans, name)
	}
	require.Equal(t, spans["plan"], spans["ask the cold tier"])
	requests := tier.Requests()
	require.NotEmpty(t, requests[len(requests)-1].Header.Get("Traceparent"))
}
