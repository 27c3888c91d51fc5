package catalog

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// learnSources finds the sources of cold, the external labels of hot's series in cold, and the
// metric names of other sources.
func (c *Catalog) learnSources(ctx context.Context, known *tier.SeriesEvidence, replica []string) error {
	stores := c.options.Cold.Status().Stores
	if stores != nil && len(stores) == 0 {
		return errNoStores
	}
	if len(stores) > 0 {
		known.SourcesKnown = true
		known.Sources = sourcesOf(stores, replica)
		isSource := containsSet(known.Sources, known.HotLabels)
		switch {
		case isSource:
			known.InjectedLabels = known.HotLabels
		case len(known.HotLabels) == 0 && len(known.Sources) == 1:
			// Hot has no known external labels: the only source is assumed to be hot.
			known.InjectedLabels, known.SourcesKnown = known.Sources[0], false
		}
	} else if err := c.sourcesByValues(ctx, known); err != nil {
		return err
	}
	if len(known.HotLabels) == 0 || !known.SourcesKnown {
		return nil
	}
	var err error
	c.learning.others, err = c.options.Cold.metricNames(ctx, c.payer(), ofOthers(known.HotLabels), c.since(), c.options.LearnInterval/2)
	known.OtherNames = c.learning.others.set()
	return err
}

// ofOthers returns selectors for the series of all sources except hot: one selector for each of
// hot's external labels.
func ofOthers(hotLabels map[string]string) []string {
	var selectors []string
	for _, name := range slices.Sorted(maps.Keys(hotLabels)) {
		selectors = append(selectors, fmt.Sprintf(`{%s!=%q,__name__!=""}`, quoteName(name), hotLabels[name]))
	}
	return selectors
}

// sourcesOf returns the distinct external label sets of stores, without replica labels.
func sourcesOf(stores []Store, replica []string) []map[string]string {
	var sources []map[string]string
	for _, store := range stores {
		for _, set := range store.LabelSets {
			if source := without(set, replica); !containsSet(sources, source) {
				sources = append(sources, source)
			}
		}
	}
	return sources
}

func containsSet(list []map[string]string, set map[string]string) bool {
	return slices.ContainsFunc(list, func(other map[string]string) bool { return maps.Equal(other, set) })
}

// sourcesByValues finds the sources of a cold tier that does not list its stores, by the values
// of hot's external labels in cold.
func (c *Catalog) sourcesByValues(ctx context.Context, known *tier.SeriesEvidence) error {
	if len(known.HotLabels) == 0 {
		return nil
	}
	cold := c.options.Cold.api
	names, err := cold.labelValues(ctx, "__name__", []string{promql.FormatLabels(known.HotLabels)}, c.since())
	if err != nil || len(names) == 0 {
		return err // Cold does not have hot's external labels.
	}
	known.SourcesKnown = true
	known.InjectedLabels = known.HotLabels
	known.Sources = []map[string]string{known.HotLabels}
	for _, name := range slices.Sorted(maps.Keys(known.HotLabels)) {
		values, err := cold.labelValues(ctx, name, nil, c.since())
		if err != nil {
			return err
		}
		if len(values) > mostSources {
			values = values[:mostSources]
			// An empty set stands for all further sources.
			known.Sources = append(known.Sources, map[string]string{})
		}
		for _, value := range values {
			if value != known.HotLabels[name] {
				known.Sources = append(known.Sources, map[string]string{name: value})
			}
		}
		unlabelled, err := cold.labelValues(ctx, "__name__", []string{fmt.Sprintf(`{%s="",__name__!=""}`, quoteName(name))}, c.since())
		if err != nil {
			return err
		}
		if len(unlabelled) > 0 {
			known.Sources = append(known.Sources, map[string]string{})
		}
	}
	return nil
}

// mostSources is the maximum number of sources of a cold tier that does not list its stores.
const mostSources = 2000

func without(set map[string]string, names []string) map[string]string {
	if set == nil {
		return nil
	}
	kept := maps.Clone(set)
	maps.DeleteFunc(kept, func(name, _ string) bool { return slices.Contains(names, name) })
	return kept
}
