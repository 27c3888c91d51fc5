package enforcement

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

// write writes the text anew, its selectors with the given matchers.
//
// Other engines read PromQL with lexers of their own. MetricsQL, for example,
// ends a comment at a line feed only, where PromQL also ends it at a carriage
// return. So only tokens are written, and each in a form that both read alike.
// The printer of the parser is not used: it sorts matchers, and absent() depends
// on their order.
func write(text string, selectors []*parser.VectorSelector, matchers [][]*labels.Matcher) (string, error) {
	tokens := lex(text)
	var out writer
	next := 0 // the selector that comes next
	for i := 0; i < len(tokens); i++ {
		token := tokens[i]
		if next == len(selectors) || token.Pos != selectors[next].PosRange.Start {
			written, err := canonical(token)
			if err != nil {
				return "", err
			}
			out.token(token, written)
			continue
		}
		written, err := selectorText(selectors[next].Name, matchers[next])
		if err != nil {
			return "", err
		}
		out.token(token, written)
		if i = lastOfSelector(tokens, i); i < 0 {
			return "", errors.New("a selector was not found in its text")
		}
		out.end = endOf(tokens[i])
		next++
	}
	if next != len(selectors) {
		return "", errors.New("a selector was not found in its text")
	}
	return out.text.String(), nil
}

// writer joins tokens. Where the original text had anything between two tokens,
// it writes one space. It also separates what another lexer could take for one
// token.
type writer struct {
	text   strings.Builder
	end    int  // of the last token in the original text
	isWord bool // whether the last token could be one with the next
}

func (w *writer) token(token parser.Item, written string) {
	isWord := !slices.Contains(standalone, token.Typ)
	if w.text.Len() > 0 && (int(token.Pos) > w.end || (w.isWord && isWord)) {
		w.text.WriteByte(' ')
	}
	w.text.WriteString(written)
	w.end, w.isWord = endOf(token), isWord
}

// standalone are the tokens of one character that no lexer joins with others.
var standalone = []parser.ItemType{
	parser.LEFT_PAREN, parser.RIGHT_PAREN, parser.LEFT_BRACKET, parser.RIGHT_BRACKET, parser.COMMA, parser.COLON, parser.AT,
}

func endOf(token parser.Item) int { return int(token.Pos) + len(token.Val) }

// lex splits the text into its tokens, without comments. The text must be one
// that the parser accepts.
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

// lastOfSelector returns the index of the last token of the selector that begins
// at the given one, or -1.
func lastOfSelector(tokens []parser.Item, first int) int {
	brace := first
	if tokens[first].Typ != parser.LEFT_BRACE {
		brace++
	}
	if brace == len(tokens) || tokens[brace].Typ != parser.LEFT_BRACE {
		return first
	}
	length := slices.IndexFunc(tokens[brace:], func(token parser.Item) bool { return token.Typ == parser.RIGHT_BRACE })
	if length < 0 {
		return -1
	}
	return brace + length
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

// selectorText writes a selector. The matchers keep their order. name is the
// metric name in front of the braces, or empty.
func selectorText(name string, matchers []*labels.Matcher) (string, error) {
	parts := make([]string, 0, len(matchers))
	for i, matcher := range matchers {
		if name != "" && i == len(matchers)-1 {
			break // The parser adds the matcher of this name, as the last one.
		}
		part, err := matcherText(matcher)
		if err != nil {
			return "", err
		}
		parts = append(parts, part)
	}
	return name + "{" + strings.Join(parts, ",") + "}", nil
}

func matcherText(matcher *labels.Matcher) (string, error) {
	name, err := quotedName(matcher.Name)
	if err != nil {
		return "", err
	}
	value, err := quote(matcher.Value)
	return name + matcher.Type.String() + value, err
}

// quotedName writes the name of a label into a selector.
func quotedName(name string) (string, error) {
	if model.LegacyValidation.IsValidLabelName(name) {
		return name, nil
	}
	return quote(name)
}

// quote writes a string literal that PromQL and MetricsQL read alike, as a value
// and as a name: of names MetricsQL knows the escapes \xNN and \uNNNN only, takes
// both for code points, and any other escaped character for itself. It returns
// an error for a string that is not valid UTF-8.
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
