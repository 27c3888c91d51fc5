package telemetry

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// requestMetrics are those of requests as their callers see them, and of the
// tries that it took to answer them.
type requestMetrics struct {
	requests *prometheus.CounterVec
	retries  *prometheus.CounterVec
}

// outcomes returns all outcomes of a query.
func outcomes() []string {
	return []string{OutcomeSuccess, OutcomeRejected, OutcomeFailed, OutcomeAborted, OutcomeCanceled}
}

// addRequests makes these metrics, with all label values that there are, so
// that a first failure is an increase.
func (m *Metrics) addRequests(registerer prometheus.Registerer) {
	m.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tierproxy_requests_total",
		Help: "Requests to the Prometheus API by endpoint and outcome, those that no tier was asked for included.",
	}, []string{"endpoint", "outcome"})
	m.retries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tierproxy_upstream_retries_total",
		Help: "Further tries by who was asked: another replica of hot, or the other tier (a fallback).",
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

// Retried counts a further try of a query by who is asked.
func (m *Metrics) Retried(next engine.Next) { m.retries.WithLabelValues(string(next)).Inc() }

// Writer keeps the status of an answer: see CountRequest.
type Writer struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *Writer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach what is below.
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// CountRequest counts a request; the caller defers it. An answer that was cut off
// arrives as the panic that aborts the connection, which goes on.
func (m *Metrics) CountRequest(ctx context.Context, endpoint promapi.Endpoint, written *Writer) {
	cut := recover()
	outcome := OutcomeOf(written.status)
	switch {
	case cut != nil && ctx.Err() != nil, written.status == 0:
		outcome = OutcomeCanceled // Of a whole answer the caller may close the connection at once.
	case cut != nil:
		outcome = OutcomeAborted
	}
	m.requests.WithLabelValues(string(endpoint), outcome).Inc()
	if cut != nil {
		panic(cut)
	}
}

// CountExecuted counts a query of a Go program by the HTTP status that stands for
// its outcome.
func (m *Metrics) CountExecuted(ctx context.Context, endpoint promapi.Endpoint, status int) {
	outcome := OutcomeOf(status)
	if outcome != OutcomeSuccess && ctx.Err() != nil {
		outcome = OutcomeCanceled
	}
	m.requests.WithLabelValues(string(endpoint), outcome).Inc()
}
