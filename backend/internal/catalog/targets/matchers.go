package targets

import (
	"slices"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// HonoredLabels says which jobs of a server may expose series with labels other than those of
// their targets: honor_labels in the configuration of Prometheus.
type HonoredLabels struct {
	// Known is set if the configuration is known.
	Known bool
	// Jobs are the names of these jobs in the configuration.
	Jobs []string
}

// IsReadBy reports whether a selector can match series of the target. Which labels of the target
// all of its series have depends on the labels that the server honors: those of its job have any;
// if only other jobs honor labels, relabeling may have renamed this one, so that job and instance
// alone count.
func (h Hole) IsReadBy(selector promql.Selector, honored HonoredLabels) bool {
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
	return true
}

// String returns the labels of the target for people to read.
func (t Target) String() string {
	if t == nil {
		return "some targets"
	}
	return "the target " + promql.FormatLabels(t)
}
