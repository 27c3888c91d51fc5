// Package telemetry holds the metrics of the gateway.
package telemetry

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resultcache"
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
	// OutcomeAborted is an answer that was cut off after its header.
	OutcomeAborted = "aborted"
	// OutcomeCanceled is a client that went away.
	OutcomeCanceled = "canceled"
)

// Metrics are the metrics of one gateway. They outlive a change of its
// configuration.
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

	// What queries count with has its labels resolved: looking them up would
	// be a noticeable part of a small answer's cost.
	// Tiers count the calls to each tier.
	Tiers     map[tier.Name]*upstream.Meters
	durations map[promapi.Endpoint]prometheus.Observer
	headers   map[tier.Name]prometheus.Observer
	answered  map[decision]prometheus.Counter

	cacheUses    *prometheus.CounterVec
	samplesSaved prometheus.Counter
	// cache is that of the gateway that runs now.
	cache atomic.Pointer[resultcache.Cache]
}

// decision is what a successful answer counts under.
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

// New registers the metrics.
func New(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		queries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tierproxy_queries_total",
			Help: "Queries by the tier that answered, the reason it was chosen and the outcome.",
		}, []string{"tier", "reason", "outcome"}),
		duration:         histogram("tierproxy_query_duration_seconds", "Time from a request until the end of its answer, by endpoint.", "endpoint"),
		upstreamDuration: histogram("tierproxy_upstream_header_duration_seconds", "Time until a tier sent the header of its answer, all tries together.", "tier"),
		inFlight:         prometheus.NewGauge(prometheus.GaugeOpts{Name: "tierproxy_queries_in_flight", Help: "Queries that are being answered."}),
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tierproxy_datasource_lookups_total",
			Help: "Lookups of saved datasources by outcome: cached, fetched from Perses, stale while Perses is unreachable, refused by Perses, unavailable.",
		}, []string{"outcome"}),
	}
	m.cacheUses = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tierproxy_cache_queries_total",
		Help: "Queries that could use the cache, by how they did: hit (all that may be kept was there), partial, miss, bypass (the caller did not want it), never (nothing of them may be kept).",
	}, []string{"result"})
	m.samplesSaved = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "tierproxy_cache_samples_total", Help: "Samples of answers that came from the cache, so that no tier was asked for them.",
	})
	registerer.MustRegister(m.cacheUses, m.samplesSaved)
	m.registerCache(registerer)
	for _, result := range engine.CacheResults() {
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

// Began counts a query until the function that it returns is called.
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

// Answered observes the header of an answer: the tier that sent it and the time
// that it took.
func (m *Metrics) Answered(name tier.Name, took time.Duration) {
	m.headers[name].Observe(took.Seconds())
}

// newTierMeters makes the metrics of the calls to tiers, those that datasources
// name included.
func newTierMeters(registerer prometheus.Registerer) map[tier.Name]*upstream.Meters {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"tier"})
	}
	inFlight := gauge("tierproxy_tier_queries_in_flight", "Queries that tiers are answering.")
	queued := gauge("tierproxy_tier_queries_queued", "Queries that wait for their turn at a tier.")
	waited := histogram("tierproxy_tier_queue_duration_seconds", "Time that queries waited for their turn which had to.", "tier")
	rejected := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tierproxy_tier_queries_rejected_total",
		Help: "Queries that a tier was not asked because it had too many: the queue was full, the longest wait over, or the caller left before.",
	}, []string{"tier", "reason"})
	shared := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tierproxy_tier_answers_shared_total",
		Help: "Queries that were answered with the answer to an identical one that was under way.",
	}, []string{"tier"})
	registerer.MustRegister(inFlight, queued, waited, rejected, shared)
	made := map[tier.Name]*upstream.Meters{}
	for _, name := range tier.Names() {
		label := string(name)
		made[name] = &upstream.Meters{
			InFlight: inFlight.WithLabelValues(label), Queued: queued.WithLabelValues(label), Waited: waited.WithLabelValues(label),
			Shared: shared.WithLabelValues(label), Rejected: map[string]prometheus.Counter{},
		}
		for _, reason := range upstream.Rejections() {
			made[name].Rejected[reason] = rejected.WithLabelValues(label, reason)
		}
	}
	return made
}

// Count counts an answer of a tier, or the failure of one.
func (m *Metrics) Count(name tier.Name, reason tier.Reason, outcome string) {
	if counter, found := m.answered[decision{name, reason}]; found && outcome == OutcomeSuccess {
		counter.Inc()
		return
	}
	m.queries.WithLabelValues(string(name), string(reason), outcome).Inc()
}

// registerCache registers what the cache itself counts.
func (m *Metrics) registerCache(registerer prometheus.Registerer) {
	stats := func(value func(resultcache.Stats) float64) func() float64 {
		return func() float64 {
			if cache := m.cache.Load(); cache != nil {
				return value(cache.Stats())
			}
			return 0
		}
	}
	registerer.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "tierproxy_cache_bytes", Help: "Bytes that the entries of the cache take in memory."},
			stats(func(stats resultcache.Stats) float64 { return float64(stats.Bytes) })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "tierproxy_cache_entries", Help: "Entries of the cache in memory."},
			stats(func(stats resultcache.Stats) float64 { return float64(stats.Entries) })),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "tierproxy_cache_evictions_total", Help: "Entries of the cache that had to make room for others."},
			stats(func(stats resultcache.Stats) float64 { return float64(stats.Evictions) })),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "tierproxy_cache_damaged_total", Help: "Entries of the cache that were damaged or not the gateway's, and were ignored."},
			stats(func(stats resultcache.Stats) float64 { return float64(stats.Damaged) })),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "tierproxy_cache_failures_total", Help: "How often Redis failed, was too slow, or was left alone for a second after that; the query went on without it."},
			stats(func(stats resultcache.Stats) float64 { return float64(stats.Failures) })),
	)
}

// CacheUsed counts how a query used the cache.
func (m *Metrics) CacheUsed(use engine.CacheUse) {
	m.cacheUses.WithLabelValues(use.Result).Inc()
	m.samplesSaved.Add(float64(use.Samples))
}

// OutcomeOf returns the outcome of an answer with an HTTP status.
func OutcomeOf(status int) string {
	switch {
	case status < http.StatusBadRequest:
		return OutcomeSuccess
	case status < http.StatusInternalServerError:
		return OutcomeRejected
	}
	return OutcomeFailed
}
