// Package promql is the only place that parses PromQL. A Query knows what its
// text reads, and writes it anew for a tier: with labels, with fixed times,
// confined to some series. The package also bounds texts before they are parsed.
//
// It does no I/O and imports nothing of this project.
package promql

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
	"weak"

	"github.com/prometheus/prometheus/promql/parser"
)

// The two ways in which texts are parsed.
var (
	// lenientParser accepts everything that some tier may accept: a query that is
	// only valid behind a feature flag still has an extent.
	lenientParser = parser.NewParser(parser.Options{
		EnableExperimentalFunctions: true, EnableBinopFillModifiers: true, EnableUnquotedUTF8Names: true,
	})
	// strictParser wants quotes around names with dots or letters beyond ASCII, as
	// Prometheus does by default. So does the lexer, which knows no others.
	strictParser = parser.NewParser(parser.Options{EnableExperimentalFunctions: true, EnableBinopFillModifiers: true})
)

// Query is a parsed PromQL text. It never changes, and is safe for concurrent
// use. Methods that change a query return another one, whose text is written anew,
// or the query itself where nothing is to be changed.
type Query struct {
	text   string
	strict bool
	facts  facts
	// root is the tree, until the garbage collector takes it. The cache does not hold
	// trees, since the size of their compiled regular expressions is not known.
	root atomic.Pointer[weak.Pointer[tree]]
}

// tree is the tree of a query with what was taken from it.
type tree struct {
	root parser.Expr
	// selectors returns those of the query: see Query.Selectors.
	selectors func() []Selector
}

// Parse returns the query of a text. It caches queries, and also errors.
//
// It returns the error of Prometheus' parser for a text that is not PromQL. Such a
// text may still be valid in a tier that is newer or speaks another dialect. See
// ErrorTexts for all errors in it.
func Parse(text string) (*Query, error) { return parse(text, false) }

// ParseStrictly is Parse for names as Prometheus has them by default: those with
// dots or letters beyond ASCII must be quoted.
func ParseStrictly(text string) (*Query, error) { return parse(text, true) }

type parsed struct {
	query *Query
	err   error
}

func parse(text string, strict bool) (*Query, error) {
	key := cacheKey{kind: queryOf, text: text, strict: strict}
	if known, ok := lookUp[parsed](key); ok {
		return known.query, known.err
	}
	key.text = strings.Clone(text) // It may be a part of a whole request.
	outcome := cached(key, func() (parsed, int) {
		query := &Query{text: key.text, strict: strict}
		root, err := query.parser().ParseExpr(query.text)
		if err != nil {
			return parsed{err: err}, sizeOfError(err)
		}
		query.keep(root)
		query.facts = factsOf(root)
		return parsed{query: query}, sizeOfError(query.facts.inseparable)
	})
	return outcome.query, outcome.err
}

func (q *Query) parser() parser.Parser {
	if q.strict {
		return strictParser
	}
	return lenientParser
}

func (q *Query) keep(root parser.Expr) *tree {
	kept := &tree{root: root, selectors: sync.OnceValue(func() []Selector { return allSelectors(root) })}
	pointer := weak.Make(kept)
	q.root.Store(&pointer)
	return kept
}

// tree returns the tree of the query, which must not be changed.
func (q *Query) tree() parser.Expr { return q.kept().root }

func (q *Query) kept() *tree {
	if known := q.root.Load().Value(); known != nil {
		return known
	}
	root, err := q.parser().ParseExpr(q.text)
	if err != nil {
		panic(fmt.Sprintf("a text that was parsed before is no PromQL any more: %s", err))
	}
	return q.keep(root)
}

// ErrorTexts returns the texts of the first errors in an error of Parse, with their
// positions. limit is how many it returns at most.
func ErrorTexts(err error, limit int) []string {
	list, is := errors.AsType[parser.ParseErrors](err)
	if !is {
		return []string{err.Error()}
	}
	var texts []string
	for _, parseError := range list[:min(len(list), limit)] {
		texts = append(texts, parseError.Error())
	}
	return texts
}

// sizeOfError returns how many bytes an error takes; zero for none.
func sizeOfError(err error) (size int) {
	list, is := errors.AsType[parser.ParseErrors](err)
	if !is && err != nil {
		return len(err.Error())
	}
	for _, parseError := range list {
		size += len(parseError.Err.Error()) + int(unsafe.Sizeof(parseError))
	}
	return size
}

// String returns the text of the query, as it was written.
func (q *Query) String() string { return q.text }
