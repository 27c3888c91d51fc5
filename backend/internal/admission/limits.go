package admission

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Limits limit the calls to one tier. The zero value has no limits.
type Limits struct {
	// Concurrent is the maximum number of concurrent calls; 0 for no limit. A call ends with
	// the body of its answer.
	Concurrent int
	// Queue is the maximum number of calls that wait.
	Queue int
	// Wait is the maximum time that a call waits.
	Wait time.Duration
	// SharedBytes is the maximum size of an answer that identical calls share, in bytes; 0 for
	// no sharing.
	SharedBytes int
	// SharedMemory is the memory for shared answers of all tiers; nil for no limit.
	SharedMemory *BudgetShare
}

// The reasons of an OverloadError, as label values of a metric.
const (
	RejectedFull = "queue-full" // the queue is full
	RejectedWait = "queue-wait" // the call has waited too long
	RejectedLeft = "left"       // the caller has disconnected, or its deadline is over
)

// Rejections returns all reasons of an OverloadError.
func Rejections() []string { return []string{RejectedFull, RejectedWait, RejectedLeft} }

// OverloadError is returned for a call that was not made because the tier has too many calls. It
// says nothing about the tier's health.
type OverloadError struct {
	// Reason is one of Rejections.
	Reason string
	// RetryAfter is when to try again, in whole seconds.
	RetryAfter time.Duration
	// Cause is why the caller stopped waiting, or nil.
	Cause error
}

// Error returns a message for callers.
func (e *OverloadError) Error() string {
	return fmt.Sprintf("it has too many queries already: try again in %s", e.RetryAfter)
}

// Unwrap returns the cause.
func (e *OverloadError) Unwrap() error { return e.Cause }

// Bounds of OverloadError.RetryAfter.
const (
	leastRetryAfter = time.Second
	mostRetryAfter  = 30 * time.Second
)

// Meters count the calls to tiers.
type Meters struct {
	// InFlight is the number of calls in flight, and Queued the number of calls that wait.
	InFlight, Queued prometheus.Gauge
	// Waited observes the time in seconds that a call waited.
	Waited prometheus.Observer
	// Rejected counts the calls that were not made by reason, with all reasons of Rejections.
	Rejected map[string]prometheus.Counter
	// Shared counts the requests that got a copy of an answer.
	Shared prometheus.Counter
}

// orUnseen returns the meters, or unregistered ones instead of nil.
func (m *Meters) orUnseen() *Meters {
	if m != nil {
		return m
	}
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{})
	m = &Meters{InFlight: gauge, Queued: gauge, Shared: gauge, Waited: prometheus.ObserverFunc(func(float64) {}), Rejected: map[string]prometheus.Counter{}}
	for _, reason := range Rejections() {
		m.Rejected[reason] = gauge
	}
	return m
}
