package promql

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// ErrNotRewritable is returned where hot cannot answer a query as if its series
// carried its external labels.
var ErrNotRewritable = errors.New("hot cannot answer with its external labels")

// notRewritable wraps ErrNotRewritable around an error, once.
func notRewritable(err error) error {
	if err == nil || errors.Is(err, ErrNotRewritable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotRewritable, err)
}

// WithLabels returns the query that makes a server, whose series lack the injected
// labels, answer as if they carried them. It is the query itself where the labels
// change nothing. It returns an error that wraps ErrNotRewritable when there is no
// such query.
func (q *Query) WithLabels(injected map[string]string) (*Query, error) {
	if len(injected) == 0 {
		return q, nil
	}
	type rewritten struct {
		text string
		err  error
	}
	key := cacheKey{kind: injectedInto, text: q.text, strict: q.strict, labels: FormatLabels(injected)}
	result := cached(key, func() (rewritten, int) {
		query, err := q.inject(injected)
		if err != nil {
			err = notRewritable(err)
			return rewritten{err: err}, sizeOfError(err)
		}
		return rewritten{text: query.text}, len(query.text)
	})
	switch {
	case result.err != nil:
		return nil, result.err
	case result.text == q.text:
		return q, nil
	}
	return parse(result.text, q.strict)
}

func (q *Query) inject(injected map[string]string) (*Query, error) {
	root, all := q.tree(), &injector{injected, slices.Sorted(maps.Keys(injected))}
	needed := all.within(root)
	if len(needed.names) == 0 && !slices.ContainsFunc(selectorsIn(root), all.isNamedBy) {
		return q, nil
	}
	if len(needed.names) > 0 && unwrapParens(root).Type() == parser.ValueTypeMatrix {
		return nil, errors.New("it selects raw samples")
	}
	meant, err := needed.expression(clone(root))
	if err != nil {
		return nil, err
	}
	return q.write(meant)
}

// WithLabelsInSelectors returns an expression whose selectors a server can answer
// that lacks the injected labels. It is for an endpoint that reads the selectors of
// a query and nothing else of it. It returns the errors of WithLabels.
func (q *Query) WithLabelsInSelectors(injected map[string]string) (*Query, error) {
	meant, isChanged := clone(q.tree()), false
	for _, selector := range selectorsIn(meant) {
		matchers, err := Selector(selector.LabelMatchers).WithLabels(injected)
		if err != nil {
			return nil, err
		}
		isChanged = isChanged || !slices.Equal(matchers, selector.LabelMatchers)
		selector.LabelMatchers = matchers
	}
	if !isChanged {
		return q, nil
	}
	query, err := q.write(meant)
	return query, notRewritable(err)
}

// WithLabels returns the selector for a server whose series lack the injected
// labels: without its matchers on them. It returns an error that wraps
// ErrNotRewritable when they match none of its series.
func (s Selector) WithLabels(injected map[string]string) (Selector, error) {
	kept := make(Selector, 0, len(s)+1)
	selective := false
	for _, matcher := range s {
		value, is := injected[matcher.Name]
		if is && !matcher.Matches(value) {
			return nil, fmt.Errorf("%w: %s is not true of hot's series", ErrNotRewritable, matcher)
		}
		if !is {
			kept = append(kept, matcher)
			selective = selective || !matcher.Matches("")
		}
	}
	if !selective {
		kept = append(kept, labels.MustNewMatcher(labels.MatchNotEqual, model.MetricNameLabel, ""))
	}
	return kept, nil
}

// injector puts labels on the leaves of an expression.
type injector struct {
	injected map[string]string
	names    []string // of those that are needed, sorted
}

// within returns the injector for a part of an expression, whose result may depend on fewer labels.
func (r *injector) within(node parser.Node) *injector {
	return &injector{r.injected, slices.DeleteFunc(slices.Clone(r.names), func(name string) bool { return flowOf(node, name) == unchanged })}
}

// isNamedBy reports whether a selector has a matcher for one of the labels.
func (r *injector) isNamedBy(selector *parser.VectorSelector) bool {
	return slices.ContainsFunc(r.names, func(name string) bool { return hasMatcher(selector, name) })
}

// expression returns an expression with the labels on its leaves, as far as its result depends on
// them. It changes the selectors of the given one.
func (r *injector) expression(node parser.Expr) (parser.Expr, error) {
	switch node := node.(type) {
	case *parser.VectorSelector:
		return r.wrap(node, r.injected), r.selector(node)
	case *parser.AggregateExpr:
		if r = r.within(node); node.Op == parser.LIMITK && len(r.names) > 0 {
			return nil, errors.New("limitk chooses by the order of the series")
		}
	case *parser.BinaryExpr:
		r = r.within(node)
	case *parser.Call:
		return r.within(node).call(node)
	}
	return rebuild(node, r.expression)
}

// call leaves a selector bare that a function needs as it is, and wraps the call.
// Where the function takes labels from matchers, only those are injected that it
// would have taken.
func (r *injector) call(call *parser.Call) (parser.Expr, error) {
	if call.Func.Name == "info" {
		return nil, errors.New("info() joins with series that no argument names")
	}
	carried := map[string]string{}
	changed, err := rebuild(call, func(argument parser.Expr) (parser.Expr, error) {
		selector := bareSelector(call.Func.Name, argument)
		if selector == nil {
			return r.expression(argument)
		}
		carried = r.injected
		if strings.HasPrefix(call.Func.Name, "absent") {
			carried = labelsOfAbsent(selector.LabelMatchers, r.injected)
		}
		return argument, r.selector(selector)
	})
	if err != nil {
		return nil, err
	}
	return r.wrap(changed, carried), nil
}

// bareSelector returns the selector that an argument is, where the function needs it
// as it is: for a range, or to look at more than its values. It returns nil where
// not.
func bareSelector(function string, argument parser.Expr) *parser.VectorSelector {
	switch bare := unwrapParens(argument).(type) {
	case *parser.MatrixSelector:
		selector, _ := bare.VectorSelector.(*parser.VectorSelector)
		return selector
	case *parser.VectorSelector:
		if slices.Contains([]string{"timestamp", "start_timestamp", "absent"}, function) {
			return bare
		}
	}
	return nil
}

// labelsOfAbsent returns the injected labels that absent() takes from matchers. A
// label is taken when its first matcher by equality is its last matcher of all, in
// the order in which the storage of a Prometheus leaves them.
func labelsOfAbsent(matchers []*labels.Matcher, injected map[string]string) map[string]string {
	taken := map[string]string{}
	for name, value := range injected {
		var selecting, excluding []*labels.Matcher
		for _, matcher := range matchers {
			switch {
			case matcher.Name != name:
			case (matcher.Type == labels.MatchNotEqual || matcher.Type == labels.MatchNotRegexp) && matcher.Matches(""):
				// It moves those behind the others, in the tree of the query.
				excluding = append(excluding, matcher)
			default:
				selecting = append(selecting, matcher)
			}
		}
		isEqual := func(matcher *labels.Matcher) bool { return matcher.Type == labels.MatchEqual }
		ordered := append(selecting, excluding...)
		if first := slices.IndexFunc(ordered, isEqual); first >= 0 && first == len(ordered)-1 && ordered[first].Value == value {
			taken[name] = value
		}
	}
	return taken
}

func (r *injector) selector(selector *parser.VectorSelector) (err error) {
	selector.LabelMatchers, err = Selector(selector.LabelMatchers).WithLabels(r.injected)
	return err
}

// wrap puts label_replace() around an expression, once per label.
func (r *injector) wrap(node parser.Expr, injected map[string]string) parser.Expr {
	literal := func(value string) parser.Expr { return &parser.StringLiteral{Val: value} }
	for _, name := range r.names {
		if value, is := injected[name]; is {
			replacement := literal(strings.ReplaceAll(value, "$", "$$"))
			node = &parser.Call{Func: parser.Functions["label_replace"], Args: parser.Expressions{node, literal(name), replacement, literal(""), literal("")}}
		}
	}
	return node
}
