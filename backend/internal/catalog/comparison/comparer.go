// Package comparison finds out which samples each tier lacks of the metrics that queries read, by
// comparing a few series of each metric in both. It also measures where cold ends.
package comparison

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// measurersAtOnce is the maximum number of metrics that are measured at once.
	measurersAtOnce = 4
	// compareTimeout is the timeout of the comparison of one metric.
	compareTimeout = 20 * time.Second
)

// Options are the options of New.
type Options struct {
	// Hot and Cold ask the tiers.
	Hot, Cold ownrequest.Client
	// State returns what is known of the tiers at a time.
	State func(now time.Time) State
	// ProbeInterval is the time between two renewals of all metrics in use.
	ProbeInterval time.Duration
	// LearnInterval is the time between two comparisons of a metric, for each hour that is
	// compared.
	LearnInterval time.Duration
}

// State is what is known of the tiers at a time.
type State struct {
	// Mapping says how the labels of a series differ between the tiers; nil while that is unknown.
	Mapping *Mapping
	// Hot and Cold are the states of the tiers.
	Hot, Cold tier.State
	// ScrapeInterval is the scrape interval of hot.
	ScrapeInterval time.Duration
	// Deduplicates is set if cold merges the series of replicas.
	Deduplicates bool
}

// areComparable reports whether both tiers answer completely, and their labels are known.
func (s *State) areComparable() bool {
	return s.Mapping != nil && s.Hot.Available && s.Cold.Available && len(s.Cold.Notes) == 0
}

// Comparer compares both tiers, for the metrics that queries read. It is safe for concurrent use.
type Comparer struct {
	options     Options
	comparisons *comparisons
	renewals    *ownrequest.Refresher
}

// New returns a comparer that knows nothing yet: see Run.
func New(options Options) *Comparer {
	return &Comparer{options: options, comparisons: newComparisons(), renewals: ownrequest.NewRefresher(options.ProbeInterval)}
}

// Read is what a request reads.
type Read struct {
	// Metrics are the metrics that its selectors read.
	Metrics []tier.MetricRead
	// From is the timestamp of the oldest sample that is read and that hot covers, in milliseconds
	// since the Unix epoch. IsComparable is false if hot covers nothing that is read.
	From         int64
	IsComparable bool
	// HotOldest is the start of hot's coverage, in milliseconds since the Unix epoch.
	HotOldest int64
	// ColdEnd is the known end of cold, in milliseconds since the Unix epoch.
	ColdEnd int64
	// Each returns what each selector reads, or nil if that is not known.
	Each func() []promql.Read
	// Detailed is set for callers who may see names that only a pattern matches.
	Detailed bool
}

// Gaps are the times for which one tier lacks samples that the other one has.
type Gaps struct {
	// Hot and Cold are what each tier lacks.
	Hot, Cold []tier.Missing
	// Unmeasured is a metric of which that is not known, or nil. Its name is empty where the
	// caller may not see it.
	Unmeasured *string
	// Younger is one of those metrics that hot does not have from the beginning of what is read, as
	// far as it is known, or nil.
	Younger *string
	// Failed is set if a tier failed when it was measured.
	Failed bool
	// Until is the time up to which all metrics are measured, in milliseconds since the Unix
	// epoch.
	Until int64
}

// Gaps returns what each tier lacks of what a request reads, as far as it is known: see Wait and
// FindBeginnings.
func (c *Comparer) Gaps(read Read, now time.Time) Gaps {
	found := Gaps{Until: now.UnixMilli()}
	for _, metric := range read.Metrics {
		shown := metric.Name
		if !read.Detailed && !metric.Written {
			shown = ""
		}
		known := c.comparisons.get(metric.Name)
		switch {
		case read.IsComparable && !known.contains(read.From, now, c.staleAfter()):
			if isThere, _ := c.comparisons.hasBegun(metric.Name, read.oldestOf(metric.Name), read.HotOldest, now); !isThere {
				found.Younger = &shown
			}
			found.Unmeasured, found.Failed = &shown, found.Failed || c.options.Cold.Pacer.HasFailed() || c.comparisons.hasFailed(metric.Name, time.Now())
			continue
		case known == nil:
			continue
		}
		found.Until = min(found.Until, known.until)
		isRead := func(of gap) bool { return readsAny(read.Each, metric.Name, of) }
		found.Hot = append(found.Hot, missingOf(shown, known.hotLacks, isRead)...)
		found.Cold = append(found.Cold, missingOf(shown, known.coldLacks, func(of gap) bool {
			return isRead(of) && of.from < read.ColdEnd // That cold ends there is known.
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

// staleAfter is how old a measurement may be that could not be renewed.
func (c *Comparer) staleAfter() time.Duration {
	return 4*c.options.ProbeInterval + time.Minute
}

// mostAttempts is how often a query waits, because a renewal may have begun too early, or may have
// found that a metric has to be measured again.
const mostAttempts = 4

// Wait has those metrics compared that are not known from a time on, in milliseconds since the Unix
// epoch, and those checked that were checked a while ago. It waits for them until ctx ends, unless a
// tier failed a short while ago.
func (c *Comparer) Wait(ctx context.Context, metrics []tier.MetricRead, from int64) {
	hot, cold := c.options.Hot.Pacer, c.options.Cold.Pacer
	for range mostAttempts {
		var pending []<-chan struct{}
		now := time.Now()
		for _, metric := range metrics {
			waiting := c.comparisons.want(metric.Name, from, now, mostUnchecked)
			if waiting == nil {
				waiting = c.awaitCheck(metric.Name, now)
			}
			if waiting != nil {
				pending = append(pending, waiting)
			}
		}
		if len(pending) == 0 || hot.IsPaused(now) || cold.IsPaused(now) || !ownrequest.WaitAll(ctx, pending) {
			return
		}
	}
}

// awaitCheck has a metric checked that was last checked a while ago. It returns a channel that is
// closed after that, or nil if the result of the last check counts meanwhile.
func (c *Comparer) awaitCheck(metric string, now time.Time) <-chan struct{} {
	known, hot, cold := c.comparisons.get(metric), c.options.Hot.Pacer, c.options.Cold.Pacer
	if known == nil || !hot.MayRenew(now) || !cold.MayRenew(now) {
		return nil
	}
	checked := c.renewals.Demand(known.checked.Add(c.checkInterval(known)-c.options.ProbeInterval), now)
	if hot.IsStrained() || cold.IsStrained() {
		return nil
	}
	return checked
}

// checkInterval returns the time between two checks of a metric in use: no sample is missing before
// the next one is due.
func (c *Comparer) checkInterval(known *measurement) time.Duration {
	return max(c.options.ProbeInterval, min(known.interval, renewalWindow/8))
}

// Run compares pending metrics, and renews those in use, until ctx ends.
func (c *Comparer) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		c.renewals.Run(ctx, nil, func() bool {
			c.renew(ctx, time.Now())
			return !c.options.Hot.Pacer.IsStrained() && !c.options.Cold.Pacer.IsStrained()
		})
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

// compareMetric measures one metric. It returns nil if that fails. A tier that does not tell
// what it has is believed.
func (c *Comparer) compareMetric(ctx context.Context, metric string, reach time.Duration) *measurement {
	now := time.Now()
	state := c.options.State(now)
	if !state.areComparable() || state.Hot.Oldest == tier.NothingCovered {
		return nil
	}
	since := state.Hot.Oldest
	if reach > 0 {
		since = max(since, now.Add(-reach-reach/8).UnixMilli())
	}
	ctx, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	made, err := c.newMeasurer(&state).measure(ctx, metric, since, now.UnixMilli())
	if upstream.CannotTell(err) || isTooLarge(err) {
		return &measurement{since: since, until: now.UnixMilli(), measured: now.UnixMilli(), checked: now}
	}
	if err != nil {
		return nil
	}
	return made
}

func (c *Comparer) newMeasurer(state *State) *measurer {
	made := &measurer{hot: sampleQuestions{c.options.Hot}, cold: sampleQuestions{c.options.Cold}, mapping: state.Mapping, least: leastMissing}
	if state.Deduplicates {
		made.least = leastDeduplicated
	}
	return made
}

// Lacks returns what a tier lacks of the metrics that queries have read in the last minutes, by
// metric and time.
func (c *Comparer) Lacks(name tier.Name, now time.Time) (missing []tier.Missing) {
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
