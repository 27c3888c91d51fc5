package promql

import (
	"fmt"
	"maps"
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Selector is a series selector, as in a query or a match[] parameter: its
// matchers. One without matchers selects every series.
type Selector []*labels.Matcher

// ParseSelector reads a selector such as a match[] parameter. It returns the error
// of Prometheus' parser for a text that is none.
func ParseSelector(text string) (Selector, error) { return lenientParser.ParseMetricSelector(text) }

// CheckSelector returns the error of Prometheus' parser, with its default options,
// for a text that is no selector.
func CheckSelector(text string) error {
	_, err := strictParser.ParseMetricSelector(text)
	return err
}

// ParseLabels reads name="value" pairs with commas between them. It returns an
// error for everything else, also for other matchers.
func ParseLabels(text string) (map[string]string, error) {
	matchers, err := strictParser.ParseMetricSelector("{" + text + "}")
	if err != nil {
		return nil, err
	}
	set := map[string]string{}
	for _, matcher := range matchers {
		if matcher.Type != labels.MatchEqual {
			return nil, fmt.Errorf("%s is no label with a value", matcher)
		}
		set[matcher.Name] = matcher.Value
	}
	return set, nil
}

// FormatLabels writes a label set as Prometheus does: {a="b", c="d"}.
func FormatLabels(set map[string]string) string {
	return labels.FromMap(set).String()
}

// String returns the selector in PromQL.
func (s Selector) String() string {
	selector := parser.VectorSelector{LabelMatchers: slices.Clone(s)}
	return selector.String()
}

// MatchesName reports whether a series of that name can match.
func (s Selector) MatchesName(name string) bool {
	for _, matcher := range s {
		if matcher.Name == model.MetricNameLabel && !matcher.Matches(name) {
			return false
		}
	}
	return true
}

// infoMetric is what info() reads when its second argument names no metric.
const infoMetric = "target_info"

// Selectors returns everything that the query reads, also what info() reads
// implicitly. It returns none when the query reads nothing. They must not be changed.
func (q *Query) Selectors() []Selector { return q.kept().selectors() }

// allSelectors is Selectors for a tree.
func allSelectors(root parser.Expr) []Selector {
	var selectors []Selector
	implicit := map[*parser.VectorSelector]bool{}
	parser.Inspect(root, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.Call:
			if node.Func.Name == "info" {
				selectors = append(selectors, infoSelector(node, implicit))
			}
		case *parser.VectorSelector:
			if node != nil && !implicit[node] {
				selectors = append(selectors, node.LabelMatchers)
			}
		}
		return nil
	})
	return slices.Clip(selectors)
}

// infoSelector is what info() reads besides its first argument. The label
// matchers of its second argument choose among labels that are added. Which
// series are read is a matter of their names.
func infoSelector(call *parser.Call, implicit map[*parser.VectorSelector]bool) Selector {
	var names Selector
	if len(call.Args) > 1 {
		if selector, ok := call.Args[1].(*parser.VectorSelector); ok {
			implicit[selector] = true
			names = slices.DeleteFunc(slices.Clone(selector.LabelMatchers), func(matcher *labels.Matcher) bool {
				return matcher.Name != model.MetricNameLabel
			})
		}
	}
	if len(names) == 0 {
		names = Selector{labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, infoMetric)}
	}
	return names
}

// ContainsLabels reports whether a list contains a set of labels.
func ContainsLabels(list []map[string]string, set map[string]string) bool {
	return slices.ContainsFunc(list, func(other map[string]string) bool { return maps.Equal(other, set) })
}

// WithoutLabels returns a copy of a set of labels without those of some names. It returns nil for nil.
func WithoutLabels(set map[string]string, names []string) map[string]string {
	if set == nil {
		return nil
	}
	kept := maps.Clone(set)
	maps.DeleteFunc(kept, func(name, _ string) bool { return slices.Contains(names, name) })
	return kept
}

// Names reports whether a matcher is about the label.
func (s Selector) Names(label string) bool {
	return slices.ContainsFunc(s, func(matcher *labels.Matcher) bool { return matcher.Name == label })
}

// MatchesLabels reports whether the selector matches a set of labels. Labels that it lacks are
// empty.
func (s Selector) MatchesLabels(set map[string]string) bool {
	return !slices.ContainsFunc(s, func(matcher *labels.Matcher) bool { return !matcher.Matches(set[matcher.Name]) })
}
