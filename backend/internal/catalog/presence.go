package catalog

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// mostMetrics is the maximum number of metrics of which a catalog knows what both tiers have.
	mostMetrics = 2000
	// inUseFor is how long a metric is measured again after the last query that reads it.
	inUseFor = 10 * time.Minute
	// presenceWait is how long a query waits for the first measurement of the metrics it reads.
	presenceWait = 500 * time.Millisecond
	// measurersAtOnce is the maximum number of metrics that are measured at once.
	measurersAtOnce = 4
	// failedFor is how long after a failure a metric is not measured again.
	failedFor = 5 * time.Second
)

// reaches are the times that are measured, back from now: the shortest one that contains what a
// query reads, at most all of hot's coverage.
var reaches = []time.Duration{time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 14 * 24 * time.Hour}

// Presence is what both tiers have of some metrics.
type Presence struct {
	// Hot and Cold are the stretches that each tier lacks.
	Hot, Cold []tier.Missing
	// Unmeasured are the metrics of which that is not known.
	Unmeasured []string
	// Until is the time up to which all metrics are measured, in milliseconds since the Unix
	// epoch.
	Until int64
}

// presences are the metrics of which a catalog knows, or shall know, what both tiers have.
type presences struct {
	mutex   sync.Mutex
	recent  *simplelru.LRU[string, *presence]
	pending []*presence
	wake    chan struct{} // receives when a metric is pending
}

// presence is one metric. The mutex of presences guards it.
type presence struct {
	metric   string
	used     time.Time     // by a query
	reach    time.Duration // the longest that was wanted; 0 for all of hot's coverage
	known    *measurement  // nil before the first one
	failedAt time.Time
	waiting  chan struct{} // closed after the pending measurement; nil if none is pending
}

func newPresences() *presences {
	// It fails only for a size below one.
	recent, _ := simplelru.NewLRU[string, *presence](mostMetrics, nil)
	return &presences{recent: recent, wake: make(chan struct{}, 1)}
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

// Presence returns what both tiers have of some metrics that a query reads between two times, in
// milliseconds since the Unix epoch. It waits a short time, or until ctx ends, for the metrics
// that are new.
func (c *Catalog) Presence(ctx context.Context, metrics []string, from, to int64) Presence {
	now := time.Now()
	result := Presence{Until: now.UnixMilli()}
	hot := c.hot.State(now)
	// Nothing from before hot's coverage can be compared.
	isComparable := c.Snapshot().Evidence != nil && hot.Oldest != tier.NothingCovered && to > hot.Oldest
	from = max(from, hot.Oldest)
	if isComparable {
		c.awaitPresence(ctx, metrics, from, now)
	}
	for _, metric := range metrics {
		known := c.presences.get(metric)
		switch {
		case isComparable && !known.contains(from, now, c.staleAfter()):
			result.Unmeasured = append(result.Unmeasured, metric)
		case known != nil:
			result.Until = min(result.Until, known.until)
			result.Hot = append(result.Hot, missingOf(metric, known.hotLacks)...)
			result.Cold = append(result.Cold, missingOf(metric, known.coldLacks)...)
		}
	}
	end := c.ColdState(now).Newest
	result.Cold = slices.DeleteFunc(result.Cold, func(missing tier.Missing) bool {
		return missing.To == tier.End && missing.From >= end // That cold ends there is known.
	})
	return result
}

// awaitPresence has the metrics measured that are not known, and waits for them.
func (c *Catalog) awaitPresence(ctx context.Context, metrics []string, from int64, now time.Time) {
	var pending []<-chan struct{}
	for _, metric := range metrics {
		if waiting := c.presences.want(metric, from, now, c.staleAfter()); waiting != nil {
			pending = append(pending, waiting)
		}
	}
	if len(pending) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, presenceWait)
	defer cancel()
	for _, waiting := range pending {
		select {
		case <-waiting:
		case <-ctx.Done():
			return
		}
	}
}

// contains reports whether the measured time contains the time from a timestamp until now, or
// nearly now.
func (m *measurement) contains(from int64, now time.Time, staleAfter time.Duration) bool {
	return m != nil && m.since <= from && now.UnixMilli()-m.until <= staleAfter.Milliseconds()
}

func missingOf(metric string, list []gap) (missing []tier.Missing) {
	for _, each := range list {
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
func (p *presences) want(metric string, from int64, now time.Time, staleAfter time.Duration) <-chan struct{} {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	record, ok := p.recent.Get(metric)
	if !ok {
		record = &presence{metric: metric, reach: reaches[0]}
		p.recent.Add(metric, record)
	}
	record.used = now
	isKnown := record.known.contains(from, now, staleAfter)
	if reach := reachOf(from, now); reach == 0 || (record.reach != 0 && reach > record.reach) {
		record.reach = reach
	}
	if isKnown || (record.waiting == nil && now.Sub(record.failedAt) < failedFor) {
		return nil
	}
	return p.add(record)
}

// add makes a metric pending. The caller holds the mutex.
func (p *presences) add(record *presence) <-chan struct{} {
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
func (p *presences) get(metric string) *measurement {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if record, ok := p.recent.Peek(metric); ok {
		return record.known
	}
	return nil
}

// inBoth returns the names of some metrics of which both tiers have samples.
func (p *presences) inBoth(most int) (metrics []string) {
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
func (p *presences) take() (record *presence, reach time.Duration, ok bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if len(p.pending) == 0 {
		return nil, 0, false
	}
	record, p.pending = p.pending[0], p.pending[1:]
	return record, record.reach, true
}

// finish stores the measurement of a metric, which is nil after a failure.
func (p *presences) finish(record *presence, made *measurement) {
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

// measurePresences measures pending metrics until ctx ends.
func (c *Catalog) measurePresences(ctx context.Context) {
	var running sync.WaitGroup
	for range measurersAtOnce {
		running.Go(func() {
			for {
				record, reach, ok := c.presences.take()
				if ok {
					c.presences.finish(record, c.measurePresence(ctx, record.metric, reach))
					continue
				}
				select {
				case <-ctx.Done():
					return
				case <-c.presences.wake:
					c.presences.rouse()
				}
			}
		})
	}
	running.Wait()
}

// rouse wakes another worker if more metrics are pending.
func (p *presences) rouse() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if len(p.pending) > 1 {
		select {
		case p.wake <- struct{}{}:
		default: // It is awake.
		}
	}
}

// measurePresence measures one metric. It returns nil if that fails. A tier that does not tell
// what it has is believed.
func (c *Catalog) measurePresence(ctx context.Context, metric string, reach time.Duration) *measurement {
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
	made := &measurer{hot: c.options.Hot.samples, cold: c.options.Cold.samples, mapping: mappingOf(snapshot), least: leastMissing}
	if c.ColdDeduplicates() {
		made.least = leastDeduplicated
	}
	return made
}

// Lacks returns what cold lacks of the metrics that queries have read in the last minutes, the
// most recent first.
func (c *Catalog) Lacks(name tier.Name, now time.Time) (missing []tier.Missing) {
	c.presences.mutex.Lock()
	defer c.presences.mutex.Unlock()
	for _, record := range c.presences.recent.Values() {
		if record.known != nil && now.Sub(record.used) < inUseFor {
			missing = append(missing, missingOf(record.metric, record.known.lacks(name))...)
		}
	}
	slices.SortFunc(missing, func(a, b tier.Missing) int {
		return cmp.Or(cmp.Compare(a.Metric, b.Metric), cmp.Compare(a.From, b.From))
	})
	return missing
}
