package targets

import (
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// HonoredLabels says which jobs of a server may store series with labels other than those of
// their targets: honor_labels and metric_relabel_configs in the configuration of Prometheus.
type HonoredLabels struct {
	// Known is set if the configuration is known.
	Known bool
	// Jobs are the names of these jobs in the configuration.
	Jobs []string
}

// IsReadBy reports whether a selector can match series of the target. Which labels of the target
// all of its series have depends on the labels that the server honors: those of its job have any;
// if only other jobs honor labels, relabeling may have renamed this one, so that job and instance
// alone count. mayExpose reports whether the job of the target may expose a metric.
func (h Hole) IsReadBy(selector promql.Selector, honored HonoredLabels, mayExpose func(Hole, string) bool) bool {
	if h.Target == nil || slices.Contains(honored.Jobs, h.Target[model.JobLabel]) {
		return true
	}
	isOwn := func(name string) bool {
		return name == model.JobLabel || name == model.InstanceLabel || (honored.Known && len(honored.Jobs) == 0)
	}
	for _, matcher := range selector {
		value, ok := h.Target[matcher.Name]
		if ok && isOwn(matcher.Name) && !matcher.Matches(value) {
			return false
		}
	}
	names, isFinite := namesOf(selector)
	return !isFinite || h.Target[model.JobLabel] == "" || slices.ContainsFunc(names, func(name string) bool { return mayExpose(h, name) })
}

// namesOf returns the metric names that a selector matches. isFinite is false if it does not list them.
func namesOf(selector promql.Selector) (names []string, isFinite bool) {
	for _, matcher := range selector {
		if matcher.Name != model.MetricNameLabel {
			continue
		}
		switch names = matcher.SetMatches(); {
		case matcher.Type == labels.MatchEqual && matcher.Value != "":
			return []string{matcher.Value}, true
		case matcher.Type == labels.MatchRegexp && len(names) > 0:
			return names, true
		}
	}
	return nil, false
}

// String returns the labels of the target for people to read.
func (t Target) String() string {
	if t == nil {
		return "some targets"
	}
	return "the target " + promql.FormatLabels(t)
}
