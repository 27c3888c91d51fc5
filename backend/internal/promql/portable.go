package promql

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/strutil"
)

// errNotUTF8 is returned for a string that PromQL and MetricsQL read
// differently where it is a name.
var errNotUTF8 = errors.New("a string in it is not valid UTF-8: remove the bytes that are not")

// Confined returns the query with other matchers in every selector: those that
// confine returns for the present ones, in front of which it may put more. It returns
// the errors of confine, and one for info(), which reads series that no selector names.
//
// The text is written anew from its tokens, without comments, control characters
// and raw strings. Other engines read PromQL with lexers of their own: MetricsQL,
// for example, ends a comment at a line feed only, where PromQL also ends it at a
// carriage return. So each token has a form that both read alike. Where there was
// anything between two tokens, or another lexer could take them for one, there is one
// space.
func (q *Query) Confined(confine func(Selector) (Selector, error)) (*Query, error) {
	meant := clone(q.tree())
	if callsInfo(meant) {
		return nil, errors.New("info() reads series that no selector names: join with the info metric by group_left instead")
	}
	selectors := selectorsIn(meant)
	for _, selector := range selectors {
		var err error
		if selector.LabelMatchers, err = confine(selector.LabelMatchers); err != nil {
			return nil, err
		}
	}
	edit := editor{query: q}
	at, isWord := 0, false // where the last token ends, and whether it could be one with the next
	for token := range tokensFrom(q.text, 0) {
		if int(token.Pos) < at {
			continue // It belongs to the selector before.
		}
		separator, wasWord := "", isWord
		isWord = !slices.Contains(standalone, token.Typ)
		if at > 0 && (int(token.Pos) > at || (wasWord && isWord)) {
			separator = " "
		}
		end := endOf(token)
		written, err := canonical(token)
		if len(selectors) > 0 && token.Pos == selectors[0].PosRange.Start {
			end, written, err = edit.rewritten(selectors[0])
			selectors = selectors[1:]
		}
		if err != nil {
			return nil, err
		}
		edit.replace(at, end, separator+written)
		at = end
	}
	edit.replace(at, len(q.text), "")
	return edit.apply(meant)
}

func callsInfo(root parser.Expr) bool {
	found := false
	parser.Inspect(root, func(node parser.Node, _ []parser.Node) error {
		call, is := node.(*parser.Call)
		found = found || (is && call.Func.Name == "info")
		return nil
	})
	return found
}

// standalone are the tokens of one character that no lexer joins with others.
var standalone = []parser.ItemType{
	parser.LEFT_PAREN, parser.RIGHT_PAREN, parser.LEFT_BRACKET, parser.RIGHT_BRACKET, parser.COMMA, parser.COLON, parser.AT,
}

// plainNumber matches the numbers that every lexer reads alike.
var plainNumber = regexp.MustCompile(`^(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$`)

// canonical returns a token outside of selectors in the form in which it is
// written.
func canonical(token parser.Item) (string, error) {
	switch token.Typ {
	case parser.STRING:
		value, err := strutil.Unquote(token.Val)
		if err != nil {
			return "", fmt.Errorf("a string in it cannot be read: %w", err)
		}
		return quote(value)
	case parser.NUMBER:
		// As the parser reads it: integers with a prefix, or floating point.
		if plainNumber.MatchString(token.Val) {
			return token.Val, nil
		}
		if number, err := strconv.ParseInt(token.Val, 0, 64); err == nil {
			return strconv.FormatInt(number, 10), nil
		}
		number, err := strconv.ParseFloat(token.Val, 64)
		if err != nil {
			return "", fmt.Errorf("a number in it cannot be read: %w", err)
		}
		return strings.TrimPrefix(strconv.FormatFloat(number, 'g', -1, 64), "+"), nil
	default:
		return token.Val, nil
	}
}

// Portable returns the selector in a form that PromQL and MetricsQL read alike, with
// its matchers in their order. It returns an error for a string that is not valid
// UTF-8.
func (s Selector) Portable() (string, error) { return s.portable("") }

// portable is Portable with the metric name in front of the braces, or an empty one.
func (s Selector) portable(name string) (string, error) {
	if name != "" && len(s) > 0 {
		s = s[:len(s)-1] // The parser adds the matcher of this name, as the last one.
	}
	if len(s) == 0 && name != "" {
		return name, nil
	}
	parts := make([]string, 0, len(s))
	for _, matcher := range s {
		part, err := matcherText(matcher)
		if err != nil {
			return "", err
		}
		parts = append(parts, part)
	}
	return name + "{" + strings.Join(parts, ",") + "}", nil
}

func matcherText(matcher *labels.Matcher) (string, error) {
	name := matcher.Name
	var err error
	if !model.LegacyValidation.IsValidLabelName(name) {
		if name, err = quote(name); err != nil {
			return "", err
		}
	}
	value, err := quote(matcher.Value)
	return name + matcher.Type.String() + value, err
}

// quote returns a string literal that PromQL and MetricsQL read alike, as a value and
// as a name. In names MetricsQL knows the escapes \xNN and \uNNNN only, takes both for
// code points, and any other escaped character for itself. quote returns an error for
// a string that is not valid UTF-8.
func quote(value string) (string, error) {
	if !utf8.ValidString(value) {
		return "", errNotUTF8
	}
	var quoted strings.Builder
	quoted.WriteByte('"')
	for _, character := range value {
		switch {
		case character == '"' || character == '\\':
			quoted.WriteByte('\\')
			quoted.WriteRune(character)
		case character < ' ' || character == '\x7f':
			fmt.Fprintf(&quoted, `\x%02x`, character)
		case character == utf8.RuneError || (character <= 0xffff && !unicode.IsPrint(character)):
			fmt.Fprintf(&quoted, `\u%04x`, character) // Prometheus refuses U+FFFD in a literal.
		default:
			quoted.WriteRune(character)
		}
	}
	quoted.WriteByte('"')
	return quoted.String(), nil
}
