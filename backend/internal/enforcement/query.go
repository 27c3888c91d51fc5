package enforcement

import (
	"errors"
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// promqlParser accepts what can be confined. Names with letters beyond ASCII
// have to be quoted, as in Prometheus: its lexer, which finds the selectors in
// the text, knows no others.
var promqlParser = parser.NewParser(parser.Options{EnableExperimentalFunctions: true, EnableBinopFillModifiers: true})

// confined is a query or a selector after confinement.
type confined struct {
	// text goes to the tier.
	text string
	// isEmpty is set when the answer holds nothing, whatever the tier stores.
	isEmpty bool
}

// Query returns the PromQL text with every selector confined. The text is
// written anew from its tokens, without comments, control characters and raw
// strings, so that a server with another lexer cannot read it differently.
//
// It returns an Error with status 400 for a text that cannot be parsed, with the
// position, and for one with info(), which reads series that no selector
// names; and with status 403 for a conflict where the rule says so.
func (r *Rule) Query(text string) (string, error) {
	result, err := r.query(text)
	return result.text, err
}

// Selector returns a series selector, such as a match[] parameter, confined. It
// returns the errors of Query.
func (r *Rule) Selector(text string) (string, error) {
	result, err := r.selector(text)
	return result.text, err
}

func (r *Rule) selector(text string) (confined, error) {
	if _, err := promqlParser.ParseMetricSelector(text); err != nil {
		return confined{}, r.unparsable("the selector", err)
	}
	return r.query(text)
}

func (r *Rule) unparsable(what string, err error) error {
	return promapi.BadData("%s cannot be confined to %s: %s", what, r, err)
}

func (r *Rule) query(text string) (confined, error) {
	root, err := promqlParser.ParseExpr(text)
	if err != nil {
		return confined{}, r.unparsable("the query", err)
	}
	selectors, err := selectorsOf(root)
	if err != nil {
		return confined{}, r.unparsable("the query", err)
	}
	conflicts := 0
	matchers := make([][]*labels.Matcher, len(selectors))
	for i, selector := range selectors {
		var isConflict bool
		if matchers[i], isConflict, err = r.confineMatchers(selector.LabelMatchers); err != nil {
			return confined{}, err
		}
		if isConflict {
			conflicts++
		}
	}
	written, err := write(text, selectors, matchers)
	if err == nil {
		err = verify(written, root, selectors, matchers)
	}
	if err != nil {
		return confined{}, r.unparsable("the query", err)
	}
	isEmpty := conflicts > 0 && conflicts == len(selectors) && root.Type() == parser.ValueTypeVector && isEmptyOverNothing(root)
	return confined{text: written, isEmpty: isEmpty}, nil
}

// selectorsOf lists the selectors of an expression in the order of the text. It
// returns an error for a function that reads series which no selector names.
func selectorsOf(root parser.Expr) ([]*parser.VectorSelector, error) {
	var selectors []*parser.VectorSelector
	var err error
	parser.Inspect(root, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.Call:
			if node.Func.Name == "info" {
				err = errors.New("info() reads series that no selector names: join with the info metric by group_left instead")
			}
		case *parser.VectorSelector:
			if node != nil {
				selectors = append(selectors, node)
			}
		}
		return nil
	})
	slices.SortFunc(selectors, func(a, b *parser.VectorSelector) int { return int(a.PosRange.Start - b.PosRange.Start) })
	return selectors, err
}

// verify parses the written text again. Every selector must have exactly the
// given matchers, in their order, and everything else must mean what it meant
// before. It changes the selectors of the parsed text only.
func verify(written string, root parser.Expr, before []*parser.VectorSelector, matchers [][]*labels.Matcher) error {
	again, err := promqlParser.ParseExpr(written)
	if err != nil {
		return fmt.Errorf("its confined form cannot be read: %w", err)
	}
	after, err := selectorsOf(again)
	if err != nil {
		return err
	}
	if len(after) != len(before) {
		return errors.New("its confined form has other selectors")
	}
	for i, selector := range after {
		if selector.Name != before[i].Name || !slices.EqualFunc(selector.LabelMatchers, matchers[i], isSameMatcher) {
			return fmt.Errorf("the selector %s got other matchers", before[i])
		}
		selector.LabelMatchers = before[i].LabelMatchers
	}
	if again.String() != root.String() {
		return errors.New("its confined form means something else")
	}
	return nil
}

func isSameMatcher(one, other *labels.Matcher) bool {
	return one.Name == other.Name && one.Type == other.Type && one.Value == other.Value
}
