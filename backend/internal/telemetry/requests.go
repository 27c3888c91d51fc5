package telemetry

import (
	"context"
	"net/http"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

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
	aborted := recover()
	outcome := OutcomeOf(written.Status)
	switch {
	case aborted != nil && ctx.Err() != nil, written.Status == 0:
		// A client may disconnect right after a complete answer, so ctx.Err() alone does not count.
		outcome = OutcomeCanceled
	case aborted != nil:
		outcome = OutcomeAborted
	}
	m.requests.WithLabelValues(string(endpoint), outcome).Inc()
	if aborted != nil {
		panic(aborted)
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
