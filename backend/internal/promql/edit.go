package promql

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/parser/posrange"
)

// errNotWritten is returned where a changed query cannot be written down.
var errNotWritten = errors.New("the rewritten query cannot be written down")

// editor changes parts of the text of a query. The printer of Prometheus, which
// writes a whole tree, is no use: it sorts the matchers of a selector, and
// absent() depends on their order.
type editor struct {
	query *Query
	edits []edit
}

// edit puts something in the place of a part of the text.
type edit struct {
	from, to int
	with     string
}

func (e *editor) replace(from, to int, with string) {
	e.edits = append(e.edits, edit{from, to, with})
}

// around puts something in front of a node and something behind it.
func (e *editor) around(node posrange.PositionRange, before, after string) {
	e.replace(int(node.Start), int(node.Start), before)
	e.replace(int(node.End), int(node.End), after)
}

// rewritten returns a selector of a changed tree in its new form, and where the
// present one ends. It returns an error when the selector is not found in the text,
// or cannot be written.
func (e *editor) rewritten(selector *parser.VectorSelector) (end int, text string, err error) {
	if end, err = endOfSelector(e.query.text, selector); err != nil {
		return 0, "", err
	}
	text, err = Selector(selector.LabelMatchers).portable(selector.Name)
	return end, text, err
}

// apply returns the changed query, whose tree has to be the given one. It returns
// an error when it is not.
func (e *editor) apply(meant parser.Expr) (*Query, error) {
	// Of edits at one position the first one made comes first: a node is put into
	// parentheses before it is looked into.
	slices.SortStableFunc(e.edits, func(a, b edit) int { return cmp.Compare(a.from, b.from) })
	var changed strings.Builder
	at := 0
	for _, edit := range e.edits {
		if edit.from < at {
			return nil, errNotWritten
		}
		changed.WriteString(e.query.text[at:edit.from])
		changed.WriteString(edit.with)
		at = edit.to
	}
	changed.WriteString(e.query.text[at:])
	query, err := parse(changed.String(), e.query.strict)
	if err == nil {
		err = verify(query.tree(), meant)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotWritten, err)
	}
	return query, nil
}

// verify returns an error unless a tree is the one that was meant, with all
// matchers in their order. A text that reads differently must not reach a tier.
func verify(written, meant parser.Expr) error {
	if !slices.EqualFunc(selectorsIn(written), selectorsIn(meant), sameMatchers) {
		return errors.New("a selector would have other matchers")
	}
	if written.String() != meant.String() {
		return errors.New("it would mean something else")
	}
	return nil
}

// sameMatchers reports whether two selectors have the same name and the same
// matchers in the same order.
func sameMatchers(one, other *parser.VectorSelector) bool {
	return one.Name == other.Name && slices.EqualFunc(one.LabelMatchers, other.LabelMatchers, func(a, b *labels.Matcher) bool {
		return a.Name == b.Name && a.Type == b.Type && a.Value == b.Value
	})
}

// tokensFrom returns the tokens of the text behind a position, without comments,
// as far as it can be read. Their positions are those in the whole text.
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

func endOf(token parser.Item) int { return int(token.Pos) + len(token.Val) }

// endOfSelector returns where a selector ends in the text: with its name, or with
// its braces. It returns an error when it is not found there.
func endOfSelector(text string, selector *parser.VectorSelector) (int, error) {
	end := int(selector.PosRange.Start) + len(selector.Name)
	if end > len(text) || text[selector.PosRange.Start:end] != selector.Name {
		return 0, errNotWritten
	}
	opened := false
	for token := range tokensFrom(text, end) {
		switch {
		case token.Typ == parser.RIGHT_BRACE && opened:
			return endOf(token), nil
		case token.Typ == parser.LEFT_BRACE:
			opened = true
		case !opened && selector.Name != "":
			return end, nil
		case !opened:
			return 0, errNotWritten
		}
	}
	if opened || selector.Name == "" {
		return 0, errNotWritten
	}
	return end, nil
}
