package tier

import (
	"maps"
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// mostMetricsRead is the maximum number of metrics that MetricsRead returns.
const mostMetricsRead = 200

// MetricRead is a metric that a request reads.
type MetricRead struct {
	Name string
	// Written is set if a selector contains the name, and not only a pattern that matches it.
	Written bool
}

// MetricsRead returns the metrics that selectors read, in the order of their names. A pattern
// is compared with the names that list returns. Selectors without a matcher for the name add
// none. If there are more than 200 metrics, some are missing.
func MetricsRead(selectors []promql.Selector, list func() []string) (metrics []MetricRead) {
	if len(selectors) == 1 {
		// Most queries read one metric.
		if names, finite := finiteNames(selectors[0]); finite && len(names) == 1 {
			return []MetricRead{{names[0], true}}
		}
	}
	read := map[string]bool{}
	for _, selector := range selectors {
		names, finite := finiteNames(selector)
		switch {
		case finite:
		case hasName(selector):
			names = slices.DeleteFunc(slices.Clone(list()), func(name string) bool { return !selector.MatchesName(name) })
		default:
			continue
		}
		for _, name := range names {
			read[name] = read[name] || finite
		}
	}
	for _, name := range slices.Sorted(maps.Keys(read)) {
		metrics = append(metrics, MetricRead{name, read[name]})
	}
	return metrics[:min(len(metrics), mostMetricsRead)]
}

// hasName reports whether a selector has a matcher for the name of a metric.
func hasName(selector promql.Selector) bool {
	return slices.ContainsFunc(selector, func(matcher *labels.Matcher) bool { return matcher.Name == model.MetricNameLabel })
}
