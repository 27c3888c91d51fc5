package tier

import (
	"cmp"
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/parser/posrange"
)

// errNotWritten is returned where a changed query cannot be written down.
var errNotWritten = errors.New("the rewritten query cannot be written down")

// editor changes the text of a query. Everything else of the text stays as it
// is, byte for byte: the printer of Prometheus, which writes a tree, sorts the
// matchers of a selector, and absent() minds their order.
type editor struct {
	text  string
	edits []edit
}

// edit puts something into the place of a part of the text.
type edit struct {
	from, to int
	with     string
}

// around puts something in front of a node and something behind it.
func (e *editor) around(node posrange.PositionRange, before, after string) {
	e.edits = append(e.edits, edit{int(node.Start), int(node.Start), before}, edit{int(node.End), int(node.End), after})
}

// insert puts something in front of a position.
func (e *editor) insert(at int, text string) { e.edits = append(e.edits, edit{at, at, text}) }

// matchers gives a selector other matchers. It returns an error when the
// selector is not found in the text.
func (e *editor) matchers(selector *parser.VectorSelector, matchers []*labels.Matcher) error {
	start := int(selector.PosRange.Start)
	name := start + len(selector.Name)
	if name > len(e.text) || e.text[start:name] != selector.Name {
		return errNotWritten
	}
	end := name
	brace, opened, closed := closing(e.text, name)
	switch {
	case closed:
		end = int(brace.Pos) + len(brace.Val)
	case opened, selector.Name == "":
		return errNotWritten
	}
	var list []string
	for _, matcher := range matchers {
		if selector.Name == "" || matcher.Name != model.MetricNameLabel || matcher.Type != labels.MatchEqual || matcher.Value != selector.Name {
			list = append(list, matcher.String())
		}
	}
	text := selector.Name
	if len(list) > 0 {
		text += "{" + strings.Join(list, ",") + "}"
	}
	e.edits = append(e.edits, edit{start, end, text})
	return nil
}

// apply returns the changed text, whose tree has to be the given one. It
// returns an error when it is not.
func (e *editor) apply(meant parser.Expr) (string, error) {
	// What was noted first of a position comes first: a node is put into
	// parentheses before it is looked into.
	slices.SortStableFunc(e.edits, func(one, other edit) int { return cmp.Compare(one.from, other.from) })
	var changed strings.Builder
	at := 0
	for _, each := range e.edits {
		if each.from < at {
			return "", errNotWritten
		}
		changed.WriteString(e.text[at:each.from])
		changed.WriteString(each.with)
		at = each.to
	}
	changed.WriteString(e.text[at:])
	text := changed.String()
	// A text that reads differently than it was meant must not reach a tier.
	again, err := promqlParser.ParseExpr(text)
	if err != nil || again.String() != meant.String() || !slices.EqualFunc(selectorsIn(again), selectorsIn(meant), sameMatchers) {
		return "", errNotWritten
	}
	return text, nil
}

func selectorsIn(root parser.Expr) []*parser.VectorSelector {
	var selectors []*parser.VectorSelector
	parser.Inspect(root, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok && selector != nil {
			selectors = append(selectors, selector)
		}
		return nil
	})
	return selectors
}

// sameMatchers tells whether two selectors have the same matchers in the same
// order.
func sameMatchers(one, other *parser.VectorSelector) bool {
	return slices.EqualFunc(one.LabelMatchers, other.LabelMatchers, func(a, b *labels.Matcher) bool { return a.String() == b.String() })
}

// tokensFrom returns the tokens of the text behind a position, without
// comments, with their positions in the whole text, as far as it can be read.
func tokensFrom(text string, start int) iter.Seq[parser.Item] {
	return func(yield func(parser.Item) bool) {
		lexer := parser.Lex(text[start:])
		for {
			var token parser.Item
			lexer.NextItem(&token)
			switch token.Typ {
			case parser.EOF, parser.ERROR:
				return
			case parser.COMMENT:
				continue
			default:
			}
			token.Pos += posrange.Pos(start)
			if !yield(token) {
				return
			}
		}
	}
}

// closing returns the token that closes a selector's braces behind a position,
// or no token where they do not follow at once.
func closing(text string, start int) (brace parser.Item, opened, closed bool) {
	for token := range tokensFrom(text, start) {
		switch {
		case token.Typ == parser.RIGHT_BRACE && opened:
			return token, true, true
		case token.Typ == parser.LEFT_BRACE && !opened:
			opened = true
		case !opened:
			return parser.Item{}, false, false
		}
	}
	return parser.Item{}, opened, false
}
