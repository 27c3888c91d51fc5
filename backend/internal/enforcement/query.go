package enforcement

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// promqlParser accepts what can be confined. Names with letters beyond ASCII
// have to be quoted, as in Prometheus: its lexer, which finds the selectors in
// the text, knows no others.
var promqlParser = parser.NewParser(parser.Options{EnableExperimentalFunctions: true, EnableBinopFillModifiers: true})

const (
	cacheEntries  = 4096
	longestCached = 8 << 10
)

// confinements remembers what follows from a rule and a text alone.
var confinements = newCache()

type cacheKey struct{ rule, text string }

type confined struct {
	text string
	err  error
}

func newCache() *lru.Cache[cacheKey, confined] {
	cache, err := lru.New[cacheKey, confined](cacheEntries)
	if err != nil {
		panic(err) // The size is a constant above zero.
	}
	return cache
}

// Query returns the PromQL text with every selector confined. Everything else
// of the text stays as it is, byte for byte.
//
// It returns an Error with status 400 for a text that cannot be parsed, with the
// position, and for one with info(), which reads series that no selector
// names; and with status 403 for a conflict where the rule says so.
func (r *Rule) Query(text string) (string, error) {
	key := cacheKey{r.key, text}
	if found, ok := confinements.Get(key); ok {
		return found.text, found.err
	}
	var result confined
	result.text, result.err = r.query(text)
	if len(text) <= longestCached {
		confinements.Add(key, result)
	}
	return result.text, result.err
}

// Selector returns a series selector, such as a match[] parameter, confined. It
// returns the errors of Query.
func (r *Rule) Selector(text string) (string, error) {
	if _, err := promqlParser.ParseMetricSelector(text); err != nil {
		return "", r.unparsable("the selector", err)
	}
	return r.Query(text)
}

func (r *Rule) unparsable(what string, err error) error {
	return promapi.BadData("%s cannot be confined to %s: %s", what, r, err)
}

func (r *Rule) query(text string) (string, error) {
	root, err := promqlParser.ParseExpr(text)
	if err != nil {
		return "", r.unparsable("the query", err)
	}
	selectors, err := selectorsOf(root)
	if err != nil {
		return "", r.unparsable("the query", err)
	}
	edits, err := r.edits(text, selectors)
	if err != nil {
		return "", err
	}
	if len(edits) == 0 {
		return text, nil
	}
	changed := apply(text, edits)
	if err := r.verify(changed, root, selectors); err != nil {
		return "", r.unparsable("the query", err)
	}
	return changed, nil
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

// edit replaces a part of the text.
type edit struct {
	from, to int
	text     string
}

// apply returns the text after the edits, which are in the order of the text.
func apply(text string, edits []edit) string {
	var changed strings.Builder
	at := 0
	for _, each := range edits {
		changed.WriteString(text[at:each.from])
		changed.WriteString(each.text)
		at = each.to
	}
	changed.WriteString(text[at:])
	return changed.String()
}

// edits says what is to be changed in the text for each selector. The text is
// changed rather than written anew from the tree, because the printer sorts
// matchers, and absent() minds their order.
func (r *Rule) edits(text string, selectors []*parser.VectorSelector) ([]edit, error) {
	tokens := lex(text)
	var edits []edit
	for _, selector := range selectors {
		what, err := r.treat(selector.LabelMatchers)
		if err != nil {
			return nil, err
		}
		if what == leave {
			continue
		}
		place, found := placeOf(tokens, selector)
		if !found {
			return nil, promapi.BadData("the query cannot be confined to %s: a selector was not found in its text", r)
		}
		edits = append(edits, place.edit(selector.Name, r.matcher(), what))
	}
	return edits, nil
}

// place is where a selector is in the text.
type place struct {
	start int // of the selector
	brace int // behind its opening brace; zero where it has none
	name  int // behind its name
}

// placeOf finds a selector in the text.
func placeOf(tokens []parser.Item, selector *parser.VectorSelector) (place, bool) {
	i := slices.IndexFunc(tokens, func(token parser.Item) bool { return token.Pos == selector.PosRange.Start })
	if i < 0 {
		return place{}, false
	}
	first := tokens[i]
	found := place{start: int(first.Pos)}
	if first.Typ == parser.LEFT_BRACE {
		found.brace = int(first.Pos) + len(first.Val)
		return found, selector.Name == ""
	}
	found.name = int(first.Pos) + len(first.Val)
	if i+1 < len(tokens) && tokens[i+1].Typ == parser.LEFT_BRACE {
		found.brace = int(tokens[i+1].Pos) + len(tokens[i+1].Val)
	}
	return found, first.Val == selector.Name
}

// edit puts the matcher into the selector. A name in front of the braces goes
// inside when there has to be a second matcher on the name.
func (p place) edit(name, matcher string, what treatment) edit {
	from := p.brace
	if what == empty {
		matcher = nothing
		if name != "" {
			matcher = fmt.Sprintf("__name__=%q,%s", name, nothing)
			from = p.start
		}
	}
	switch {
	case p.brace == 0 && what == empty:
		return edit{p.start, p.name, "{" + matcher + "}"}
	case p.brace == 0:
		return edit{p.name, p.name, "{" + matcher + "}"}
	case from == p.start:
		return edit{from, p.brace, "{" + matcher + ","}
	}
	return edit{from, p.brace, matcher + ","}
}

// lex splits the text into its tokens, without comments.
func lex(text string) []parser.Item {
	lexer := parser.Lex(text)
	var tokens []parser.Item
	for {
		var token parser.Item
		lexer.NextItem(&token)
		switch token.Typ {
		case parser.EOF, parser.ERROR:
			return tokens
		case parser.COMMENT:
		default:
			tokens = append(tokens, token)
		}
	}
}

// verify reads the changed text as a server will: every selector has to be
// confined, and everything else has to be what it was. It changes the tree of
// neither.
func (r *Rule) verify(changed string, root parser.Expr, before []*parser.VectorSelector) error {
	again, err := promqlParser.ParseExpr(changed)
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
		if !r.holds(selector.LabelMatchers) {
			return fmt.Errorf("the selector %s stayed unconfined", before[i])
		}
		if !sameMatchers(r.withoutOwn(before[i].LabelMatchers), r.withoutOwn(selector.LabelMatchers)) {
			return fmt.Errorf("the selector %s got other matchers", before[i])
		}
		selector.Name, selector.LabelMatchers = before[i].Name, before[i].LabelMatchers
	}
	if again.String() != root.String() {
		return errors.New("its confined form means something else")
	}
	return nil
}

// withoutOwn leaves out the matchers that the rule itself adds.
func (r *Rule) withoutOwn(matchers []*labels.Matcher) []string {
	var kept []string
	for _, matcher := range matchers {
		isOwn := matcher.Name == r.label && matcher.Type == labels.MatchRegexp && matcher.Value == r.pattern
		if !isOwn && matcher.String() != nothing {
			kept = append(kept, matcher.String())
		}
	}
	return kept
}

// sameMatchers compares matchers. That of the name may have moved.
func sameMatchers(one, other []string) bool {
	slices.Sort(one)
	slices.Sort(other)
	return slices.Equal(one, other)
}
