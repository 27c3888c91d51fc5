package catalog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

const (
	// mostSources is the maximum number of sources of a cold tier that does not list its stores.
	mostSources = 2000
	// canaryNames is the maximum number of metrics of hot that are looked for in cold.
	canaryNames = 8
	// canariesPerName is the maximum number of series of each, with samples of the time recentSeries.
	canariesPerName = 5
	recentSeries    = 5 * time.Minute
	// receiveStore is the kind of a store that takes samples from Prometheus' remote write.
	receiveStore = "receive"
)

// learnSources finds the sources of cold, and the labels of hot's series in cold. enforced are
// those of the labels whose values cold enforces.
func (c *Catalog) learnSources(ctx context.Context, known *tier.SeriesEvidence, replica []string) (enforced map[string]string, err error) {
	if err := c.findSources(ctx, known, replica); err != nil {
		return nil, err
	}
	enforced = c.enforcedLabels(ctx, known)
	known.Sources = visible(known.Sources, enforced)
	known.Distinct = promql.WithoutLabels(known.Distinct, slices.Collect(maps.Keys(enforced)))
	return enforced, nil
}

func (c *Catalog) findSources(ctx context.Context, known *tier.SeriesEvidence, replica []string) error {
	stores := c.options.Cold.Status().Stores
	switch {
	case stores == nil:
		return c.sourcesByValues(ctx, known)
	case len(stores) == 0:
		return errNoStores
	}
	known.SourcesKnown = true
	known.Sources = SourcesOf(stores, replica)
	switch {
	case known.HotSources != nil:
		refuseUnknown(known)
	case promql.ContainsLabels(known.Sources, known.HotLabels):
		known.InjectedLabels, known.Distinct = known.HotLabels, known.HotLabels
	case len(known.HotLabels) == 0 && len(known.Sources) == 1:
		// Hot has no known external labels: the only source is assumed to be hot.
		known.InjectedLabels, known.SourcesKnown = known.Sources[0], false
	case len(known.HotLabels) > 0:
		return c.labelsBySeries(ctx, known, replica)
	}
	return nil
}

// labelsBySeries finds the labels of hot's series in a cold tier whose sources do not have hot's
// external labels, for example in a Thanos Receive. It compares series of hot with those in cold.
func (c *Catalog) labelsBySeries(ctx context.Context, known *tier.SeriesEvidence, replica []string) error {
	series, copies, err := c.copiesInCold(ctx, known.HotLabels)
	if err != nil {
		return err
	}
	var injected []map[string]string
	for _, found := range copies {
		maps.DeleteFunc(found, func(name, _ string) bool { _, isHot := series[name]; return isHot || slices.Contains(replica, name) })
		if !promql.ContainsLabels(injected, found) {
			injected = append(injected, found)
		}
	}
	known.InjectedLabels, known.Unidentified = known.HotLabels, len(injected) != 1
	hasReceive := slices.ContainsFunc(c.options.Cold.Status().Stores, func(store Store) bool { return store.Kind == receiveStore })
	switch {
	case len(injected) == 1:
		known.InjectedLabels, known.Distinct = injected[0], injected[0]
	case len(injected) == 0 && !hasReceive:
		// None of hot's series is in cold. Then all others differ in an external label.
		known.Distinct = known.HotLabels
	default: // Several sources may have such a series, and nothing says which one is hot.
	}
	return nil
}

// copiesInCold looks for a series of hot that cold has with more labels, of which the empty ones are
// missing there. It returns the labels of the series in hot, and of what cold has of it; nil if cold has none of those
// that were looked for.
func (c *Catalog) copiesInCold(ctx context.Context, more map[string]string) (series map[string]string, copies []map[string]string, err error) {
	hot, cold := c.options.Hot.api.As(ownrequest.KindSources), c.options.Cold.api.As(ownrequest.KindSources)
	names, err := hot.LabelValues(ctx, model.MetricNameLabel, time.Now().Add(-recentSeries), canaryNames)
	if err != nil {
		return nil, nil, fmt.Errorf("hot: %w", err)
	}
	for _, name := range append([]string{"up"}, names...) {
		canaries, err := hot.Series(ctx, promql.FormatLabels(map[string]string{model.MetricNameLabel: name}), time.Now().Add(-recentSeries), canariesPerName)
		if err != nil {
			return nil, nil, fmt.Errorf("hot: %w", err)
		}
		for _, canary := range canaries {
			labels := maps.Clone(canary)
			maps.Copy(labels, more)
			copies, err := cold.Series(ctx, promql.FormatLabels(labels), c.options.Cold.newest().Add(-time.Hour), canaryNames)
			if err != nil {
				return nil, nil, fmt.Errorf("cold: %w", err)
			}
			if len(copies) > 0 {
				return canary, copies, nil
			}
		}
	}
	return nil, nil, nil
}

// SourcesOf returns the distinct external label sets of stores, without replica labels.
func SourcesOf(stores []Store, replica []string) []map[string]string {
	var sources []map[string]string
	for _, store := range stores {
		for _, set := range store.LabelSets {
			if source := promql.WithoutLabels(set, replica); !promql.ContainsLabels(sources, source) {
				sources = append(sources, source)
			}
		}
	}
	return sources
}

// sourcesByValues finds the sources of a cold tier that does not list its stores, by the values
// of hot's external labels in cold. If cold may have hot's series without some of them, its sources are
// unknown.
func (c *Catalog) sourcesByValues(ctx context.Context, known *tier.SeriesEvidence) error {
	if known.HotSources != nil {
		return c.fanOutByValues(ctx, known)
	}
	if len(known.HotLabels) == 0 {
		return nil
	}
	// An empty set stands for sources without these labels. Only evidence of each metric name
	// rules them out.
	sources, inCold, lacksHot := []map[string]string{known.HotLabels, {}}, maps.Clone(known.HotLabels), false
	for _, name := range slices.Sorted(maps.Keys(known.HotLabels)) {
		values, err := c.options.Cold.api.As(ownrequest.KindSources).LabelValues(ctx, name, c.since(), mostSources)
		if err != nil {
			return fmt.Errorf("cold: %w", err)
		}
		hasHot := len(values) >= mostSources // Then it may be one of those that were left out.
		for _, value := range values[:min(len(values), mostSources)] {
			if value == known.HotLabels[name] {
				hasHot = true
			} else {
				sources = append(sources, map[string]string{name: value})
			}
		}
		if !hasHot {
			inCold[name], lacksHot = "", true
		}
	}
	if lacksHot {
		// None of hot's series is in cold, or remote write removes labels.
		_, copies, err := c.copiesInCold(ctx, inCold)
		if upstream.CannotTell(err) || len(copies) > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	known.SourcesKnown, known.Sources = true, sources
	known.InjectedLabels, known.Distinct, known.Unidentified = known.HotLabels, known.HotLabels, lacksHot
	return nil
}
