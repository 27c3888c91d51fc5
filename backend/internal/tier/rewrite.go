package tier

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// ErrNotRewritable is returned by Relabel for a query that hot cannot answer
// with its external labels.
var ErrNotRewritable = errors.New("hot cannot answer with its external labels")

// relabelled is the outcome of Relabel.
type relabelled struct {
	text string
	err  error
}

// sizeOfError returns how many bytes the text of an error takes; zero for none.
func sizeOfError(err error) int {
	if err == nil {
		return 0
	}
	return len(err.Error())
}

// Relabel returns the query that makes hot, whose series lack the added
// labels, answer as if they carried them. The text is the query itself where
// the labels change nothing.
//
// It returns an error that wraps ErrNotRewritable when there is no such query,
// and the parser's error for a text that is no PromQL.
func Relabel(query string, added map[string]string) (string, error) {
	if len(added) == 0 {
		return query, nil
	}
	found := promql.Remembered(promql.KeyOf("relabel", query, FormatLabels(added)), func() (relabelled, int) {
		text, err := relabel(query, added)
		return relabelled{text, err}, len(text) + sizeOfError(err)
	})
	return found.text, found.err
}

func relabel(query string, added map[string]string) (string, error) {
	root, err := promqlParser.ParseExpr(query)
	if err != nil {
		return "", err
	}
	needed := slices.ContainsFunc(slices.Collect(maps.Keys(added)), func(label string) bool {
		return flowOf(root, label) != unchanged
	})
	if !needed {
		return query, nil
	}
	if unwrapParens(root).Type() == parser.ValueTypeMatrix {
		return "", fmt.Errorf("%w: it asks for raw samples", ErrNotRewritable)
	}
	writer := &relabeler{added: added, names: slices.Sorted(maps.Keys(added)), editor: editor{text: query}}
	rewritten, err := writer.expression(root)
	if err != nil {
		return "", err
	}
	return writer.write(rewritten)
}

// RelabelSelector returns a series selector for hot, whose series lack the
// added labels. It returns an error that wraps ErrNotRewritable when hot has
// none of the series that are asked for.
func RelabelSelector(selector Selector, added map[string]string) (Selector, error) {
	writer := &relabeler{added: added}
	return writer.matchers(selector)
}

// relabeler puts labels on the leaves of an expression: in its tree, which says
// what is meant, and in its text.
type relabeler struct {
	added  map[string]string
	names  []string // of the added labels, sorted
	editor editor
}

// write returns the changed text.
func (r *relabeler) write(meant parser.Expr) (string, error) {
	text, err := r.editor.apply(meant)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotRewritable, err)
	}
	return text, nil
}

func (r *relabeler) expression(node parser.Expr) (parser.Expr, error) {
	var err error
	switch node := node.(type) {
	case *parser.NumberLiteral, *parser.StringLiteral:
		return node, nil
	case *parser.VectorSelector:
		wrapped := r.wrap(node, r.added)
		return wrapped, r.selector(node)
	case *parser.ParenExpr:
		node.Expr, err = r.expression(node.Expr)
		return node, err
	case *parser.UnaryExpr:
		node.Expr, err = r.expression(node.Expr)
		return node, err
	case *parser.SubqueryExpr:
		node.Expr, err = r.expression(node.Expr)
		return node, err
	case *parser.AggregateExpr:
		return r.aggregation(node)
	case *parser.BinaryExpr:
		if node.LHS, err = r.expression(node.LHS); err != nil {
			return nil, err
		}
		node.RHS, err = r.expression(node.RHS)
		return node, err
	case *parser.Call:
		return r.call(node)
	}
	return nil, fmt.Errorf("%w: it holds a %T", ErrNotRewritable, node)
}

func (r *relabeler) aggregation(node *parser.AggregateExpr) (parser.Expr, error) {
	if node.Op == parser.LIMITK {
		return nil, fmt.Errorf("%w: limitk chooses by the order of the series", ErrNotRewritable)
	}
	var err error
	if node.Param != nil {
		if node.Param, err = r.expression(node.Param); err != nil {
			return nil, err
		}
	}
	node.Expr, err = r.expression(node.Expr)
	return node, err
}

func (r *relabeler) call(call *parser.Call) (parser.Expr, error) {
	if call.Func.Name == "info" {
		return nil, fmt.Errorf("%w: info() joins with series of its own", ErrNotRewritable)
	}
	for i, argument := range call.Args {
		switch bare := unwrapParens(argument).(type) {
		case *parser.MatrixSelector:
			selector, ok := bare.VectorSelector.(*parser.VectorSelector)
			if !ok {
				return nil, fmt.Errorf("%w: it holds a range over no selector", ErrNotRewritable)
			}
			return r.leaf(call, selector, call.Func.Name == "absent_over_time")
		case *parser.VectorSelector:
			switch call.Func.Name {
			case "timestamp", "start_timestamp":
				return r.leaf(call, bare, false)
			case "absent":
				return r.leaf(call, bare, true)
			}
		}
		rewritten, err := r.expression(argument)
		if err != nil {
			return nil, err
		}
		call.Args[i] = rewritten
	}
	return call, nil
}

// leaf leaves the selector of a call bare and wraps the call. Where the call
// takes labels from matchers, only those that it would have taken are added.
func (r *relabeler) leaf(call *parser.Call, selector *parser.VectorSelector, fromMatchers bool) (parser.Expr, error) {
	added := r.added
	if fromMatchers {
		added = labelsOfAbsent(selector.LabelMatchers, r.added)
	}
	wrapped := r.wrap(call, added)
	return wrapped, r.selector(selector)
}

// labelsOfAbsent are the added labels that absent() takes from matchers: those
// of which the first matcher by equality is the last matcher of all, in the order
// in which the storage of a Prometheus leaves them.
func labelsOfAbsent(matchers []*labels.Matcher, added map[string]string) map[string]string {
	taken := map[string]string{}
	for name, value := range added {
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

func (r *relabeler) selector(selector *parser.VectorSelector) error {
	matchers, err := r.matchers(selector.LabelMatchers)
	if err != nil {
		return err
	}
	if !slices.Equal(matchers, selector.LabelMatchers) {
		if err := r.editor.matchers(selector, matchers); err != nil {
			return fmt.Errorf("%w: %w", ErrNotRewritable, err)
		}
	}
	selector.LabelMatchers = matchers
	return nil
}

// matchers drops those on added labels that hot's value satisfies.
func (r *relabeler) matchers(matchers []*labels.Matcher) ([]*labels.Matcher, error) {
	kept := make([]*labels.Matcher, 0, len(matchers)+1)
	selective := false
	for _, matcher := range matchers {
		value, is := r.added[matcher.Name]
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

// wrap puts label_replace() around an expression, once per label.
func (r *relabeler) wrap(node parser.Expr, added map[string]string) parser.Expr {
	place := node.PositionRange()
	var before, after strings.Builder
	for _, name := range r.names {
		value, is := added[name]
		if !is {
			continue
		}
		literal := func(value string) parser.Expr { return &parser.StringLiteral{Val: value} }
		arguments := parser.Expressions{literal(name), literal(strings.ReplaceAll(value, "$", "$$")), literal(""), literal("")}
		before.WriteString("label_replace(")
		for _, argument := range arguments {
			after.WriteString(", " + argument.String())
		}
		after.WriteString(")")
		node = &parser.Call{Func: parser.Functions["label_replace"], Args: append(parser.Expressions{node}, arguments...)}
	}
	r.editor.around(place, before.String(), after.String())
	return node
}

func unwrapParens(node parser.Expr) parser.Expr {
	for {
		paren, ok := node.(*parser.ParenExpr)
		if !ok {
			return node
		}
		node = paren.Expr
	}
}

// RelabelSelectors returns an expression whose selectors hot can answer, for an
// endpoint that reads the selectors of a query and nothing else of it. It
// returns the errors of Relabel.
func RelabelSelectors(query string, added map[string]string) (string, error) {
	root, err := promqlParser.ParseExpr(query)
	if err != nil {
		return "", err
	}
	writer := &relabeler{added: added, editor: editor{text: query}}
	for _, selector := range selectorsIn(root) {
		if err := writer.selector(selector); err != nil {
			return "", err
		}
	}
	return writer.write(root)
}
