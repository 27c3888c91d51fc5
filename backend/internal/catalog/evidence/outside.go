package evidence

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

const (
	// mostAlternatives is the maximum number of alternatives of a group: each is a request.
	mostAlternatives = 8
	// mostMatcherBytes is the maximum length of one of them. It is a part of a URL.
	mostMatcherBytes = 4 << 10
)

// GroupOutside returns the group of the series in cold that belong to none of some sources. others
// are the sources that cold lists beside them. If no few selectors match these series and no others, it
// returns the empty group, and ok is false.
//
// A series belongs to a source if it has all of its external labels. The alternatives of the group are
// mutually exclusive: each assigns values to some labels such that no source is left.
func GroupOutside(sources, others []map[string]string) (_ Group, ok bool) {
	o := outside{}
	o.add("", sources)
	if !o.isTooMuch && len(o.alternatives) > 0 {
		return Group(strings.Join(o.alternatives, "\n")), true
	}
	// One label is enough if it tells all sources that cold lists from these.
	for _, name := range namesOf(sources) {
		values := valuesOf(sources, name)
		if values == nil || slices.ContainsFunc(others, func(other map[string]string) bool {
			value, has := other[name]
			return !has || slices.Contains(values, value)
		}) {
			continue
		}
		if matcher := excluding(name, values); len(matcher) <= mostMatcherBytes {
			return Group(matcher), true
		}
	}
	return "", false
}

// outside collects the alternatives of a group.
type outside struct {
	alternatives []string
	isTooMuch    bool
}

// add adds the alternatives for series that match a list of matchers, and that belong to none of some
// sources. Labels of the sources for which the list has matchers are left out.
func (o *outside) add(matchers string, sources []map[string]string) {
	switch {
	case o.isTooMuch, slices.ContainsFunc(sources, func(source map[string]string) bool { return len(source) == 0 }):
		return // All such series belong to a source.
	case len(sources) == 0:
		o.alternatives = append(o.alternatives, matchers)
		o.isTooMuch = len(o.alternatives) > mostAlternatives || len(matchers) > mostMatcherBytes
		return
	}
	name := mostTelling(sources)
	// rests are the sources that remain for a value, with the values for which they are the same.
	var rests [][]map[string]string
	values := map[string][]string{}
	without := slices.DeleteFunc(slices.Clone(sources), func(source map[string]string) bool { _, has := source[name]; return has })
	for _, value := range distinctValues(sources, name) {
		rest := slices.Clone(without)
		for _, source := range sources {
			if own, has := source[name]; has && own == value {
				rest = append(rest, promql.WithoutLabels(source, []string{name}))
			}
		}
		key := textOf(rest)
		if values[key] == nil {
			rests = append(rests, rest)
		}
		values[key] = append(values[key], value)
	}
	o.add(joined(matchers, excluding(name, distinctValues(sources, name))), without)
	for _, rest := range rests {
		o.add(joined(matchers, including(name, values[textOf(rest)])), rest)
	}
}

// mostTelling returns the label that most of some sources have. Of several, it is the one with the fewest
// values.
func mostTelling(sources []map[string]string) string {
	return slices.MinFunc(namesOf(sources), func(a, b string) int {
		having := func(name string) (count int) {
			for _, source := range sources {
				if _, has := source[name]; has {
					count++
				}
			}
			return count
		}
		return cmp.Or(cmp.Compare(having(b), having(a)), cmp.Compare(len(distinctValues(sources, a)), len(distinctValues(sources, b))), cmp.Compare(a, b))
	})
}

// namesOf returns the names of the labels of some sources in order.
func namesOf(sources []map[string]string) []string {
	names := map[string]struct{}{}
	for _, source := range sources {
		for name := range source {
			names[name] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// distinctValues returns the values of a label that some sources have, in order.
func distinctValues(sources []map[string]string, name string) []string {
	values := map[string]struct{}{}
	for _, source := range sources {
		if value, has := source[name]; has {
			values[value] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(values))
}

// valuesOf is distinctValues for a label that all sources have. Otherwise it returns nil.
func valuesOf(sources []map[string]string, name string) []string {
	if slices.ContainsFunc(sources, func(source map[string]string) bool { _, has := source[name]; return !has }) {
		return nil
	}
	return distinctValues(sources, name)
}

// textOf identifies a set of sources.
func textOf(sources []map[string]string) string {
	var texts []string
	for _, source := range sources {
		texts = append(texts, promql.FormatLabels(source))
	}
	slices.Sort(texts)
	return strings.Join(texts, "\n")
}

func joined(matchers, next string) string {
	if matchers == "" {
		return next
	}
	return matchers + "," + next
}

// including returns a matcher for some values of a label, and excluding one for all others.
func including(name string, values []string) string { return matcherOf(name, "=", values) }
func excluding(name string, values []string) string { return matcherOf(name, "!", values) }

func matcherOf(name, operator string, values []string) string {
	if len(values) == 1 {
		return fmt.Sprintf("%s%s%q", quoteName(name), map[string]string{"=": "=", "!": "!="}[operator], values[0])
	}
	quoted := make([]string, 0, len(values))
	for _, value := range values {
		quoted = append(quoted, regexp.QuoteMeta(value))
	}
	return fmt.Sprintf("%s%s~%q", quoteName(name), operator, strings.Join(quoted, "|"))
}
