package catalog

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/comparison"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/evidence"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

const (
	// comparisonWait is how long a query waits for the first comparison of the metrics it reads.
	comparisonWait = 500 * time.Millisecond
	// beginningWait is how long it waits after that until hot says since when it has them.
	beginningWait = 250 * time.Millisecond
)

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
// time, or until ctx ends, for metrics that have not been compared before. After that, it asks
// hot since when it has them.
func (c *Catalog) SampleGaps(ctx context.Context, read SamplesRead) comparison.Gaps {
	now := time.Now()
	hot := c.HotState(now)
	if c.Snapshot().Evidence == nil {
		return comparison.Gaps{Until: now.UnixMilli()}
	}
	waiting, cancel := ownrequest.WithTimeout(ctx, comparisonWait)
	defer cancel()
	from := max(read.Oldest, hot.Oldest)
	reads := comparison.Read{
		HotOldest: hot.Oldest,
		Metrics:   c.metricsOf(waiting, read.Selectors, from), From: from, Each: sync.OnceValue(read.Each), Detailed: read.Detailed,
		// Nothing from before hot's coverage can be compared.
		IsComparable: hot.Oldest != tier.NothingCovered && read.Newest > hot.Oldest,
	}
	reads.ColdEnd = c.ColdState(now).Newest
	list := c.samplesRead()
	found := make([]comparison.Gaps, len(list))
	look := func(i int) {
		comparer := list[i].comparer
		if reads.IsComparable {
			comparer.Wait(waiting, reads.Metrics, from)
		}
		if read.Oldest >= hot.Oldest {
			comparer.FindBeginnings(ctx, beginningWait, reads, now)
		}
		found[i] = comparer.Gaps(reads, now)
	}
	var running sync.WaitGroup
	for i := 1; i < len(list); i++ {
		running.Go(func() { look(i) })
	}
	if len(list) > 0 {
		look(0) // Most queries read one source.
	}
	running.Wait()
	all := merged(found, now)
	if len(list) < len(c.read) && reads.IsComparable {
		nameless := ""
		all.Unmeasured, all.Younger = &nameless, &nameless // A source is followed in a moment.
	}
	return all
}

// merged returns what is known of the samples of several sources.
func merged(list []comparison.Gaps, now time.Time) comparison.Gaps {
	all := comparison.Gaps{Until: now.UnixMilli()}
	for _, each := range list {
		all.Hot, all.Cold = append(all.Hot, each.Hot...), append(all.Cold, each.Cold...)
		all.Unmeasured, all.Younger = cmp.Or(all.Unmeasured, each.Unmeasured), cmp.Or(all.Younger, each.Younger)
		all.Failed, all.Until = all.Failed || each.Failed, min(all.Until, each.Until)
	}
	return all
}

// Lacks returns what a tier lacks of the metrics that queries have read in the last minutes, by
// metric and time.
func (c *Catalog) Lacks(name tier.Name, now time.Time) []tier.Missing {
	var list []tier.Missing
	for _, each := range c.samplesRead() {
		list = append(list, each.comparer.Lacks(name, now)...)
	}
	return list
}

// tiersAt returns what the comparer needs to know of the tiers.
func (c *Catalog) tiersAt(now time.Time) comparison.State {
	state := comparison.State{Hot: c.options.Hot.coveredState(now), Cold: c.ColdState(now), ScrapeInterval: c.ScrapeInterval(), Deduplicates: c.ColdDeduplicates()}
	snapshot := c.Snapshot()
	if known := snapshot.Evidence; known != nil {
		state.Mapping = &comparison.Mapping{
			Injected: known.InjectedLabels, Removed: snapshot.ReplicaLabels, Distinct: known.Distinct,
			IsAmbiguous: known.SourcesKnown && !known.OnlySource() && (len(known.Distinct) == 0 || known.HotSources != nil),
		}
	}
	return state
}

// metricsOf returns the metrics of hot that selectors read. Selectors without a matcher for the
// name add none.
func (c *Catalog) metricsOf(ctx context.Context, selectors []promql.Selector, from int64) []tier.MetricRead {
	list := tier.MetricsRead(selectors, func() []string {
		names, _ := c.hot.names.Names(ctx, from)
		return names
	})
	return slices.DeleteFunc(list, func(metric tier.MetricRead) bool {
		// Of what hot does not have, nothing can be compared.
		return len(metric.Name) > evidence.LongestName || c.hot.names.Peek(metric.Name, from, time.Now()) == tier.Absent
	})
}
