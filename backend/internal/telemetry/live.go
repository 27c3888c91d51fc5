package telemetry

import "github.com/prometheus/client_golang/prometheus"

// LiveMetrics are the metrics of live queries.
type LiveMetrics struct {
	// Streams is the number of streams, and Lag the time from a step until its update was sent, in
	// seconds.
	Streams prometheus.Gauge
	Lag     prometheus.Observer
	// Resumes counts streams that go on where another one ended, and Dropped how often updates were
	// dropped for a slow client.
	Resumes, Dropped prometheus.Counter
}

// live returns the metrics of live queries.
func (f factory) live() LiveMetrics {
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return LiveMetrics{
		Streams: f.NewGauge(prometheus.GaugeOpts{Name: "tierproxy_live_streams", Help: "Streams of live queries that are open."}),
		Lag:     f.histogram("tierproxy_live_lag_seconds", "Time from a step of a live query until its update was sent to a client.").WithLabelValues(),
		Resumes: counter("tierproxy_live_resumes_total", "Streams of live queries that resumed where another one had ended."),
		Dropped: counter("tierproxy_live_dropped_total", "How often a client was too slow, so that it got a snapshot in place of updates."),
	}
}
