package evidence

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
)

// Group is a part of a tier's series. It holds alternative matchers, one per line, for
// example `cluster!="lab"`. The empty group holds all series.
type Group string

// GroupOfOthers returns the group of the series in cold that are not hot's. distinct are labels
// that all series of hot have there.
func GroupOfOthers(distinct map[string]string) Group {
	var alternatives []string
	for _, name := range slices.Sorted(maps.Keys(distinct)) {
		alternatives = append(alternatives, fmt.Sprintf(`%s!=%q`, quoteName(name), distinct[name]))
	}
	return Group(strings.Join(alternatives, "\n"))
}

// Selectors returns a selector per alternative of the group, for series with one of the names.
func (g Group) Selectors(names []string) []string {
	named := fmt.Sprintf("%s=%q", model.MetricNameLabel, names[0])
	if len(names) > 1 {
		quoted := make([]string, 0, len(names))
		for _, name := range names {
			quoted = append(quoted, regexp.QuoteMeta(name))
		}
		named = fmt.Sprintf("%s=~%q", model.MetricNameLabel, strings.Join(quoted, "|"))
	}
	if g == "" {
		return []string{"{" + named + "}"}
	}
	var selectors []string
	for matcher := range strings.SplitSeq(string(g), "\n") {
		selectors = append(selectors, "{"+named+","+matcher+"}")
	}
	return selectors
}

// quoteName quotes a label name if PromQL requires it.
func quoteName(name string) string {
	if model.LegacyValidation.IsValidLabelName(name) {
		return name
	}
	return strconv.Quote(name)
}
