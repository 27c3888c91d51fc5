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
