// Package enforcement confines requests of the Prometheus API to the series whose
// label has one of some values, such as those of some namespaces. It confines every
// selector of every query, and the match[] of every other endpoint. It refuses what
// cannot be confined.
//
// It does no I/O and imports no more of this project than promapi and promql.
package enforcement

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// OnConflict is what happens to a selector of other values than those that the request
// is confined to.
type OnConflict string

// The two ways to deal with a conflict.
const (
	// ConflictEmpty matches no series, as on a Prometheus that holds the allowed values
	// only.
	ConflictEmpty OnConflict = "empty"
	// ConflictError refuses the request with status 403.
	ConflictError OnConflict = "error"
)

// Rule confines requests to the series whose label has one of the values. It is
// immutable, and safe for concurrent use.
type Rule struct {
	label      string
	values     []string // sorted, without duplicates
	onConflict OnConflict

	// matcher confines a selector that does not name an allowed value by equality.
	// It is a regular expression even for a single value, and comes first: absent()
	// makes labels of its answer from matchers by equality, in their order, and
	// has to answer as if this one were not there.
	matcher *labels.Matcher
}

// New returns the rule that confines to the series whose label has one of the values.
// It returns all errors joined: for a name that is no label or is __name__, for no
// value at all, an empty value, and an unknown onConflict.
func New(label string, values []string, onConflict OnConflict) (*Rule, error) {
	var problems []error
	if !model.UTF8Validation.IsValidLabelName(label) || label == model.MetricNameLabel {
		problems = append(problems, fmt.Errorf("%q is not a label name that can confine requests", label))
	}
	if len(values) == 0 {
		problems = append(problems, errors.New("at least one value is required"))
	}
	for _, value := range values {
		// An empty value would stand for all series without the label.
		if value == "" || !utf8.ValidString(value) {
			problems = append(problems, fmt.Errorf("%q is not a label value that can confine requests", value))
		}
	}
	if onConflict != ConflictEmpty && onConflict != ConflictError {
		problems = append(problems, fmt.Errorf("%q is neither %s nor %s", onConflict, ConflictEmpty, ConflictError))
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	rule := &Rule{label: label, values: slices.Compact(slices.Sorted(slices.Values(values))), onConflict: onConflict}
	quoted := make([]string, 0, len(rule.values))
	for _, value := range rule.values {
		quoted = append(quoted, regexp.QuoteMeta(value))
	}
	var err error
	if rule.matcher, err = labels.NewMatcher(labels.MatchRegexp, label, strings.Join(quoted, "|")); err != nil {
		return nil, fmt.Errorf("build a regular expression of the values: %w", err)
	}
	return rule, nil
}

// String returns what is allowed, for errors: namespace "a", "b".
func (r *Rule) String() string {
	quoted := make([]string, 0, len(r.values))
	for _, value := range r.values {
		quoted = append(quoted, strconv.Quote(value))
	}
	return r.label + " " + strings.Join(quoted, ", ")
}

// Narrowed returns a rule for one of the values alone. It returns an Error with
// status 403 for any other value.
func (r *Rule) Narrowed(value string) (*Rule, error) {
	if !slices.Contains(r.values, value) {
		return nil, promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden, "%s %q is not one of the values that this request can read", r.label, value)
	}
	return New(r.label, []string{value}, r.onConflict)
}

// AllowsRule reports whether a request may read an alerting or recording rule with these
// labels: it can if the label has an allowed value. prom-label-proxy decides in the same way. The
// label of a rule is also the label of its alerts and of the series that it records.
func (r *Rule) AllowsRule(set map[string]string) bool { return slices.Contains(r.values, set[r.label]) }

// Label returns the name of the label that confines requests.
func (r *Rule) Label() string { return r.label }

// Covers reports whether confining a query changes nothing: each of its selectors lists allowed
// values of the label. It returns false for what is not PromQL.
func (r *Rule) Covers(text string) bool {
	query, err := promql.Parse(text)
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(query.Selectors(), func(selector promql.Selector) bool {
		return !slices.ContainsFunc(selector, func(matcher *labels.Matcher) bool {
			listed := matcher.SetMatches()
			if matcher.Type == labels.MatchEqual {
				listed = []string{matcher.Value}
			}
			isOther := func(value string) bool { return !slices.Contains(r.values, value) }
			return matcher.Name == r.label && (matcher.Type == labels.MatchEqual || matcher.Type == labels.MatchRegexp) &&
				len(listed) > 0 && !slices.ContainsFunc(listed, isOther)
		})
	})
}

// confineMatchers returns the matchers of a selector with those that confine it,
// and reports whether they conflict: whether no allowed value fits them. Even with
// a conflict, the selector has a matcher that only allowed values fit, so that no engine
// reads other series.
//
// It returns an Error with status 403 for a conflict where the rule says so.
func (r *Rule) confineMatchers(matchers promql.Selector) (_ promql.Selector, isConflict bool, _ error) {
	allowed := slices.Clone(r.values)
	namesAllowed := false
	var conflicting []string // the matchers of the label
	for _, matcher := range matchers {
		if matcher.Name != r.label {
			continue
		}
		conflicting = append(conflicting, matcher.String())
		allowed = slices.DeleteFunc(allowed, func(value string) bool { return !matcher.Matches(value) })
		if matcher.Type == labels.MatchEqual && slices.Contains(r.values, matcher.Value) {
			namesAllowed = true
		}
	}
	isConflict = len(allowed) == 0
	switch {
	case isConflict && r.onConflict == ConflictError:
		return nil, true, promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden, "%s selects series that this request must not read: it can read %s only", strings.Join(conflicting, ","), r)
	case namesAllowed:
		return matchers, isConflict, nil
	}
	return append(promql.Selector{r.matcher}, matchers...), isConflict, nil
}
