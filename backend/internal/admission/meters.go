package admission

import "github.com/prometheus/client_golang/prometheus"

// Meters count the calls of tiers, with all labels resolved.
type Meters struct {
	// InFlight are the calls that are under way, Queued those that wait.
	InFlight, Queued prometheus.Gauge
	// Waited observes the queueing time in seconds of calls that had to wait.
	Waited prometheus.Observer
	// Rejected counts the calls that were not made, by every reason of
	// Rejections.
	Rejected map[string]prometheus.Counter
	// Shared counts the requests that were answered with the answer to another
	// one.
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
