package comparison

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// mostBeginnings is the maximum number of metrics whose beginnings are looked for, for one query.
	mostBeginnings = 20
	// beginningWindow is how far before the beginning a series may have its last sample.
	beginningWindow = time.Hour
)

// FindBeginnings asks hot, for the metrics that a request reads and that are not compared yet, whether
// it has them from the beginning of what is read. That needs no answer of cold. It waits that long at
// most, or until ctx ends.
func (c *Comparer) FindBeginnings(ctx context.Context, wait time.Duration, read Read, now time.Time) {
	isKnown := func(metric tier.MetricRead) bool {
		return c.comparisons.get(metric.Name).contains(read.From, now, c.staleAfter())
	}
	if !read.IsComparable || !slices.ContainsFunc(read.Metrics, func(metric tier.MetricRead) bool { return !isKnown(metric) }) {
		return
	}
	ctx, cancel := ownrequest.WithTimeout(ctx, wait)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(measurersAtOnce)
	asked, tolerance := 0, time.Duration(-1)
	for _, metric := range read.Metrics {
		if isKnown(metric) {
			continue
		}
		oldest := read.oldestOf(metric.Name)
		if _, isKnown := c.comparisons.hasBegun(metric.Name, oldest, read.HotOldest, now); isKnown {
			continue
		}
		if asked++; asked > mostBeginnings {
			break
		}
		if tolerance < 0 {
			tolerance = 2 * c.options.State(now).ScrapeInterval
		}
		group.Go(func() error {
			isThere, err := c.isInHot(ctx, metric.Name, oldest, oldest+tolerance.Milliseconds())
			if err == nil || upstream.CannotTell(err) {
				c.comparisons.begin(metric.Name, oldest, isThere || err != nil, time.Now())
			}
			return nil
		})
	}
	_ = group.Wait() // It returns no error.
}

// isInHot reports whether hot has a series of a metric that has begun by the end of a time range, and
// has not ended long before its start. Both are in milliseconds since the Unix epoch.
func (c *Comparer) isInHot(ctx context.Context, metric string, start, end int64) (bool, error) {
	selector := c.options.State(time.Now()).Mapping.inHot(metric)
	series, err := sampleQuestions{c.options.Hot}.series(ctx, selector, start-beginningWindow.Milliseconds(), end, 1)
	return len(series) > 0, err
}

// oldestOf returns the timestamp of the oldest sample of a metric that the request reads and hot
// covers, in milliseconds since the Unix epoch.
func (r Read) oldestOf(metric string) int64 {
	oldest, isRead := r.From, false
	for _, each := range r.Each() {
		if each.Selector.MatchesName(metric) && (!isRead || each.Oldest < oldest) {
			oldest, isRead = each.Oldest, true
		}
	}
	return max(oldest, r.From)
}

// begin notes whether hot has a metric since a time.
func (p *comparisons) begin(metric string, since int64, isThere bool, now time.Time) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	record, ok := p.recent.Peek(metric)
	switch {
	case !ok:
	case isThere:
		record.begunBefore = since
	default:
		record.begunAfter, record.lackedAt = since, now
	}
}

// hasBegun reports whether hot has a metric since a time or longer, and whether that is known. What
// hot has counts as long as hot covers it, and what it lacks for a short time.
func (p *comparisons) hasBegun(metric string, since, hotOldest int64, now time.Time) (isThere, isKnown bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	record, ok := p.recent.Peek(metric)
	if !ok {
		return false, false
	}
	isThere = record.begunBefore != 0 && hotOldest <= record.begunBefore && record.begunBefore <= since
	return isThere, isThere || (since <= record.begunAfter && now.Sub(record.lackedAt) < failedFor)
}
