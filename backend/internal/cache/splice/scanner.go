package splice

import (
	"bytes"
)

// deepest bounds the nesting of what is skipped.
const deepest = 64

// scanner reads just enough JSON to find where values begin and end. Strings
// are known as such: what stands in a label is never taken for structure.
type scanner struct {
	data     []byte
	position int
	depth    int
}

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

// object reads an object and calls member for each of its names; member has to
// read the value. null is taken for an empty one.
func (s *scanner) object(member func(name string) error) error {
	if s.peek() == 'n' {
		return s.skip()
	}
	if err := s.expect('{'); err != nil {
		return err
	}
	if s.peek() == '}' {
		s.position++
		return nil
	}
	for {
		var name string
		if err := s.text(&name); err != nil {
			return err
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
		if s.peek() == '}' {
			s.position++
			return nil
		}
		if err := s.comma(); err != nil {
			return err
		}
	}
}

// list reads a list and calls element for each of its elements.
func (s *scanner) list(element func() error) error {
	if s.peek() == 'n' {
		return s.skip()
	}
	if err := s.expect('['); err != nil {
		return err
	}
	if s.peek() == ']' {
		s.position++
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if s.peek() == ']' {
			s.position++
			return nil
		}
		if err := s.comma(); err != nil {
			return err
		}
	}
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
		return s.members()
	case 'n':
		return s.literal("null")
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	}
	return s.number()
}

// members skips an object without reading its names.
func (s *scanner) members() error {
	s.position++
	if s.peek() == '}' {
		s.position++
		return nil
	}
	for {
		if _, err := s.string(); err != nil {
			return err
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		if err := s.skip(); err != nil {
			return err
		}
		if s.peek() == '}' {
			s.position++
			return nil
		}
		if err := s.comma(); err != nil {
			return err
		}
	}
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
