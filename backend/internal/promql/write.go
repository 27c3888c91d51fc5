package promql

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

var (
	// errNotWritten is returned where a changed query cannot be written down.
	errNotWritten = errors.New("the rewritten query cannot be written down")
	// errNotUTF8 is returned for a string that PromQL and MetricsQL read
	// differently where it is a name.
	errNotUTF8 = errors.New("a string in it is not valid UTF-8: remove the bytes that are not")
)

// write returns the query with the given tree. It returns errNotUTF8, or
// errNotWritten where the text that it writes has another tree.
func (q *Query) write(meant parser.Expr) (*Query, error) {
	text, err := writeText(meant)
	if err != nil {
		return nil, err
	}
	query, err := parse(text, q.strict)
	if err == nil {
		err = verify(query.tree(), meant)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotWritten, err)
	}
	return query, nil
}

// writeText writes a tree in a form that PromQL and MetricsQL read alike. The
// printer of Prometheus does not: it sorts the matchers of a selector, on whose order
// absent() depends, and other engines read some of its escapes differently. So it
// prints placeholders for selectors, strings and names.
func writeText(root parser.Expr) (string, error) {
	w := &placeholders{}
	printed, err := w.of(root)
	if err != nil {
		return "", err
	}
	return strings.NewReplacer(w.texts...).Replace(printed.String()), nil
}

// placeholders takes the place of what the printer does not write.
type placeholders struct {
	texts []string // placeholders, each followed by what it stands for
}

// add returns a placeholder for a text, and the error.
func (w *placeholders) add(text string, err error) (string, error) {
	name := fmt.Sprintf("tierproxy_%d_", len(w.texts))
	w.texts = append(w.texts, name, text)
	return name, err
}

// of returns a copy of an expression with placeholders.
func (w *placeholders) of(node parser.Expr) (parser.Expr, error) {
	copied, err := rebuild(node, w.of)
	if err != nil {
		return nil, err
	}
	switch copied := copied.(type) {
	case *parser.VectorSelector:
		copied.Name, err = w.add(Selector(copied.LabelMatchers).portable(copied.Name))
		copied.LabelMatchers = nil
	case *parser.StringLiteral:
		name, err := w.add(quote(copied.Val))
		return &parser.VectorSelector{Name: name}, err
	case *parser.AggregateExpr:
		copied.Grouping, err = w.names(copied.Grouping)
	case *parser.BinaryExpr:
		if copied.VectorMatching == nil {
			break
		}
		matching := *copied.VectorMatching
		if matching.MatchingLabels, err = w.names(matching.MatchingLabels); err == nil {
			matching.Include, err = w.names(matching.Include)
		}
		copied.VectorMatching = &matching
	}
	return copied, err
}

func (w *placeholders) names(list []string) (_ []string, err error) {
	written := make([]string, len(list))
	for i, name := range list {
		if written[i], err = w.add(nameText(name)); err != nil {
			return nil, err
		}
	}
	return written, nil
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
		label, err := nameText(matcher.Name)
		if err != nil {
			return "", err
		}
		value, err := quote(matcher.Value)
		if err != nil {
			return "", err
		}
		parts = append(parts, label+matcher.Type.String()+value)
	}
	return name + "{" + strings.Join(parts, ",") + "}", nil
}

// nameText returns the name of a label, quoted where it has to be.
func nameText(name string) (string, error) {
	isNumber := strings.EqualFold(name, "inf") || strings.EqualFold(name, "nan")
	if model.LegacyValidation.IsValidLabelName(name) && !isNumber {
		return name, nil
	}
	return quote(name)
}

// quote returns a string literal that PromQL and MetricsQL read alike, as a value and
// as a name. In names MetricsQL knows the escapes \xNN and \uNNNN only, takes both for
// code points, and any other escaped character for itself. quote returns errNotUTF8
// for a string that is not valid UTF-8.
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
