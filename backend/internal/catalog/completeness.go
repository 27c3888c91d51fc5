package catalog

import (
	"context"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/evidence"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

const (
	// evidenceWait is how long a query waits for evidence of metric names that it is the first
	// to read. After that, it goes to cold.
	evidenceWait = 500 * time.Millisecond
	// timeToCompare is how long the pattern of a metric name is compared with metric names.
	timeToCompare = 100 * time.Millisecond
	// mostMatches is the maximum number of metric names that a pattern may match.
	mostMatches = 500
	// mostAttempts is how often a query waits for evidence, because a look may have begun too early.
	mostAttempts = 4
)

// Completeness returns whether hot is complete for a request that reads samples between two times
// in milliseconds since the Unix epoch. It gathers evidence of metric names that have not been
// read before, and waits for it a short time. It gathers none for a request that hot cannot
// answer anyway.
func (c *Catalog) Completeness(ctx context.Context, needed tier.Requirement, oldest, newest int64) (tier.Completeness, tier.Note) {
	if len(needed.Names) == 0 && len(needed.Patterns) == 0 {
		is, why, _ := needed.Completeness(nil)
		return is, why
	}
	ctx, cancel := context.WithTimeout(ctx, evidenceWait)
	defer cancel()
	hot := c.HotState(time.Now())
	asks := hot.Available && c.cold.Status().Available && newest >= hot.Oldest && hot.Oldest != tier.NothingCovered
	oldest = max(oldest, hot.Oldest)
	if len(needed.Patterns) > 0 {
		needed = c.expanded(ctx, needed, oldest)
	}
	others := c.Snapshot().groupOfOthers()
	for attempt := 0; ; attempt++ {
		var waits []<-chan struct{}
		lookup := func(index *evidence.Index, group evidence.Group, name string) tier.Presence {
			presence, looking := index.Lookup(group, name, oldest, asks, time.Now())
			if looking != nil {
				waits = append(waits, looking)
			}
			return presence
		}
		is, why, isKnown := needed.Completeness(func(name string) (known tier.NameEvidence) {
			known.Hot = lookup(c.hot.names, "", name)
			if needed.Elsewhere {
				known.Elsewhere = lookup(c.cold.names, others, name)
			}
			return known
		})
		if isKnown || len(waits) == 0 || attempt > mostAttempts || !ownrequest.WaitAll(ctx, waits) {
			return is, why
		}
	}
}

// expanded replaces patterns by the metric names that they match in both tiers.
func (c *Catalog) expanded(ctx context.Context, needed tier.Requirement, oldest int64) tier.Requirement {
	var names []string
	for _, index := range []*evidence.Index{c.hot.names, c.cold.names} {
		list, isKnown := index.Names(ctx, oldest)
		if !isKnown {
			return needed.WithoutNames()
		}
		names = append(names, list...)
	}
	ctx, cancel := context.WithTimeout(ctx, timeToCompare)
	defer cancel()
	return needed.Expanded(ctx, names, mostMatches)
}
