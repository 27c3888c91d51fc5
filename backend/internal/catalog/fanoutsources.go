package catalog

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// refuseUnknown refuses a hot tier that lists its stores if cold has none of its sources. Its series
// would have other labels than in cold.
func refuseUnknown(known *tier.SeriesEvidence) {
	if slices.ContainsFunc(known.HotSources, func(source map[string]string) bool { return promql.ContainsLabels(known.Sources, source) }) {
		return
	}
	const format = "cold has no source with the external labels of %s, so its series of hot have other labels, or it has none"
	known.Refusal = tier.Note{Detail: fmt.Sprintf(format, "hot's stores, such as "+promql.FormatLabels(known.HotSources[0])), Public: fmt.Sprintf(format, "hot's stores")}
}

// fanOutByValues finds the sources of a cold tier that does not list its stores, by the values of those
// external labels that all sources of hot have. Sources of hot whose values cold does not have are
// not in cold.
func (c *Catalog) fanOutByValues(ctx context.Context, known *tier.SeriesEvidence) error {
	names := slices.Sorted(maps.Keys(known.HotSources[0]))
	names = slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(known.HotSources, func(source map[string]string) bool { _, has := source[name]; return !has })
	})
	// An empty set stands for sources without these labels: see sourcesByValues.
	inCold, sources := slices.Clone(known.HotSources), []map[string]string{{}}
	for _, name := range names {
		values, err := c.options.Cold.api.As(ownrequest.KindSources).LabelValues(ctx, name, c.since(), mostSources)
		if err != nil {
			return fmt.Errorf("cold: %w", err)
		}
		for _, value := range values[:min(len(values), mostSources)] {
			if !slices.ContainsFunc(known.HotSources, func(source map[string]string) bool { return source[name] == value }) {
				sources = append(sources, map[string]string{name: value})
			}
		}
		if len(values) < mostSources { // Otherwise, it may be one of those that were left out.
			inCold = slices.DeleteFunc(inCold, func(source map[string]string) bool { return !slices.Contains(values, source[name]) })
		}
	}
	known.SourcesKnown, known.Sources = true, append(inCold, sources...)
	refuseUnknown(known)
	return nil
}
