package tier

import (
	"context"
	"maps"
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// MostNamesRead is the maximum number of metric names that NamesRead returns.
const MostNamesRead = 200

// NameRead is the name of a metric that a selector reads.
type NameRead struct {
	Name string
	// Literal is set if the selector contains the name, and not only a pattern that
	// matches it.
	Literal bool
}

// NamesRead returns the names of metrics of hot that the selectors read, in order. A
// pattern is compared with the names that hot has. Selectors without a matcher for the
// name add none. If there are more than MostNamesRead, or ctx ends, some are missing.
func (e *SeriesEvidence) NamesRead(ctx context.Context, selectors []promql.Selector) (names []NameRead) {
	if e == nil {
		return nil
	}
	read := map[string]bool{}
	for _, selector := range selectors {
		list, finite := finiteNames(selector)
		if !finite {
			list = e.HotNames.allMatching(ctx, selector)
		}
		for _, name := range list {
			if _, inHot := e.HotNames[name]; inHot || e.HotNames == nil {
				read[name] = read[name] || finite
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(read)) {
		if len(names) < MostNamesRead {
			names = append(names, NameRead{name, read[name]})
		}
	}
	return names
}

// allMatching returns the names that a selector with a matcher for the name matches.
func (s NameSet) allMatching(ctx context.Context, selector promql.Selector) (names []string) {
	if !slices.ContainsFunc(selector, func(matcher *labels.Matcher) bool { return matcher.Name == model.MetricNameLabel }) {
		return nil
	}
	for name := range s {
		if ctx.Err() != nil || len(names) == MostNamesRead {
			return names
		}
		if selector.MatchesName(name) {
			names = append(names, name)
		}
	}
	return names
}
