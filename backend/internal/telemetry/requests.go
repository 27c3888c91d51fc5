package telemetry

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// requestMetrics count requests as their callers see them, and retries.
type requestMetrics struct {
	requests *prometheus.CounterVec
	retries  *prometheus.CounterVec
}

// outcomes returns every outcome of a query.
func outcomes() []string {
	return []string{OutcomeSuccess, OutcomeRejected, OutcomeFailed, OutcomeAborted, OutcomeCanceled}
}

// addRequests registers the metrics with all their label values, so that rate() sees the
// first failure.
func (m *Metrics) addRequests(registerer prometheus.Registerer) {
	m.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tierproxy_requests_total",
		Help: "Requests to the Prometheus API by endpoint and outcome, including requests that reached no tier.",
	}, []string{"endpoint", "outcome"})
	m.retries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tierproxy_upstream_retries_total",
		Help: "Retries by target: another replica of hot, or the other tier (a fallback).",
	}, []string{"next"})
	registerer.MustRegister(m.requests, m.retries)
	for _, outcome := range outcomes() {
		for _, endpoint := range promapi.Endpoints() {
			m.requests.WithLabelValues(string(endpoint), outcome)
		}
		for _, name := range append(tier.Names(), tier.Both) {
			for _, reason := range tier.Reasons() {
				m.queries.WithLabelValues(string(name), string(reason), outcome)
			}
		}
	}
	for _, next := range engine.Nexts() {
		m.retries.WithLabelValues(string(next))
	}
}

// Retried counts a retry of a query by its target.
func (m *Metrics) Retried(next engine.Next) { m.retries.WithLabelValues(string(next)).Inc() }

// Writer records the status of a response: see CountRequest.
type Writer struct {
	http.ResponseWriter
	// Status is the status of the response, or zero before its header.
	Status int
}

// WriteHeader implements http.ResponseWriter.
func (w *Writer) WriteHeader(status int) {
	if w.Status == 0 {
		w.Status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap returns the underlying writer for http.ResponseController.
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// CountRequest counts a request. The caller defers it. A truncated answer arrives as the
// panic that aborts the connection; CountRequest panics again with it.
func (m *Metrics) CountRequest(ctx context.Context, endpoint promapi.Endpoint, written *Writer) {
	cut := recover()
	outcome := OutcomeOf(written.Status)
	switch {
	case cut != nil && ctx.Err() != nil, written.Status == 0:
		// A client may disconnect right after a complete answer, so ctx.Err() alone does not count.
		outcome = OutcomeCanceled
	case cut != nil:
		outcome = OutcomeAborted
	}
	m.requests.WithLabelValues(string(endpoint), outcome).Inc()
	if cut != nil {
		panic(cut)
	}
}

// CountExecuted counts a query through the Go library by its equivalent HTTP status.
func (m *Metrics) CountExecuted(ctx context.Context, endpoint promapi.Endpoint, status int) {
	outcome := OutcomeOf(status)
	if outcome != OutcomeSuccess && ctx.Err() != nil {
		outcome = OutcomeCanceled
	}
	m.requests.WithLabelValues(string(endpoint), outcome).Inc()
}
