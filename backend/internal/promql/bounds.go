package promql

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/util/strutil"
)

// The bounds beside the length. What is costly grows faster than the text, so
// the length alone bounds neither the time nor the memory that a parser takes.
const (
	// MaxNesting is how deep parentheses, brackets and braces may be nested.
	// Parsers recurse, and Go ends the process when a stack overflows.
	MaxNesting = 200
	// MaxOperators is how many operators a text may have. The time that
	// Prometheus' parser takes grows with the square of their number: some 10 ms
	// for 2,000.
	MaxOperators = 2000
	// MaxExpansion is by how many instructions the regular expressions of a text
	// may be larger, once they are compiled, than they are in characters. Compiling
	// takes up to 100 bytes and some 300 ns an instruction. Only repetitions such
	// as x{1000} have more instructions than characters.
	MaxExpansion = 10_000
	// MaxClasses is how many wide character classes, such as [^/] or \pL, and
	// ranges that ignore case the regular expressions of a text may have. Reading
	// one goes through all its characters, which takes 1 to 2 ms, several times a query.
	MaxClasses = 50

	// MaxArguments is how many commas a text may have outside of braces, and
	// MaxList how many one list of labels or arguments may have. The parser
	// compares the labels of on() with those of group_left() pairwise, and lists all
	// errors.
	MaxArguments = 2000
	MaxList      = 100
	// MaxCopies bounds the parts of concatenations in regular expressions times the
	// literal characters of the concatenation: Prometheus copies up to 256 alternatives
	// of what precedes a part.
	MaxCopies = 250_000

	// mostInstructions is more than any text that is accepted has.
	mostInstructions = 1 << 30

	// wideClass is the number of characters from which on a class is wide.
	wideClass = 4096
)

// Check returns an error for texts that together exceed a bound: maxLength
// bytes or one of the constants of this package. The error says what to change.
// isCostly reports whether they are within the bounds and still take many times
// as long to parse as what people write.
//
// A single text that is neither too large nor costly is remembered, because panels send the same texts
// again and again.
//
// Check takes time in proportion to the length, and compiles nothing. A text
// that no parser accepts may pass.
func Check(maxLength int, texts ...string) (isCostly bool, err error) {
	length := 0
	for _, text := range texts {
		length += len(text)
	}
	if length > maxLength {
		return false, fmt.Errorf("%d bytes are too long: at most %d are accepted (query.max_length)", length, maxLength)
	}
	if len(texts) != 1 {
		isCostly, err = scanAll(texts)
		return err == nil && (length > costlyLength || isCostly), err
	}
	key := cacheKey{kind: checked, text: texts[0]}
	if _, isKnown := lookUp[bool](key); isKnown {
		return false, nil
	}
	isCostly, err = scanAll(texts)
	if isCostly = isCostly || length > costlyLength; err == nil && !isCostly {
		key.text = strings.Clone(key.text) // It may be a part of a whole request.
		cached(key, func() (bool, int) { return true, 0 })
	}
	return err == nil && isCostly, err
}

// scanAll returns an error for texts that together exceed a bound, and whether they are costly.
func scanAll(texts []string) (isCostly bool, err error) {
	var s scanner
	for _, text := range texts {
		if err := s.scan(text); err != nil {
			return false, err
		}
	}
	return s.isCostly(), nil
}

// costlyLength is the length, in bytes, from which on a text is costly: it may
// take some 10 ms to parse. costlyShare is the share of a bound that makes it so.
const (
	costlyLength = 8 << 10
	costlyShare  = 10
)

func (s *scanner) isCostly() bool {
	return s.operators > MaxOperators/costlyShare || s.ranges > MaxOperators/costlyShare || s.arguments > MaxArguments/costlyShare ||
		s.expansion > MaxExpansion/costlyShare || s.classes > MaxClasses/costlyShare || s.copies > MaxCopies/costlyShare
}

// scanner counts what makes texts costly. It knows strings and comments and
// little else of the grammar, so that it cannot disagree with a parser about
// where one ends. Where it is in doubt it counts.
type scanner struct {
	operators, ranges, arguments, expansion, classes, copies int
}

func (s *scanner) scan(text string) error {
	depth, braces, listed := 0, 0, 0
	afterRegexpOperator := false
	for i := 0; i < len(text); {
		c, rest := text[i], text[i:]
		size := 1
		isRegexpOperator := false
		switch {
		case c == '#':
			// PromQL ends a comment at either character of a line break.
			if size = strings.IndexAny(rest, "\r\n"); size < 0 {
				return nil
			}
			i += size
			continue
		case strings.IndexByte(" \t\r\n", c) >= 0:
			i++
			continue
		case c == '"' || c == '\'' || c == '`':
			size = lengthOfString(rest)
			if afterRegexpOperator {
				// A literal that is none is left to the parser, which refuses it.
				if pattern, err := strutil.Unquote(rest[:size]); err == nil {
					s.pattern(pattern)
				}
			}
		case strings.IndexByte("([{", c) >= 0:
			depth++
			listed = 0
			if c == '{' {
				braces++
			}
			if c == '[' {
				s.ranges++
			}
		case strings.IndexByte(")]}", c) >= 0:
			depth--
			if c == '}' {
				braces--
			}
		case c == ',' && braces <= 0:
			s.arguments++
			if listed++; listed > MaxList {
				return fmt.Errorf("a list has more than %d labels or arguments: list fewer", MaxList)
			}
		case isWordByte(c):
			for size < len(rest) && isWordByte(rest[size]) {
				size++
			}
			if slices.Contains(operatorWords, strings.ToLower(rest[:size])) {
				s.operators++
			}
		case strings.HasPrefix(rest, "=~"), strings.HasPrefix(rest, "!~"):
			size, isRegexpOperator = 2, true
		case strings.HasPrefix(rest, "==") || (strings.HasPrefix(rest, "!=") && braces <= 0):
			size = 2
			s.operators++
		case strings.IndexByte("+-*/%^<>", c) >= 0:
			s.operators++
		}
		afterRegexpOperator = isRegexpOperator
		if depth > MaxNesting {
			return fmt.Errorf("parentheses, brackets and braces are nested deeper than %d: nest less, or use recording rules", MaxNesting)
		}
		if err := s.exceeded(); err != nil {
			return err
		}
		i += size
	}
	return nil
}

func (s *scanner) exceeded() error {
	switch {
	case s.operators > MaxOperators:
		return fmt.Errorf("there are more than %d operators: split the query, or select the series by a regular expression", MaxOperators)
	case s.ranges > MaxOperators:
		return fmt.Errorf("there are more than %d ranges: split the query, or select the series by a regular expression", MaxOperators)
	case s.arguments > MaxArguments:
		return fmt.Errorf("there are more than %d commas outside of braces: list fewer labels or arguments", MaxArguments)
	case s.copies > MaxCopies:
		return errors.New("the regular expressions have too many parts for their length: use fewer groups")
	case s.expansion > MaxExpansion:
		return fmt.Errorf("the regular expressions are too large: repetitions such as x{1000} may add %d characters in all", MaxExpansion)
	case s.classes > MaxClasses:
		return fmt.Errorf("the regular expressions have more than %d wide character classes such as [^/] or \\pL, or ranges that ignore case: use .+ in their place", MaxClasses)
	}
	return nil
}

// CheckRegexps returns an error for regular expressions that together exceed
// MaxExpansion, MaxClasses or MaxCopies. It compiles nothing.
func CheckRegexps(patterns ...string) error {
	var s scanner
	for _, pattern := range patterns {
		s.pattern(pattern)
		if err := s.exceeded(); err != nil {
			return err
		}
	}
	return nil
}

// pattern counts a regular expression. One that is none is left to the parser, which
// refuses it before it compiles anything.
func (s *scanner) pattern(pattern string) {
	s.classes += costlyClasses(pattern)
	if s.classes > MaxClasses {
		return // To parse it may be too much already.
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl|syntax.DotNL)
	if invalid, is := errors.AsType[*syntax.Error](err); is && (invalid.Code == syntax.ErrLarge || invalid.Code == syntax.ErrNestingDepth) {
		s.expansion = MaxExpansion + 1
	}
	if err != nil {
		return
	}
	size := sizeOf(parsed)
	s.expansion += max(size.instructions-len(pattern), 0)
	s.classes += size.wideClasses
	s.copies = min(s.copies+size.copies, MaxCopies+1)
}

// costlyClasses counts what stands for many characters: Unicode classes, and
// ranges where case is ignored. It counts every hyphen of an expression that
// may have such ranges.
func costlyClasses(pattern string) int {
	count := strings.Count(pattern, `\p`) + strings.Count(pattern, `\P`)
	if strings.Contains(pattern, "(?") && strings.Contains(pattern, "[") {
		count += strings.Count(pattern, "-")
	}
	return count
}

// size is what a regular expression costs.
type size struct {
	// instructions are those that it has once it is compiled.
	instructions int
	// wideClasses are its character classes of at least wideClass characters.
	wideClasses int
	// longest is how many literal characters a match has at most.
	longest int
	// copies is what MaxCopies bounds.
	copies int
}

// sizeOf returns what an expression costs. Numbers stop at mostInstructions.
func sizeOf(expression *syntax.Regexp) size {
	total := size{instructions: 1}
	for _, sub := range expression.Sub {
		part := sizeOf(sub)
		total.instructions += part.instructions
		total.wideClasses += part.wideClasses
		total.copies += part.copies
		if expression.Op == syntax.OpConcat {
			total.longest += part.longest
		} else {
			total.longest = max(total.longest, part.longest)
		}
	}
	switch expression.Op {
	case syntax.OpLiteral:
		total.instructions, total.longest = len(expression.Rune), len(expression.Rune)
	case syntax.OpCharClass:
		total.longest = 1
		total.instructions += len(expression.Rune) / 8 // A range takes eight bytes, an instruction some 40.
		characters := 0
		for i := 0; i+1 < len(expression.Rune); i += 2 {
			characters += int(expression.Rune[i+1]-expression.Rune[i]) + 1
		}
		if characters >= wideClass {
			total.wideClasses++
		}
	case syntax.OpCapture:
		total.instructions++
	case syntax.OpConcat:
		total.copies += len(expression.Sub) * total.longest
	case syntax.OpRepeat:
		times := expression.Max
		if times < 0 {
			times = expression.Min + 1
		}
		total.instructions = 1 + (total.instructions-1)*max(times, 1)
		if expression.Max != expression.Min {
			total.instructions += times // Each of them may be left out.
		}
	default:
	}
	total.instructions, total.copies = min(total.instructions, mostInstructions), min(total.copies, mostInstructions)
	return total
}

// lengthOfString returns the length of the string literal that text begins
// with, in bytes, quotes included. One that does not end takes all of the text.
func lengthOfString(text string) int {
	quote := text[0]
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == quote:
			return i + 1
		case text[i] == '\\' && quote != '`':
			i++
		}
	}
	return len(text)
}

// operatorWords are the operators that are written as words.
var operatorWords = []string{"and", "or", "unless", "atan2"}

func isWordByte(c byte) bool {
	return c == '_' || c == ':' || c >= 0x80 || ('0' <= c && c <= '9') || ('a' <= c|0x20 && c|0x20 <= 'z')
}
