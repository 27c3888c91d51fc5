// Package enforcement confines requests of the Prometheus API to the series
// whose label has one of some values, such as those of a namespace: every
// selector of every query, and the match[] of every other endpoint. What
// cannot be confined is refused. It does no I/O and knows no tiers.
package enforcement

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"regexp"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// OnConflict says what a selector gets that asks for other values than those
// it is confined to.
type OnConflict string

// The two ways to deal with a conflict.
const (
	// ConflictEmpty answers as a Prometheus would that holds nothing else: no
	// series match.
	ConflictEmpty OnConflict = "empty"
	// ConflictError refuses the request with status 403.
	ConflictError OnConflict = "error"
)

// Rule confines requests to the series whose label has one of the values. It is
// not changed after it was made, and safe for concurrent use.
type Rule struct {
	label      string
	values     []string // sorted, each once
	onConflict OnConflict

	pattern string // regular expression of the values
	key     string
}

// New returns the rule that confines to the series whose label has one of the
// values. It returns all mistakes at once, joined: a name that is no label or is
// __name__, no value at all, an empty one, and an unknown onConflict.
func New(label string, values []string, onConflict OnConflict) (*Rule, error) {
	var mistakes []error
	if !model.UTF8Validation.IsValidLabelName(label) || label == model.MetricNameLabel {
		mistakes = append(mistakes, fmt.Errorf("%q is not the name of a label that requests can be confined by", label))
	}
	if len(values) == 0 {
		mistakes = append(mistakes, errors.New("at least one value has to be set"))
	}
	for _, value := range values {
		// An empty value would stand for all series without the label.
		if value == "" || !utf8.ValidString(value) {
			mistakes = append(mistakes, fmt.Errorf("%q is not a value that requests can be confined to", value))
		}
	}
	if onConflict != ConflictEmpty && onConflict != ConflictError {
		mistakes = append(mistakes, fmt.Errorf("%q is neither %s nor %s", onConflict, ConflictEmpty, ConflictError))
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	rule := &Rule{label: label, values: slices.Compact(slices.Sorted(slices.Values(values))), onConflict: onConflict}
	quoted := make([]string, 0, len(rule.values))
	for _, value := range rule.values {
		quoted = append(quoted, regexp.QuoteMeta(value))
	}
	rule.pattern = strings.Join(quoted, "|")
	rule.key = fmt.Sprintf("%q %q %s", rule.label, rule.values, rule.onConflict)
	return rule, nil
}

// Label is the label by which requests are confined.
func (r *Rule) Label() string { return r.label }

// Values are those the label may have, sorted.
func (r *Rule) Values() []string { return slices.Clone(r.values) }

// Key identifies the rule: two rules with the same key do the same. It is part
// of the key of whatever is remembered of an answer.
func (r *Rule) Key() string { return r.key }

// String names what is allowed, for errors: namespace "a", "b".
func (r *Rule) String() string {
	quoted := make([]string, 0, len(r.values))
	for _, value := range r.values {
		quoted = append(quoted, strconv.Quote(value))
	}
	return r.label + " " + strings.Join(quoted, ", ")
}

// Narrowed returns a rule for one of the values alone. It returns an Error with
// status 403 when that is not one of them.
func (r *Rule) Narrowed(value string) (*Rule, error) {
	if !slices.Contains(r.values, value) {
		return nil, promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden, "%s %q is none of those that may be asked for here", r.label, value)
	}
	return New(r.label, []string{value}, r.onConflict)
}

// matcher is what a selector gets that does not say it by itself. It is a
// regular expression even for a single value: absent() makes labels of its
// answer from matchers by equality, and has to answer as if this one were not
// there.
func (r *Rule) matcher() string { return quotedName(r.label) + "=~" + strconv.Quote(r.pattern) }

// nothing matches no series. It is about the name, the one label of which
// absent() takes no notice.
const nothing = `__name__!~".*"`

// quotedName writes the name of a label into a selector.
func quotedName(name string) string {
	if model.LegacyValidation.IsValidLabelName(name) {
		return name
	}
	return strconv.Quote(name)
}

// treatment is what has to be done to a selector.
type treatment int

const (
	leave   treatment = iota // it names an allowed value by equality
	confine                  // it gets the matcher
	empty                    // it gets nothing, in place of a conflict that absent() has to see
)

// treat decides what is to be done to a selector with the given matchers. It
// returns an Error with status 403 for a conflict where the rule says so.
func (r *Rule) treat(matchers []*labels.Matcher) (treatment, error) {
	allowed := slices.Clone(r.values)
	namesAllowed, namesOther := false, false
	var own []string
	for _, matcher := range matchers {
		if matcher.Name != r.label {
			continue
		}
		own = append(own, matcher.String())
		allowed = slices.DeleteFunc(allowed, func(value string) bool { return !matcher.Matches(value) })
		if matcher.Type == labels.MatchEqual {
			if slices.Contains(r.values, matcher.Value) {
				namesAllowed = true
			} else {
				namesOther = true
			}
		}
	}
	switch {
	case len(allowed) == 0 && r.onConflict == ConflictError:
		return leave, promapi.Errorf(http.StatusForbidden, promapi.ErrorForbidden, "%s asks for series that may not be asked for here: only %s may", strings.Join(own, ","), r)
	case namesAllowed:
		return leave, nil
	case namesOther:
		return empty, nil
	}
	return confine, nil
}

// holds tells whether a selector with these matchers reads nothing but what the
// rule allows.
func (r *Rule) holds(matchers []*labels.Matcher) bool {
	return slices.ContainsFunc(matchers, func(matcher *labels.Matcher) bool {
		switch {
		case matcher.Name == r.label && matcher.Type == labels.MatchEqual:
			return slices.Contains(r.values, matcher.Value)
		case matcher.Name == r.label && matcher.Type == labels.MatchRegexp:
			return matcher.Value == r.pattern
		}
		return matcher.String() == nothing
	})
}
