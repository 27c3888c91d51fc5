// Package telemetry holds the metrics of the gateway.
package telemetry

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// The outcomes of a query, as label values.
const (
	// OutcomeSuccess is a status below 400.
	OutcomeSuccess = "success"
	// OutcomeRejected is a status from 400 to 499: the query has to be changed.
	OutcomeRejected = "rejected"
	// OutcomeFailed is a status of 500 or more.
	OutcomeFailed = "failed"
	// OutcomeAborted is an answer whose body was cut off.
	OutcomeAborted = "aborted"
	// OutcomeCanceled is a client that disconnected.
	OutcomeCanceled = "canceled"
)

// Metrics are the metrics of one gateway. They survive a reload of its configuration.
type Metrics struct {
	queries          *prometheus.CounterVec
	duration         *prometheus.HistogramVec
	upstreamDuration *prometheus.HistogramVec
	inFlight         prometheus.Gauge
	lookups          *prometheus.CounterVec
	requestMetrics

	state *stateCollector
	// Reloads counts the changed files of credentials.
	Reloads *upstream.Reloads

	// Each query uses the metrics below. Their labels are resolved in advance, because
	// a lookup is expensive compared to a small answer.

	// Tiers count the calls to each tier.
	Tiers     map[tier.Name]*admission.Meters
	durations map[promapi.Endpoint]prometheus.Observer
	headers   map[tier.Name]prometheus.Observer
	answered  map[decision]prometheus.Counter

	cacheUses    *prometheus.CounterVec
	samplesSaved prometheus.Counter
	// cache is the cache of the running gateway.
	cache atomic.Pointer[cache.Cache]
}

// decision holds the labels of a successful answer.
type decision struct {
	tier   tier.Name
	reason tier.Reason
}

func histogram(name, help string, label string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help,
		Buckets:                         []float64{0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60},
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	}, []string{label})
}

// New returns the metrics, registered in registerer.
func New(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		queries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tierproxy_queries_total",
			Help: "Queries by the tier that answered, the reason it was chosen and the outcome.",
		}, []string{"tier", "reason", "outcome"}),
		duration:         histogram("tierproxy_query_duration_seconds", "Time from the start of a request to the end of its response, by endpoint.", "endpoint"),
		upstreamDuration: histogram("tierproxy_upstream_header_duration_seconds", "Time until a tier sends the response header, including retries.", "tier"),
		inFlight:         prometheus.NewGauge(prometheus.GaugeOpts{Name: "tierproxy_queries_in_flight", Help: "Queries in flight."}),
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tierproxy_datasource_lookups_total",
			Help: "Lookups of saved datasources by outcome: cached, fetched (from Perses), stale (Perses is unreachable), refused (by Perses), unavailable.",
		}, []string{"outcome"}),
	}
	m.cacheUses = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tierproxy_cache_queries_total",
		Help: "Queries that could use the cache, by result: hit (all cacheable steps), partial, miss, bypass (the caller disabled it), never (no step is cacheable).",
	}, []string{"result"})
	m.samplesSaved = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "tierproxy_cache_samples_total", Help: "Samples served from the cache instead of from a tier.",
	})
	registerer.MustRegister(m.cacheUses, m.samplesSaved)
	m.registerCache(registerer)
	for _, result := range engine.CacheResults {
		m.cacheUses.WithLabelValues(result)
	}
	registerer.MustRegister(m.queries, m.duration, m.upstreamDuration, m.inFlight, m.lookups)
	m.headers, m.answered = map[tier.Name]prometheus.Observer{}, map[decision]prometheus.Counter{}
	for _, name := range append(tier.Names(), tier.Both) {
		m.headers[name] = m.upstreamDuration.WithLabelValues(string(name))
		for _, reason := range tier.Reasons() {
			m.answered[decision{name, reason}] = m.queries.WithLabelValues(string(name), string(reason), OutcomeSuccess)
		}
	}
	m.durations = map[promapi.Endpoint]prometheus.Observer{}
	for _, endpoint := range promapi.Endpoints() {
		m.durations[endpoint] = m.duration.WithLabelValues(string(endpoint))
	}
	m.Tiers = newTierMeters(registerer)
	for _, outcome := range perses.Outcomes() {
		m.lookups.WithLabelValues(outcome)
	}
	m.addRequests(registerer)
	m.Reloads = &upstream.Reloads{}
	m.state = newStateCollector(m.Reloads)
	registerer.MustRegister(m.state)
	return m
}

// Began counts a query as in flight until the caller calls ended, which also observes
// its duration.
func (m *Metrics) Began(endpoint promapi.Endpoint) (ended func()) {
	started := time.Now()
	m.inFlight.Inc()
	return func() {
		m.inFlight.Dec()
		m.durations[endpoint].Observe(time.Since(started).Seconds())
	}
}

// LookedUp counts a lookup of a saved datasource by its outcome.
func (m *Metrics) LookedUp(outcome string) { m.lookups.WithLabelValues(outcome).Inc() }

// Answered observes the time until a tier sent the header of its response.
func (m *Metrics) Answered(name tier.Name, took time.Duration) {
	m.headers[name].Observe(took.Seconds())
}

// newTierMeters returns the metrics of the calls to all tiers, including the tiers that
// datasources name.
func newTierMeters(registerer prometheus.Registerer) map[tier.Name]*admission.Meters {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"tier"})
	}
	inFlight := gauge("tierproxy_tier_queries_in_flight", "Queries in flight to a tier.")
	queued := gauge("tierproxy_tier_queries_queued", "Queries waiting in the queue of a tier.")
	waited := histogram("tierproxy_tier_queue_duration_seconds", "Queueing time of queries that had to wait.", "tier")
	rejected := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tierproxy_tier_queries_rejected_total",
		Help: "Queries not sent to an overloaded tier, by reason: the queue was full, the wait was too long, or the client disconnected.",
	}, []string{"tier", "reason"})
	shared := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tierproxy_tier_answers_shared_total",
		Help: "Queries that shared the answer of an identical query in flight.",
	}, []string{"tier"})
	registerer.MustRegister(inFlight, queued, waited, rejected, shared)
	meters := map[tier.Name]*admission.Meters{}
	for _, name := range tier.Names() {
		label := string(name)
		meters[name] = &admission.Meters{
			InFlight: inFlight.WithLabelValues(label), Queued: queued.WithLabelValues(label), Waited: waited.WithLabelValues(label),
			Shared: shared.WithLabelValues(label), Rejected: map[string]prometheus.Counter{},
		}
		for _, reason := range admission.Rejections() {
			meters[name].Rejected[reason] = rejected.WithLabelValues(label, reason)
		}
	}
	return meters
}

// Count counts an answer or a failure of a tier.
func (m *Metrics) Count(name tier.Name, reason tier.Reason, outcome string) {
	if counter, found := m.answered[decision{name, reason}]; found && outcome == OutcomeSuccess {
		counter.Inc()
		return
	}
	m.queries.WithLabelValues(string(name), string(reason), outcome).Inc()
}

// registerCache registers the metrics that the cache itself counts.
func (m *Metrics) registerCache(registerer prometheus.Registerer) {
	stats := func(value func(cache.Stats) float64) func() float64 {
		return func() float64 {
			if cache := m.cache.Load(); cache != nil {
				return value(cache.Stats())
			}
			return 0
		}
	}
	registerer.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "tierproxy_cache_bytes", Help: "Memory used by the entries of the cache, in bytes."},
			stats(func(stats cache.Stats) float64 { return float64(stats.Bytes) })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "tierproxy_cache_entries", Help: "Entries of the cache in memory."},
			stats(func(stats cache.Stats) float64 { return float64(stats.Entries) })),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "tierproxy_cache_evictions_total", Help: "Cache entries evicted to make room for others."},
			stats(func(stats cache.Stats) float64 { return float64(stats.Evictions) })),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "tierproxy_cache_damaged_total", Help: "Cache entries ignored because they were damaged or not written by tierproxy."},
			stats(func(stats cache.Stats) float64 { return float64(stats.Damaged) })),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "tierproxy_cache_failures_total", Help: "Cache operations that failed or timed out, or that tierproxy skipped in the second after a failure (circuit breaker). Queries continue without the cache."},
			stats(func(stats cache.Stats) float64 { return float64(stats.Failures) })),
	)
}

// CacheUsed counts how a query used the cache.
func (m *Metrics) CacheUsed(use engine.CacheUse) {
	m.cacheUses.WithLabelValues(use.Result).Inc()
	m.samplesSaved.Add(float64(use.Samples))
}

// OutcomeOf returns the outcome for an HTTP status.
func OutcomeOf(status int) string {
	switch {
	case status < http.StatusBadRequest:
		return OutcomeSuccess
	case status < http.StatusInternalServerError:
		return OutcomeRejected
	}
	return OutcomeFailed
}
