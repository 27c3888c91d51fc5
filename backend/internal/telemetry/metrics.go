// Package telemetry holds the metrics of the gateway. It imports the packages whose label
// values the metrics have, but neither core, datasource nor gateway.
package telemetry

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// The outcomes of a query, as label values.
const (
	OutcomeSuccess  = "success"  // a status below 400
	OutcomeRejected = "rejected" // a status from 400 to 499 other than 429: the query has to be changed
	OutcomeFailed   = "failed"   // a status of 500 or more
	OutcomeAborted  = "aborted"  // an answer whose body was truncated
	OutcomeCanceled = "canceled" // a client that disconnected
)

// Metrics are the metrics of one gateway. They survive a reload of its configuration.
type Metrics struct {
	queries, requests, retries, lookups, cacheUses *prometheus.CounterVec
	inFlight                                       prometheus.Gauge
	samplesSaved                                   prometheus.Counter
	// Divided counts the queries of which cold computes several parts at once.
	Divided prometheus.Counter
	// Live are the metrics of live queries.
	Live LiveMetrics

	state *stateCollector
	// Reloads counts the changed files of credentials.
	Reloads *upstream.Reloads
	// cache is the cache of the running gateway.
	cache atomic.Pointer[cache.Cache]

	// Each query uses the metrics below. Their labels are resolved in advance, because
	// a lookup is expensive compared to a small answer.

	// Tiers count the calls to each tier.
	Tiers     map[tier.Name]*admission.Meters
	durations map[promapi.Endpoint]prometheus.Observer
	headers   map[tier.Name]prometheus.Observer
	probes    *prometheus.CounterVec
	probed    *prometheus.HistogramVec
	answered  map[decision]prometheus.Counter
	succeeded map[promapi.Endpoint]prometheus.Counter

	sources      *prometheus.CounterVec
	mutex        sync.Mutex
	bySource     map[string]prometheus.Counter
	otherSources prometheus.Counter // counts those beyond mostSources
}

// decision holds the labels of a successful answer.
type decision struct {
	tier   tier.Name
	reason tier.Reason
}

// factory registers the metrics that it creates.
type factory struct{ promauto.Factory }

func (f factory) counters(name, help string, labels ...string) *prometheus.CounterVec {
	return f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func (f factory) histogram(name, help string, labels ...string) *prometheus.HistogramVec {
	return f.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help,
		Buckets:                         []float64{0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60},
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	}, labels)
}

// New returns the metrics, registered in registerer. All label values exist from the start,
// so that rate() sees the first failure.
func New(registerer prometheus.Registerer) *Metrics {
	f := factory{promauto.With(registerer)}
	m := &Metrics{
		queries:  f.counters("tierproxy_queries_total", "Queries by the tier that answered, the reason it was chosen and the outcome.", "tier", "reason", "outcome"),
		requests: f.counters("tierproxy_requests_total", "Requests to the Prometheus API by endpoint and outcome, including requests that reached no tier.", "endpoint", "outcome"),
		sources:  f.counters("tierproxy_hot_source_queries_total", "Queries that a source of hot answered, or took part in, by its external labels: other for those beyond the first 256. Queries that are confined to namespaces do not count.", "source"),
		retries:  f.counters("tierproxy_upstream_retries_total", "Retries by target: another replica of hot, or the other tier (a fallback).", "next"),
		lookups: f.counters("tierproxy_datasource_lookups_total",
			"Lookups of saved datasources by outcome: cached, fetched (from Perses), stale (Perses is unreachable), refused (by Perses), unavailable.", "outcome"),
		cacheUses: f.counters("tierproxy_cache_queries_total",
			"Queries that could use the cache, by result: hit (all cacheable steps), partial, miss, bypass (the caller disabled it), never (no step is cacheable).", "result"),
		inFlight:     f.NewGauge(prometheus.GaugeOpts{Name: "tierproxy_queries_in_flight", Help: "Queries in flight."}),
		samplesSaved: f.NewCounter(prometheus.CounterOpts{Name: "tierproxy_cache_samples_total", Help: "Samples served from the cache instead of from a tier."}),
		Divided:      f.NewCounter(prometheus.CounterOpts{Name: "tierproxy_divided_queries_total", Help: "Range queries of which cold computed several parts at once, each on a core of its own."}),
		Reloads:      &upstream.Reloads{},
		Tiers:        f.tierMeters(),
		durations:    map[promapi.Endpoint]prometheus.Observer{}, headers: map[tier.Name]prometheus.Observer{}, answered: map[decision]prometheus.Counter{},
		succeeded: map[promapi.Endpoint]prometheus.Counter{}, bySource: map[string]prometheus.Counter{},
	}
	m.otherSources = m.sources.WithLabelValues("other")
	m.state = newStateCollector(m.Reloads)
	registerer.MustRegister(m.state)
	m.registerCache(f)
	m.registerProbes(f)
	m.Live = f.live()
	duration := f.histogram("tierproxy_query_duration_seconds", "Time from the start of a request to the end of its response, by endpoint.", "endpoint")
	upstreamDuration := f.histogram("tierproxy_upstream_header_duration_seconds", "Time until a tier sends the response header, including retries.", "tier")
	for _, outcome := range []string{OutcomeSuccess, OutcomeRejected, OutcomeFailed, OutcomeAborted, OutcomeCanceled} {
		for _, endpoint := range promapi.Endpoints() {
			if counter := m.requests.WithLabelValues(string(endpoint), outcome); outcome == OutcomeSuccess {
				m.succeeded[endpoint] = counter
			}
			m.durations[endpoint] = duration.WithLabelValues(string(endpoint))
		}
		for _, name := range append(tier.Names(), tier.Both) {
			m.headers[name] = upstreamDuration.WithLabelValues(string(name))
			for _, reason := range tier.Reasons() {
				if counter := m.queries.WithLabelValues(string(name), string(reason), outcome); outcome == OutcomeSuccess {
					m.answered[decision{name, reason}] = counter
				}
			}
		}
	}
	for _, next := range engine.Nexts {
		m.retries.WithLabelValues(string(next))
	}
	for _, outcome := range perses.Outcomes() {
		m.lookups.WithLabelValues(outcome)
	}
	for _, result := range engine.CacheResults {
		m.cacheUses.WithLabelValues(result)
	}
	return m
}

// tierMeters returns the metrics of the calls to all tiers, including the tiers that
// datasources name.
func (f factory) tierMeters() map[tier.Name]*admission.Meters {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"tier"})
	}
	inFlight := gauge("tierproxy_tier_queries_in_flight", "Queries in flight to a tier.")
	queued := gauge("tierproxy_tier_queries_queued", "Queries waiting in the queue of a tier.")
	waited := f.histogram("tierproxy_tier_queue_duration_seconds", "Queueing time of queries that had to wait.", "tier")
	rejected := f.counters("tierproxy_tier_queries_rejected_total",
		"Queries not sent to an overloaded tier, by reason: the queue was full, the wait was too long, or the client disconnected.", "tier", "reason")
	shared := f.counters("tierproxy_tier_answers_shared_total", "Queries that shared the answer of an identical query in flight.", "tier")
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

// registerProbes registers the metrics of tierproxy's own requests to tiers.
func (m *Metrics) registerProbes(f factory) {
	m.probes = f.counters("tierproxy_probe_requests_total",
		"Requests to tiers that answer no query but tell tierproxy something about the tier, by what it wants to know and the outcome.", "tier", "kind", "outcome")
	m.probed = f.histogram("tierproxy_probe_request_duration_seconds", "Duration of the requests that tierproxy_probe_requests_total counts.", "tier", "kind")
	for _, name := range tier.Names() {
		for _, kind := range ownrequest.Kinds() {
			m.probed.WithLabelValues(string(name), string(kind))
			for _, outcome := range []string{OutcomeSuccess, OutcomeFailed} {
				m.probes.WithLabelValues(string(name), string(kind), outcome)
			}
		}
	}
}

// Probed counts a request to a tier that tells tierproxy something about the tier. That the tier
// does not serve an endpoint is no failure.
func (m *Metrics) Probed(name tier.Name, kind ownrequest.Kind, took time.Duration, err error) {
	outcome := OutcomeSuccess
	if err != nil && !upstream.CannotTell(err) {
		outcome = OutcomeFailed
	}
	m.probes.WithLabelValues(string(name), string(kind), outcome).Inc()
	m.probed.WithLabelValues(string(name), string(kind)).Observe(took.Seconds())
}

// registerCache registers the metrics that the cache itself counts.
func (m *Metrics) registerCache(f factory) {
	read := func(value func(cache.Stats) float64) func() float64 {
		return func() float64 {
			if cache := m.cache.Load(); cache != nil {
				return value(cache.Stats())
			}
			return 0
		}
	}
	gauge := func(name, help string, value func(cache.Stats) float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read(value))
	}
	counter := func(name, help string, value func(cache.Stats) float64) {
		f.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, read(value))
	}
	gauge("tierproxy_cache_bytes", "Memory used by the entries of the cache, in bytes.", func(stats cache.Stats) float64 { return float64(stats.Bytes) })
	gauge("tierproxy_cache_entries", "Entries of the cache in memory.", func(stats cache.Stats) float64 { return float64(stats.Entries) })
	counter("tierproxy_cache_evictions_total", "Cache entries evicted to make room for others.", func(stats cache.Stats) float64 { return float64(stats.Evictions) })
	counter("tierproxy_cache_damaged_total", "Cache entries ignored because they were damaged or not written by tierproxy.", func(stats cache.Stats) float64 { return float64(stats.Damaged) })
	counter("tierproxy_cache_failures_total",
		"Cache operations that failed or timed out, or that tierproxy skipped in the second after a failure (circuit breaker). Queries continue without the cache.",
		func(stats cache.Stats) float64 { return float64(stats.Failures) })
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

// Retried counts a retry of a query by its target.
func (m *Metrics) Retried(next engine.Next) { m.retries.WithLabelValues(string(next)).Inc() }

// Answered observes the time until a tier sent the header of its response.
func (m *Metrics) Answered(name tier.Name, took time.Duration) {
	m.headers[name].Observe(took.Seconds())
}

// mostSources is the maximum number of sources with counters of their own.
const mostSources = 256

// AnsweredBySource counts a query that a source of hot has answered. An empty source stands for none.
func (m *Metrics) AnsweredBySource(source string) {
	if source == "" {
		return
	}
	m.mutex.Lock()
	counter, isKnown := m.bySource[source]
	if !isKnown && len(m.bySource) < mostSources {
		counter = m.sources.WithLabelValues(source)
		m.bySource[source] = counter
	}
	m.mutex.Unlock()
	if counter == nil {
		counter = m.otherSources
	}
	counter.Inc()
}

// Count counts an answer or a failure of a tier.
func (m *Metrics) Count(name tier.Name, reason tier.Reason, outcome string) {
	if counter, exists := m.answered[decision{name, reason}]; exists && outcome == OutcomeSuccess {
		counter.Inc()
		return
	}
	m.queries.WithLabelValues(string(name), string(reason), outcome).Inc()
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
	case status < http.StatusInternalServerError && status != http.StatusTooManyRequests:
		return OutcomeRejected
	}
	return OutcomeFailed
}

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
	m.countRequest(endpoint, outcome)
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
	m.countRequest(endpoint, outcome)
}

func (m *Metrics) countRequest(endpoint promapi.Endpoint, outcome string) {
	if counter, exists := m.succeeded[endpoint]; exists && outcome == OutcomeSuccess {
		counter.Inc()
		return
	}
	m.requests.WithLabelValues(string(endpoint), outcome).Inc()
}
