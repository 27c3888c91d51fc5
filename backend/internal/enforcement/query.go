package enforcement

import (
	"errors"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// confined is a query or a selector after confinement.
type confined struct {
	// text goes to the tier.
	text string
	// isEmpty is set when the answer holds nothing, whatever the tier stores.
	isEmpty bool
}

// selector confines a series selector, such as a match[] parameter. It returns the
// errors of query.
func (r *Rule) selector(text string) (confined, error) {
	if err := promql.CheckSelector(text); err != nil {
		return confined{}, r.unparsable("the selector", err)
	}
	return r.query(text)
}

func (r *Rule) unparsable(what string, err error) error {
	return promapi.BadData("%s cannot be confined to %s: %s", what, r, err)
}

// query confines every selector of a PromQL text, in a form that other servers cannot
// read differently: see promql.Query.Confined.
//
// It returns an Error with status 400 for a text that cannot be parsed, with the
// position, and for one with info(), which reads series that no selector names. For
// a conflict it returns one with status 403 where the rule says so.
func (r *Rule) query(text string) (confined, error) {
	query, err := promql.ParseStrictly(text)
	if err != nil {
		return confined{}, r.unparsable("the query", err)
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
		return confined{}, conflict
	}
	if err != nil {
		return confined{}, r.unparsable("the query", err)
	}
	isEmpty := conflicts > 0 && conflicts == selectors && query.IsEmptyOverNothing()
	return confined{text: changed.String(), isEmpty: isEmpty}, nil
}
