package catalog

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/evidence"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// enforcedLabels returns those of the labels of hot's series in cold whose values cold enforces, as
// a Thanos that enforces tenants does: it replaces all matchers for the label of the tenant. Series
// with another value are not visible then, and no matcher can look for them. Without an answer,
// no value counts as enforced, so that cold answers more.
func (c *Catalog) enforcedLabels(ctx context.Context, known *tier.SeriesEvidence) map[string]string {
	enforced := map[string]string{}
	own := known.HotSources
	if own == nil {
		own = []map[string]string{known.HotLabels}
	}
	if !slices.ContainsFunc(known.Sources, func(source map[string]string) bool { return !promql.ContainsLabels(own, source) }) {
		return enforced
	}
	for name, value := range known.Distinct {
		if isEnforced, err := c.enforces(ctx, name, value); err == nil && isEnforced {
			enforced[name] = value
		}
	}
	return enforced
}

// enforces reports whether cold shows series with one value of a label only, whatever the matchers
// are. It looks for series of some metrics of hot that have another value.
func (c *Catalog) enforces(ctx context.Context, name, value string) (bool, error) {
	others, since := evidence.GroupOfOthers(map[string]string{name: value}), c.options.Cold.newest().Add(-time.Hour)
	cold := c.options.Cold.api.As(ownrequest.KindSources)
	found, err := cold.Series(ctx, others.Selectors([]string{"up"})[0], since, 1)
	if err != nil {
		return false, err
	}
	if len(found) == 0 { // Cold may have no up.
		metrics, err := c.options.Hot.api.As(ownrequest.KindSources).LabelValues(ctx, model.MetricNameLabel, time.Now().Add(-recentSeries), canaryNames)
		if err != nil || len(metrics) == 0 {
			return false, err
		}
		if found, err = cold.Series(ctx, others.Selectors(metrics)[0], since, 1); err != nil {
			return false, err
		}
	}
	if len(found) == 0 || found[0][name] != value {
		return false, nil
	}
	// It may enforce several values.
	values, err := cold.LabelValues(ctx, name, c.since(), 2)
	return slices.Equal(values, []string{value}), err
}

// visible returns the sources that have no other values of enforced labels.
func visible(sources []map[string]string, enforced map[string]string) []map[string]string {
	return slices.DeleteFunc(slices.Clone(sources), func(source map[string]string) bool {
		for name, value := range enforced {
			if other, has := source[name]; has && other != value {
				return true
			}
		}
		return false
	})
}
