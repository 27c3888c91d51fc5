package datasource

import (
	"context"
	"errors"
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
	return []string{outcomeSuccess, outcomeRejected, outcomeFailed, outcomeAborted, outcomeCanceled}
}

// addRequests makes these metrics, with all label values that there are, so
// that a first failure is an increase.
func (m *metrics) addRequests(registerer prometheus.Registerer) {
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

func (m *metrics) retried(next engine.Next) { m.retries.WithLabelValues(string(next)).Inc() }

// observedWriter keeps the status of an answer.
type observedWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *observedWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach what is below.
func (w *observedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// countRequest is deferred around a request. An answer that was cut off comes
// by as the panic that aborts the connection.
func (m *metrics) countRequest(ctx context.Context, endpoint promapi.Endpoint, written *observedWriter) {
	cut := recover()
	outcome := outcomeOf(written.status)
	switch {
	case cut != nil && ctx.Err() != nil, written.status == 0:
		outcome = outcomeCanceled // Of a whole answer the caller may close the connection at once.
	case cut != nil:
		outcome = outcomeAborted
	}
	m.requests.WithLabelValues(string(endpoint), outcome).Inc()
	if cut != nil {
		panic(cut)
	}
}

// countExecuted counts a query of a Go program.
func (m *metrics) countExecuted(ctx context.Context, endpoint promapi.Endpoint, err error) {
	outcome := outcomeSuccess
	switch {
	case err != nil && ctx.Err() != nil:
		outcome = outcomeCanceled
	case err != nil:
		outcome = outcomeFailed
		if failed, ok := errors.AsType[*QueryError](err); ok {
			outcome = outcomeOf(failed.Status)
		}
	}
	m.requests.WithLabelValues(string(endpoint), outcome).Inc()
}
