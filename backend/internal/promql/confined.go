package promql

import (
	"errors"
)

// Confined returns the query with other matchers in every selector: those that
// confine returns for the present ones, in front of which it may put more. It returns
// the errors of confine, and one for info(), which reads series that no selector names.
//
// The text is written anew from the tree, without comments, control characters
// and raw strings. Other engines read PromQL with lexers of their own: MetricsQL,
// for example, ends a comment at a line feed only, where PromQL also ends it at a
// carriage return.
func (q *Query) Confined(confine func(Selector) (Selector, error)) (*Query, error) {
	if q.facts.callsInfo {
		return nil, errors.New("info() reads series that no selector names: join with the info metric by group_left instead")
	}
	meant := clone(q.tree())
	for _, selector := range selectorsIn(meant) {
		var err error
		if selector.LabelMatchers, err = confine(selector.LabelMatchers); err != nil {
			return nil, err
		}
	}
	return q.write(meant)
}
