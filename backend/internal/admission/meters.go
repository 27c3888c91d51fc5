package admission

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Meters count the calls of tiers, with all labels resolved. nil counts
// nothing.
type Meters struct {
	// InFlight are the calls that are under way, Queued those that wait.
	InFlight, Queued prometheus.Gauge
	// Waited are the seconds that calls waited which had to.
	Waited prometheus.Observer
	// Rejected counts the calls that were not made, by every reason of
	// Rejections.
	Rejected map[string]prometheus.Counter
	// Shared counts the requests that were answered with the answer to another
	// one.
	Shared prometheus.Counter
}

func (m *Meters) inFlight(change float64) {
	if m != nil {
		m.InFlight.Add(change)
	}
}

func (m *Meters) queued(change float64) {
	if m != nil {
		m.Queued.Add(change)
	}
}

func (m *Meters) waited(duration time.Duration) {
	if m != nil {
		m.Waited.Observe(duration.Seconds())
	}
}

func (m *Meters) rejected(reason string) {
	if m != nil {
		m.Rejected[reason].Inc()
	}
}

func (m *Meters) shared() {
	if m != nil {
		m.Shared.Inc()
	}
}
