package enforcement

import (
	"errors"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

func (r *Rule) unparsable(what string, err error) error {
	return promapi.BadData("%s cannot be confined to %s: %s", what, r, err)
}

// query confines every selector of a PromQL text, in a form that other servers cannot
// read differently: see promql.Query.Confined.
//
// It returns an Error with status 400 for a text that cannot be parsed, with the
// position, and for one with info(), which reads series that no selector names. For
// a conflict it returns one with status 403 where the rule says so. isEmpty is set when
// the answer holds nothing, whatever the tier stores.
func (r *Rule) query(text string) (confined string, isEmpty bool, _ error) {
	query, err := promql.ParseStrictly(text)
	if err != nil {
		return "", false, r.unparsable("the query", err)
	}
	selectors, conflicts := 0, 0
	changed, err := query.Confined(func(selector promql.Selector) (promql.Selector, error) {
		matchers, isConflict, err := r.confineMatchers(selector)
		selectors++
		if isConflict {
			conflicts++
		}
		return matchers, err
	})
	if conflict, is := errors.AsType[*promapi.Error](err); is {
		return "", false, conflict
	}
	if err != nil {
		return "", false, r.unparsable("the query", err)
	}
	return changed.String(), conflicts > 0 && conflicts == selectors && query.IsEmptyOverNothing(), nil
}

// selector confines a series selector, such as a match[] parameter. It returns what
// query returns.
func (r *Rule) selector(text string) (confined string, isEmpty bool, _ error) {
	if err := promql.CheckSelector(text); err != nil {
		return "", false, r.unparsable("the selector", err)
	}
	return r.query(text)
}
