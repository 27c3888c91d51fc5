package admission

import "github.com/prometheus/client_golang/prometheus"

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
