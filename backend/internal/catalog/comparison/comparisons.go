package comparison

import (
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

const (
	// mostMetrics is the maximum number of metrics of which it is known what both tiers have.
	mostMetrics = 2000
	// mostPending is the maximum number of metrics that wait for their comparison.
	mostPending = 1000
	// inUseFor is how long a metric is measured again after the last query that reads it.
	inUseFor = ownrequest.InUse
	// failedFor is how long after a failure a metric is not measured again.
	failedFor = 5 * time.Second
)

// reaches are the times that are measured, back from now: the shortest one that contains what a
// query reads, at most all of hot's coverage.
var reaches = []time.Duration{time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 14 * 24 * time.Hour}

// comparisons are the metrics of which it is known, or shall be, what both tiers have.
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
	// begunBefore is a time since which hot has the metric, and begunAfter one at which hot did not
	// have it yet at lackedAt. Both are in milliseconds since the Unix epoch, or zero.
	begunBefore, begunAfter int64
	lackedAt                time.Time
	waiting                 chan struct{} // closed after the pending measurement; nil if none is pending
}

func newComparisons() *comparisons {
	// It fails only for a size below one.
	recent, _ := simplelru.NewLRU[string, *comparison](mostMetrics, nil)
	return &comparisons{recent: recent, wake: make(chan struct{}, 1)}
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

// outdate makes a metric pending that has changed since it was measured. The caller holds the mutex.
func (p *comparisons) outdate(record *comparison) {
	changed := *record.known
	changed.checked = time.Time{}
	record.known = &changed
	p.add(record)
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

// reachOf returns the reach that contains a time, or zero if none does.
func reachOf(from int64, now time.Time) time.Duration {
	for _, reach := range reaches {
		if from > now.Add(-reach).UnixMilli() {
			return reach
		}
	}
	return 0
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
