package catalog

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// incrementalWindow is how far back an incremental refresh looks. Samples get into cold faster
// than that, and it is short enough to read only cold's newest data.
const incrementalWindow = 5 * time.Minute

// refreshIncrementally adds new metrics of other sources to the snapshot. It returns true if
// cold has a new source: then the catalog has to learn everything again. It runs with every
// probe, so its queries are small.
func (c *Catalog) refreshIncrementally(ctx context.Context, now time.Time) (newSource bool) {
	learned := c.learned.Load()
	known := learned.Evidence
	if known == nil || known.Declared || !c.options.Cold.Status().Available {
		return false
	}
	if stores := c.options.Cold.Status().Stores; stores != nil {
		// They include missing stores.
		return slices.ContainsFunc(sourcesOf(stores, learned.ReplicaLabels), func(source map[string]string) bool {
			return !containsSet(known.Sources, source)
		}) || c.addNewNames(ctx, now, learned)
	}
	ctx, cancel := context.WithTimeout(ctx, minProbeTimeout)
	defer cancel()
	for _, name := range slices.Sorted(maps.Keys(known.InjectedLabels)) {
		if len(known.Sources) > mostSources {
			break // Not all sources are known, so new ones cannot be recognized.
		}
		values, err := c.options.Cold.api.labelValues(ctx, name, nil, c.incrementalSince(now))
		if err != nil {
			return false // The next attempt to learn reports it.
		}
		for _, value := range values {
			isKnown := slices.ContainsFunc(known.Sources, func(source map[string]string) bool { return source[name] == value })
			if !isKnown {
				return true
			}
		}
	}
	return c.addNewNames(ctx, now, learned)
}

// addNewNames adds new metrics of other sources. It always returns false: they are no reason to
// learn everything again.
func (c *Catalog) addNewNames(ctx context.Context, now time.Time, learned *Snapshot) bool {
	known := learned.Evidence
	if !known.SourcesKnown || known.OnlySource() || known.OtherNames == nil || len(known.HotLabels) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, minProbeTimeout)
	defer cancel()
	others := ofOthers(known.HotLabels)
	recent, err := c.options.Cold.api.metricNames(ctx, others, c.incrementalSince(now))
	if err != nil {
		return false // The next attempt to learn reports it.
	}
	var names tier.NameSet
	for _, name := range recent {
		if _, is := known.OtherNames[name]; is {
			continue
		}
		if names == nil {
			names = maps.Clone(known.OtherNames)
		}
		names[name] = struct{}{}
	}
	if names == nil {
		return false
	}
	more := *known
	held := c.options.Cold.names.replace(others, c.payer(), names, c.names.others)
	c.names.others.release()
	c.names.others = held
	more.OtherNames = held.set()
	changed := *learned
	changed.Evidence = tier.NewSeriesEvidence(more)
	c.learned.Store(&changed)
	return false
}

// incrementalSince returns the start of an incremental refresh, shortly before the end of cold's
// data.
func (c *Catalog) incrementalSince(now time.Time) time.Time {
	if newest := c.newest.Load().newest; newest != 0 && newest < now.UnixMilli() {
		now = time.UnixMilli(newest)
	}
	return now.Add(-incrementalWindow)
}
