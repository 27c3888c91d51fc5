package catalog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/comparison"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/evidence"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// viewKey identifies a view of a catalog: see Of.
type viewKey struct {
	hot, cold *Tier
	read      string
}

// viewsKept is the maximum number of views that are kept.
const viewsKept = 512

// uncertain is the key of a source whose coverage is not known.
const uncertain = "?"

// Of returns the catalog for a request with some selectors. If hot lists its stores, the catalog says
// what is known of those sources of hot of which the selectors may match series, and of no others. If
// there is no error, selectors returns all selectors of the request.
func (c *Catalog) Of(selectors func() ([]promql.Selector, error)) *Catalog {
	status, learned := c.hot.status.Load(), c.learned.Load()
	if status.Sources == nil && learned.hotSets == "" {
		return c
	}
	list, err := selectors()
	if err != nil {
		list = []promql.Selector{{}}
	}
	keys := status.sourcesRead(list)
	switch {
	case status.sets != learned.hotSets, len(keys) > scopesFollowed:
		keys = []string{uncertain} // The next snapshot knows new ones. Of too many, not all are followed.
	case len(keys) == 0:
		return c // It reads nothing that hot has.
	case c.hot.sources.use(keys, time.Now()):
		c.hot.probes.Request()
	}
	key := viewKey{c.hot, c.cold, strings.Join(keys, "\n")}
	if view, isKept := c.views.Get(key); isKept {
		return view
	}
	view := &Catalog{sharedCatalog: c.sharedCatalog, hot: c.hot, cold: c.cold, read: keys}
	c.views.Add(key, view)
	return view
}

// HotState returns the state of hot, as far as a request reads it.
func (c *Catalog) HotState(now time.Time) tier.State {
	if c.read == nil {
		return c.hot.State(now)
	}
	return c.hot.stateOf(c.read, now)
}

// ReportPartial notes that an answer of hot lacked what one of its stores holds, and requests a probe.
// Nothing happens for a hot tier that does not list its stores.
func (c *Catalog) ReportPartial() {
	if c.read != nil {
		c.hot.sources.doubt(c.read, time.Now())
		c.hot.probes.Request()
	}
}

// SourcesRead returns the external labels of the sources of hot that a request may read. It returns nil
// for a hot tier that does not list its stores, and if the request reads nothing of hot.
func (c *Catalog) SourcesRead() (list []map[string]string) {
	for _, source := range c.hot.status.Load().Sources {
		if slices.Contains(c.read, source.key) {
			list = append(list, source.Labels)
		}
	}
	return list
}

// samplesRead returns what is known of the samples that a request may read. It returns fewer if not
// all of its sources are followed.
func (c *Catalog) samplesRead() (list []*samples) {
	sources := *c.sources.Load()
	switch {
	case len(sources) == 0 && c.learned.Load().hotSets == "":
		return []*samples{c.samples}
	case c.read == nil:
		return slices.Collect(maps.Values(sources))
	}
	for _, key := range c.read {
		if found := sources[key]; found != nil {
			list = append(list, found)
		}
	}
	return list
}

// followSources starts to compare the samples of the sources that hot follows, and ends that for others.
func (c *Catalog) followSources(ctx context.Context, running *sync.WaitGroup) {
	known, next := *c.sources.Load(), map[string]*samples{}
	for _, source := range c.options.Hot.status.Load().Sources {
		switch made := known[source.key]; {
		case !source.IsFollowed:
		case made != nil:
			next[source.key] = made
		default:
			made = newSamples(&c.options, c.sourceAt(source))
			var comparing context.Context
			comparing, made.cancel = context.WithCancel(ctx)
			running.Go(func() { made.comparer.Run(comparing) })
			next[source.key] = made
		}
	}
	for key, made := range known {
		if next[key] == nil {
			made.cancel()
		}
	}
	c.sources.Store(&next)
}

// sourceAt returns what the comparer of a source needs to know of the tiers.
func (c *Catalog) sourceAt(source SourceStatus) func(time.Time) comparison.State {
	view := &Catalog{sharedCatalog: c.sharedCatalog, hot: c.options.Hot, cold: c.options.Cold, read: []string{source.key}}
	return func(now time.Time) comparison.State {
		snapshot := c.Snapshot()
		state := comparison.State{Hot: view.HotState(now), Cold: view.ColdState(now), ScrapeInterval: c.ScrapeInterval(), Deduplicates: c.ColdDeduplicates()}
		known, inCold := snapshot.Evidence, promql.WithoutLabels(source.Labels, snapshot.ReplicaLabels)
		if known == nil || known.Refusal != (tier.Note{}) || promql.ContainsLabels(known.Unlike, inCold) {
			return state // Nothing can be compared.
		}
		state.Mapping = &comparison.Mapping{
			OfHot: source.Labels, Removed: snapshot.ReplicaLabels, Distinct: promql.WithoutLabels(inCold, slices.Collect(maps.Keys(snapshot.enforced))),
		}
		return state
	}
}

// setsOf identifies the label sets of stores.
func setsOf(stores []Store) string {
	sets := map[string]struct{}{}
	for _, store := range stores {
		for _, set := range store.LabelSets {
			sets[promql.FormatLabels(set)] = struct{}{}
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(sets)), "\n")
}

// describeFanOut adds the sources of a hot tier that lists its stores. Labels that either tier removes
// by deduplication are left out. Where only one of them does, its answers differ from the other's.
func (c *Catalog) describeFanOut(stores []Store, learned *Snapshot, known *tier.SeriesEvidence) {
	byHot, byCold := learned.Hot.ReplicaLabels, learned.ReplicaLabels
	learned.ReplicaLabels = slices.Concat(byCold, byHot)
	known.HotLabels, known.HotLabelsKnown = nil, false
	known.HotSources = SourcesOf(stores, learned.ReplicaLabels)
	known.Distinct = common(known.HotSources)
	refuse := func(stores []Store, removed, kept []string, format string) {
		for _, store := range stores {
			for _, set := range store.LabelSets {
				for _, name := range removed {
					source := promql.WithoutLabels(set, learned.ReplicaLabels)
					if _, has := set[name]; has && !slices.Contains(kept, name) && promql.ContainsLabels(known.HotSources, source) {
						known.Unlike = append(known.Unlike, source)
						known.UnlikeBecause = tier.PublicNote(fmt.Sprintf(format, name))
					}
				}
			}
		}
	}
	refuse(stores, byCold, byHot, "cold removes the replica label %[1]s by deduplication, and hot does not: start hot with --query.replica-label=%[1]s")
	inCold := c.options.Cold.Status().Stores
	if inCold == nil {
		inCold = stores
	}
	refuse(inCold, byHot, byCold, "hot removes the replica label %[1]s by deduplication, and cold does not: start cold with --query.replica-label=%[1]s, or name the label in cold.replica_labels if cold has no such label")
}

// common returns the labels that all sources have with the same value.
func common(sources []map[string]string) map[string]string {
	shared := maps.Clone(sources[0])
	for _, source := range sources[1:] {
		maps.DeleteFunc(shared, func(name, value string) bool { own, has := source[name]; return !has || own != value })
	}
	return shared
}

// separate returns the group of the series in cold that are not those of a hot tier that lists its stores.
// If there is none, the evidence says why.
func separate(known *tier.SeriesEvidence, enforced map[string]string) evidence.Group {
	hidden := slices.Collect(maps.Keys(enforced))
	var own, others []map[string]string
	for _, source := range known.HotSources {
		own = append(own, promql.WithoutLabels(source, hidden))
	}
	for _, source := range known.Sources {
		if !promql.ContainsLabels(known.HotSources, source) {
			others = append(others, promql.WithoutLabels(source, hidden))
		}
	}
	group, ok := evidence.GroupOutside(own, others)
	if !ok {
		known.Inseparable = "a few selectors cannot tell their series from those of hot's sources, because of their external labels"
	}
	return group
}

// groupOfOthers returns the group of the series in cold that are not hot's.
func (s *Snapshot) groupOfOthers() evidence.Group {
	if s.Evidence.HotSources != nil {
		return s.others
	}
	return evidence.GroupOfOthers(s.Evidence.Distinct)
}
