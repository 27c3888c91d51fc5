package catalog

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// mostMetrics is the maximum number of metrics of which a catalog knows what both tiers have.
	mostMetrics = 2000
	// mostPending is the maximum number of metrics that wait for their comparison.
	mostPending = 1000
	// inUseFor is how long a metric is measured again after the last query that reads it.
	inUseFor = 10 * time.Minute
	// comparisonWait is how long a query waits for the first comparison of the metrics it reads.
	comparisonWait = 500 * time.Millisecond
	// measurersAtOnce is the maximum number of metrics that are measured at once.
	measurersAtOnce = 4
	// compareTimeout is the timeout of the comparison of one metric.
	compareTimeout = 20 * time.Second
	// failedFor is how long after a failure a metric is not measured again.
	failedFor = 5 * time.Second
)

// reaches are the times that are measured, back from now: the shortest one that contains what a
// query reads, at most all of hot's coverage.
var reaches = []time.Duration{time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 14 * 24 * time.Hour}

// SampleGaps are the times for which one tier lacks samples that the other one has.
type SampleGaps struct {
	// Hot and Cold are what each tier lacks.
	Hot, Cold []tier.Missing
	// Unmeasured is a metric of which that is not known, or nil. Its name is empty where the
	// caller may not see it.
	Unmeasured *string
	// Failed is set if a tier failed when it was measured.
	Failed bool
	// Until is the time up to which all metrics are measured, in milliseconds since the Unix
	// epoch.
	Until int64
}

// comparisons are the metrics of which a catalog knows, or shall know, what both tiers have.
type comparisons struct {
	mutex   sync.Mutex
	recent  *simplelru.LRU[string, *comparison]
	pending []*comparison
	wake    chan struct{} // receives when a metric is pending
}

// comparison is one metric. The mutex of comparisons guards it.
type comparison struct {
	metric   string
	used     time.Time     // by a query
	reach    time.Duration // the longest that was wanted; 0 for all of hot's coverage
	known    *measurement  // nil before the first one
	failedAt time.Time
	waiting  chan struct{} // closed after the pending measurement; nil if none is pending
}

func newComparisons() *comparisons {
	// It fails only for a size below one.
	recent, _ := simplelru.NewLRU[string, *comparison](mostMetrics, nil)
	return &comparisons{recent: recent, wake: make(chan struct{}, 1)}
}

// reachOf returns the reach that contains a time, or zero if none does.
func reachOf(from int64, now time.Time) time.Duration {
	for _, reach := range reaches {
		if from > now.Add(-reach).UnixMilli() {
			return reach
		}
	}
	return 0
}

// SamplesRead is what a request reads.
type SamplesRead struct {
	// Selectors select the series.
	Selectors []promql.Selector
	// Oldest and Newest bound the timestamps of all samples, in milliseconds since the Unix
	// epoch. Each returns what each selector reads, or nil if that is not known.
	Oldest, Newest int64
	Each           func() []promql.Read
	// Detailed is set for callers who may see names that only a pattern matches.
	Detailed bool
}

// SampleGaps returns what each tier lacks of the metrics that a request reads. It waits a short
// time, or until ctx ends, for metrics that have not been compared before.
func (c *Catalog) SampleGaps(ctx context.Context, read SamplesRead) SampleGaps {
	now := time.Now()
	found := SampleGaps{Until: now.UnixMilli()}
	hot, evidence := c.hot.State(now), c.Snapshot().Evidence
	if evidence == nil {
		return found
	}
	ctx, cancel := context.WithTimeout(ctx, comparisonWait)
	defer cancel()
	// Nothing from before hot's coverage can be compared.
	isComparable := hot.Oldest != tier.NothingCovered && read.Newest > hot.Oldest
	from := max(read.Oldest, hot.Oldest)
	metrics := c.metricsOf(ctx, read.Selectors, from)
	if isComparable {
		c.awaitComparisons(ctx, metrics, from, now)
	}
	each := sync.OnceValue(read.Each)
	end := c.ColdState(now).Newest
	for _, metric := range metrics {
		shown := metric.Name
		if !read.Detailed && !metric.Written {
			shown = ""
		}
		known := c.comparisons.get(metric.Name)
		switch {
		case isComparable && !known.contains(from, now, c.staleAfter()):
			found.Unmeasured, found.Failed = &shown, found.Failed || c.options.Cold.api.Pacer.HasFailed() || c.comparisons.hasFailed(metric.Name, time.Now())
			continue
		case known == nil:
			continue
		}
		found.Until = min(found.Until, known.until)
		isRead := func(of gap) bool { return readsAny(each, metric.Name, of) }
		found.Hot = append(found.Hot, missingOf(shown, known.hotLacks, isRead)...)
		found.Cold = append(found.Cold, missingOf(shown, known.coldLacks, func(of gap) bool {
			return isRead(of) && (of.to != tier.End || of.from < end) // That cold ends there is known.
		})...)
	}
	return found
}

// readsAny reports whether a selector reads samples of a metric within a stretch. It is true if it
// is not known what each selector reads.
func readsAny(reads func() []promql.Read, metric string, of gap) bool {
	list := reads()
	return list == nil || slices.ContainsFunc(list, func(read promql.Read) bool {
		return read.Oldest < of.to && read.Newest > of.from && read.Selector.MatchesName(metric)
	})
}

// metricsOf returns the metrics of hot that selectors read. Selectors without a matcher for the
// name add none.
func (c *Catalog) metricsOf(ctx context.Context, selectors []promql.Selector, from int64) []tier.MetricRead {
	list := tier.MetricsRead(selectors, func() []string {
		names, isKnown, listing := c.hot.names.list(from, time.Now())
		if !isKnown && listing != nil && ownrequest.WaitAll(ctx, []<-chan struct{}{listing}) {
			names, _, _ = c.hot.names.list(from, time.Now())
		}
		return names
	})
	return slices.DeleteFunc(list, func(metric tier.MetricRead) bool {
		// Of what hot does not have, nothing can be compared.
		return len(metric.Name) > longestName || c.hot.names.peek(nameKey{name: metric.Name}, from, time.Now()) == tier.Absent
	})
}

// peek returns what is known of a name since a time in milliseconds since the Unix epoch.
func (x *nameIndex) peek(key nameKey, oldest int64, now time.Time) tier.Presence {
	x.mutex.Lock()
	defer x.mutex.Unlock()
	if state, isHeld := x.states.Peek(key); isHeld {
		return state.presence(windowOf(oldest, now), now, inUse)
	}
	return tier.Unknown
}

// awaitComparisons has the metrics compared that are not known, and waits for them unless a tier
// failed a short while ago.
func (c *Catalog) awaitComparisons(ctx context.Context, metrics []tier.MetricRead, from int64, now time.Time) {
	var pending []<-chan struct{}
	for _, metric := range metrics {
		if waiting := c.comparisons.want(metric.Name, from, now, c.staleAfter()); waiting != nil {
			pending = append(pending, waiting)
		}
	}
	if !c.options.Hot.api.Pacer.IsPaused(now) && !c.options.Cold.api.Pacer.IsPaused(now) {
		ownrequest.WaitAll(ctx, pending)
	}
}

// contains reports whether the measured time contains the time from a timestamp until now, or
// nearly now.
func (m *measurement) contains(from int64, now time.Time, staleAfter time.Duration) bool {
	return m != nil && m.since <= from && now.UnixMilli()-m.until <= staleAfter.Milliseconds()
}

// missingOf returns the stretches of a metric that a condition accepts.
func missingOf(metric string, list []gap, accepts func(gap) bool) (missing []tier.Missing) {
	for _, each := range list {
		if !accepts(each) {
			continue
		}
		missing = append(missing, tier.Missing{Metric: metric, From: each.from, To: each.to})
	}
	return missing
}

// staleAfter is how old a measurement may be that is not renewed any more.
func (c *Catalog) staleAfter() time.Duration {
	return 4*c.options.Cold.options.ProbeInterval + time.Minute
}

// want notes that a query reads a metric from a time on. It returns a channel that is closed when
// the metric is measured, or nil if that is not necessary.
func (p *comparisons) want(metric string, from int64, now time.Time, staleAfter time.Duration) <-chan struct{} {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	record, ok := p.recent.Get(metric)
	if !ok {
		record = &comparison{metric: metric, reach: reaches[0]}
		p.recent.Add(metric, record)
	}
	record.used = now
	isKnown := record.known.contains(from, now, staleAfter)
	if reach := reachOf(from, now); reach == 0 || (record.reach != 0 && reach > record.reach) {
		record.reach = reach
	}
	if isKnown || (record.waiting == nil && (now.Sub(record.failedAt) < failedFor || len(p.pending) >= mostPending)) {
		return nil
	}
	return p.add(record)
}

// add makes a metric pending. The caller holds the mutex.
func (p *comparisons) add(record *comparison) <-chan struct{} {
	if record.waiting == nil {
		record.waiting = make(chan struct{})
		p.pending = append(p.pending, record)
		select {
		case p.wake <- struct{}{}:
		default: // It is awake.
		}
	}
	return record.waiting
}

// get returns the last measurement of a metric, or nil.
func (p *comparisons) get(metric string) *measurement {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if record, ok := p.recent.Peek(metric); ok {
		return record.known
	}
	return nil
}

// hasFailed reports whether the last attempt to measure a metric failed a short while ago.
func (p *comparisons) hasFailed(metric string, now time.Time) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	record, ok := p.recent.Peek(metric)
	return ok && now.Sub(record.failedAt) < 2*failedFor
}

// inBoth returns the names of some metrics of which both tiers have samples.
func (p *comparisons) inBoth(most int) (metrics []string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, record := range p.recent.Values() {
		if record.known != nil && len(record.known.canaries) > 0 && !slices.Contains(record.known.coldLacks, gap{tier.Beginning, tier.End}) && len(metrics) < most {
			metrics = append(metrics, record.metric)
		}
	}
	return metrics
}

// take returns a pending metric and its reach. ok is false if there is none.
func (p *comparisons) take() (record *comparison, reach time.Duration, ok bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if len(p.pending) == 0 {
		return nil, 0, false
	}
	record, p.pending = p.pending[0], p.pending[1:]
	return record, record.reach, true
}

// finish stores the measurement of a metric, which is nil after a failure.
func (p *comparisons) finish(record *comparison, made *measurement) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if made == nil {
		record.failedAt = time.Now()
	} else {
		made.coldLacks = joined(append(made.coldLacks, olderThan(record.known, made.since)...))
		record.known = made
	}
	close(record.waiting)
	record.waiting = nil
}

// olderThan returns the stretches that cold lacks before a time: hot does not cover them any more.
func olderThan(known *measurement, since int64) (list []gap) {
	if known == nil {
		return nil
	}
	for _, each := range known.coldLacks {
		if each.to <= since && each.from != tier.Beginning {
			list = append(list, each)
		}
	}
	return list
}

// runComparisons compares pending metrics, and renews those in use, until ctx ends.
func (c *Catalog) runComparisons(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		for ownrequest.Sleep(ctx, ownrequest.Jittered(c.options.Cold.options.ProbeInterval)) {
			c.renewComparisons(ctx, time.Now())
		}
	})
	for range measurersAtOnce {
		running.Go(func() {
			for {
				if record, reach, ok := c.comparisons.take(); ok {
					c.comparisons.finish(record, c.compareMetric(ctx, record.metric, reach))
					continue
				}
				select {
				case <-ctx.Done():
					return
				case <-c.comparisons.wake:
					c.comparisons.rouse()
				}
			}
		})
	}
}

// rouse wakes another worker if more metrics are pending.
func (p *comparisons) rouse() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if len(p.pending) > 1 {
		select {
		case p.wake <- struct{}{}:
		default: // It is awake.
		}
	}
}

// compareMetric measures one metric. It returns nil if that fails. A tier that does not tell
// what it has is believed.
func (c *Catalog) compareMetric(ctx context.Context, metric string, reach time.Duration) *measurement {
	snapshot, now := c.Snapshot(), time.Now()
	hot := c.options.Hot.State(now)
	cold := c.options.Cold.Status()
	if snapshot.Evidence == nil || !hot.Available || !cold.Available || len(cold.Notes) > 0 || hot.Oldest == tier.NothingCovered {
		return nil
	}
	since := hot.Oldest
	if reach > 0 {
		since = max(since, now.Add(-reach-reach/8).UnixMilli())
	}
	ctx, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	made, err := c.newMeasurer(snapshot).measure(ctx, metric, since, now.UnixMilli())
	if upstream.CannotTell(err) || isTooLarge(err) {
		return &measurement{since: since, until: now.UnixMilli(), measured: now.UnixMilli()}
	}
	if err != nil {
		return nil
	}
	return made
}

func (c *Catalog) newMeasurer(snapshot *Snapshot) *measurer {
	made := &measurer{hot: c.options.Hot.samples(), cold: c.options.Cold.samples(), mapping: mappingOf(snapshot), least: leastMissing}
	if c.ColdDeduplicates() {
		made.least = leastDeduplicated
	}
	return made
}

// Lacks returns what cold lacks of the metrics that queries have read in the last minutes, the
// most recent first.
func (c *Catalog) Lacks(name tier.Name, now time.Time) (missing []tier.Missing) {
	c.comparisons.mutex.Lock()
	defer c.comparisons.mutex.Unlock()
	for _, record := range c.comparisons.recent.Values() {
		if record.known != nil && now.Sub(record.used) < inUseFor {
			missing = append(missing, missingOf(record.metric, record.known.lacks(name), func(gap) bool { return true })...)
		}
	}
	slices.SortFunc(missing, func(a, b tier.Missing) int {
		return cmp.Or(cmp.Compare(a.Metric, b.Metric), cmp.Compare(a.From, b.From))
	})
	return missing
}
