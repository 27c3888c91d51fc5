package tier

import (
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// SourcesOfHot returns the external label sets of hot's sources, or none if they are not known.
func (e *SeriesEvidence) SourcesOfHot() []map[string]string {
	if e.HotSources == nil && e.HotLabelsKnown {
		return []map[string]string{e.HotLabels}
	}
	return e.HotSources
}

// pins reports whether the matchers of a selector rule out all sources that are not hot's, and not all
// of hot's. A source is ruled out by a matcher for one of its external labels that its value does not
// match. A source that lacks such a label may still have series with it: it is ruled out only if the
// selector matches no other value than that of a source of hot, of each of its labels.
func (e *SeriesEvidence) pins(selector promql.Selector) bool {
	isOfHot := false
	for _, source := range e.SourcesOfHot() {
		if len(source) == 0 || !MayMatch(selector, source) {
			continue
		}
		isOfHot = true
		if matchesOnlySource(selector, source) && !slices.ContainsFunc(e.others, func(other map[string]string) bool { return contains(other, source) }) {
			return true
		}
	}
	return isOfHot && !slices.ContainsFunc(e.others, func(source map[string]string) bool { return MayMatch(selector, source) })
}

// contains reports whether a source has all external labels of another one.
func contains(source, other map[string]string) bool {
	for name, value := range other {
		if own, has := source[name]; !has || own != value {
			return false
		}
	}
	return true
}

// matchesOnlySource reports whether a selector matches no other value than the source's of each of its
// external labels.
func matchesOnlySource(selector promql.Selector, source map[string]string) bool {
	for name, value := range source {
		if !slices.ContainsFunc(selector, func(matcher *labels.Matcher) bool { return matcher.Name == name && matchesOnly(matcher, value) }) {
			return false
		}
	}
	return true
}

// matchesOnly reports whether a matcher matches one value and no other, as dashboards write the value
// of a variable.
func matchesOnly(matcher *labels.Matcher, value string) bool {
	switch matcher.Type {
	case labels.MatchEqual:
		return matcher.Value == value
	case labels.MatchRegexp:
		return slices.Equal(matcher.SetMatches(), []string{value})
	default:
		return false
	}
}

// MayMatch reports whether a selector may match series of a source with such external labels. Series
// may have any value of a label that the source lacks.
func MayMatch(selector promql.Selector, source map[string]string) bool {
	return !slices.ContainsFunc(selector, func(matcher *labels.Matcher) bool {
		value, has := source[matcher.Name]
		return has && !matcher.Matches(value)
	})
}

// Unused says why hot gets no query at all, or none that may read some of its sources: then isAll is
// false. It returns the zero Note if there is no such reason.
func (e *SeriesEvidence) Unused() (why Note, isAll bool) {
	switch {
	case e == nil:
		return Note{}, false
	case e.Refusal != (Note{}):
		return e.Refusal, true
	case len(e.Unlike) == 0:
		return Note{}, false
	}
	return e.UnlikeBecause, !slices.ContainsFunc(e.HotSources, func(source map[string]string) bool { return !promql.ContainsLabels(e.Unlike, source) })
}

// unlike reports whether a selector may match series of hot that differ from those in cold.
func (e *SeriesEvidence) unlike(selectors []promql.Selector) bool {
	return slices.ContainsFunc(e.Unlike, func(source map[string]string) bool {
		return slices.ContainsFunc(selectors, func(selector promql.Selector) bool { return MayMatch(selector, source) })
	})
}

// namesReplica reports whether one of the selectors depends on a replica label of hot.
func (e *SeriesEvidence) namesReplica(selectors []promql.Selector) bool {
	return slices.ContainsFunc(selectors, func(selector promql.Selector) bool {
		return slices.ContainsFunc(selector, func(matcher *labels.Matcher) bool {
			return slices.Contains(e.HotReplicaLabels, matcher.Name) && !matcher.Matches("")
		})
	})
}
