package splice

import (
	"bytes"
	"encoding/json"
)

// deepest bounds the nesting of what is skipped.
const deepest = 64

// scanner reads just enough JSON to find where values begin and end. Strings
// are known as such: what stands in a label is never taken for structure.
type scanner struct {
	data     []byte
	position int
	depth    int
	// member is where the name of the member begins that object read last.
	member int
	// acquire ends reading when the query has ended; nil where little is read.
	acquire Acquire
	count   int // of the elements of all sequences
}

// checkEvery is after how many elements a scanner looks whether the query has ended.
const checkEvery = 1024

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// here skips white space and returns the position.
func (s *scanner) here() int {
	for s.position < len(s.data) && isSpace(s.data[s.position]) {
		s.position++
	}
	return s.position
}

// peek returns the next byte that is no white space; zero at the end.
func (s *scanner) peek() byte {
	if s.here() == len(s.data) {
		return 0
	}
	return s.data[s.position]
}

func (s *scanner) expect(c byte) error {
	if s.peek() != c {
		return malformed("expected %q at byte %d", c, s.position)
	}
	s.position++
	return nil
}

func (s *scanner) comma() error { return s.expect(',') }

// end expects that nothing follows.
func (s *scanner) end() error {
	if s.here() != len(s.data) {
		return malformed("something follows at byte %d", s.position)
	}
	return nil
}

// string reads a string and returns it with its quotes.
func (s *scanner) string() ([]byte, error) {
	start := s.here()
	if err := s.expect('"'); err != nil {
		return nil, err
	}
	for s.position < len(s.data) {
		offset := bytes.IndexByte(s.data[s.position:], '"')
		if offset < 0 {
			break
		}
		end := s.position + offset
		// An escaped quote has an odd number of backslashes before it.
		backslashes := 0
		for end-backslashes-1 >= s.position && s.data[end-backslashes-1] == '\\' {
			backslashes++
		}
		s.position = end + 1
		if backslashes%2 == 0 {
			return s.data[start:s.position], nil
		}
	}
	return nil, malformed("a string does not end")
}

// sequence reads what stands between two brackets and calls element for every part
// of it; element has to read that. null is taken for an empty sequence.
func (s *scanner) sequence(begin, end byte, element func() error) error {
	if s.peek() == 'n' {
		return s.literal("null")
	}
	if err := s.expect(begin); err != nil {
		return err
	}
	if s.peek() == end {
		s.position++
		return nil
	}
	for {
		if s.count++; s.count%checkEvery == 0 && s.acquire != nil {
			if err := s.acquire(0); err != nil {
				return err
			}
		}
		if err := element(); err != nil {
			return err
		}
		if s.peek() == end {
			s.position++
			return nil
		}
		if err := s.comma(); err != nil {
			return err
		}
	}
}

// list reads a list and calls element for every element.
func (s *scanner) list(element func() error) error { return s.sequence('[', ']', element) }

// object reads an object and calls member with the name of every member; member has to
// read the value.
func (s *scanner) object(member func(name []byte) error) error {
	return s.sequence('{', '}', func() error {
		s.member = s.here()
		raw, err := s.string()
		if err != nil {
			return err
		}
		name, err := unquoted(raw)
		if err != nil {
			return err
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		return member(name)
	})
}

// skip reads any value.
func (s *scanner) skip() error {
	switch c := s.peek(); c {
	case '"':
		_, err := s.string()
		return err
	case '{', '[':
		s.depth++
		defer func() { s.depth-- }()
		if s.depth > deepest {
			return malformed("it is nested deeper than %d levels", deepest)
		}
		if c == '[' {
			return s.list(s.skip)
		}
		return s.object(func([]byte) error { return s.skip() })
	case 'n':
		return s.literal("null")
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	}
	return s.number()
}

// value skips a value and returns its JSON.
func (s *scanner) value() ([]byte, error) {
	start := s.here()
	err := s.skip()
	return s.data[start:s.position], err
}

// text reads one text.
func (s *scanner) text(into *string) error {
	raw, err := s.string()
	if err != nil {
		return err
	}
	text, err := unquoted(raw)
	*into = string(text)
	return err
}

// texts reads a list of texts; null is an empty one. Its memory is acquired.
func (s *scanner) texts(into *[]string) error {
	raw, err := s.value()
	if err == nil {
		err = s.acquire(textFactor * int64(len(raw)))
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return malformed("%s", err)
	}
	return nil
}

// textFactor is how much more memory a list of short texts takes than its JSON.
const textFactor = 16

// unquoted returns what a string says, without copying it where nothing in it
// is escaped.
func unquoted(raw []byte) ([]byte, error) {
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner, nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, malformed("%s", err)
	}
	return []byte(text), nil
}

func (s *scanner) literal(text string) error {
	if !bytes.HasPrefix(s.data[s.position:], []byte(text)) {
		return malformed("no JSON at byte %d", s.position)
	}
	s.position += len(text)
	return nil
}

func (s *scanner) number() error {
	start := s.position
	for s.position < len(s.data) && isNumber(s.data[s.position]) {
		s.position++
	}
	if s.position == start {
		return malformed("no JSON at byte %d", start)
	}
	return nil
}

func isNumber(c byte) bool {
	return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
}
