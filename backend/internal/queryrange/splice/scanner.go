package splice

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
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

// series reads one element of the result.
func (s *scanner) series(m *Matrix) error {
	var found series
	err := s.object(func(name string) (err error) {
		switch name {
		case "metric":
			start := s.here()
			found.key.start = len(m.keys)
			if err := s.labels(m); err != nil {
				return err
			}
			found.key.end = len(m.keys)
			found.metric = s.data[start:s.position]
		case "values":
			found.values, found.floats, err = s.samples()
		case "histograms":
			found.histograms, found.natives, err = s.samples()
		default:
			return malformed("a series has the member %q", name)
		}
		return err
	})
	if err != nil {
		return err
	}
	if found.metric == nil {
		return malformed("a series has no labels")
	}
	m.series = append(m.series, found)
	return nil
}

// samples reads a list of samples and returns it without its brackets.
func (s *scanner) samples() (list []byte, count int, err error) {
	if err := s.expect('['); err != nil {
		return nil, 0, err
	}
	start := s.here()
	if s.peek() == ']' {
		s.position++
		return nil, 0, nil
	}
	for {
		end, err := s.sample()
		if err != nil {
			return nil, 0, err
		}
		count++
		if s.peek() == ']' {
			s.position++
			return s.data[start:end], count, nil
		}
		if err := s.comma(); err != nil {
			return nil, 0, err
		}
	}
}

// sample reads one sample, a list of a timestamp and a value, and returns where
// it ends.
func (s *scanner) sample() (end int, err error) {
	if end := s.floatSample(); end > 0 {
		s.position = end
		return end, nil
	}
	if err := s.expect('['); err != nil {
		return 0, err
	}
	s.here()
	if err := s.number(); err != nil {
		return 0, err
	}
	if err := s.comma(); err != nil {
		return 0, err
	}
	if c := s.peek(); c != '"' && c != '{' {
		return 0, malformed("a sample is neither a number nor a histogram at byte %d", s.position)
	}
	if err := s.skip(); err != nil {
		return 0, err
	}
	err = s.expect(']')
	return s.position, err
}

// floatSample returns the end of a sample in the form in which Prometheus writes
// a float, [1435781451.781,"1.5"]; zero for anything else.
func (s *scanner) floatSample() int {
	data, i := s.data, s.position
	if i >= len(data) || data[i] != '[' {
		return 0
	}
	i++
	for i < len(data) && isNumber(data[i]) {
		i++
	}
	if i+1 >= len(data) || data[i] != ',' || data[i+1] != '"' || data[i-1] == '[' {
		return 0
	}
	for i += 2; i < len(data) && data[i] != '"'; i++ {
		if c := data[i]; c == '\\' || c == '[' || c == ']' {
			return 0
		}
	}
	if i+1 >= len(data) || data[i+1] != ']' {
		return 0
	}
	return i + 2
}

// timestamp reads the beginning of a sample and returns its time in
// milliseconds.
func (s *scanner) timestamp() (int64, error) {
	if err := s.expect('['); err != nil {
		return 0, err
	}
	start := s.here()
	if err := s.number(); err != nil {
		return 0, err
	}
	return milliseconds(s.data[start:s.position])
}

// nextSample goes on from after the timestamp of a sample to the next one.
func (s *scanner) nextSample() error {
	if err := s.comma(); err != nil {
		return err
	}
	if err := s.skip(); err != nil {
		return err
	}
	if err := s.expect(']'); err != nil {
		return err
	}
	if err := s.comma(); err != nil {
		return err
	}
	s.here()
	return nil
}

// milliseconds reads seconds with at most three decimals, as they are written
// everywhere; anything else the long way.
func milliseconds(text []byte) (int64, error) {
	digits, sign := text, int64(1)
	if len(digits) > 0 && digits[0] == '-' {
		digits, sign = digits[1:], -1
	}
	whole, fraction, _ := bytes.Cut(digits, []byte("."))
	if len(whole) > 0 && len(whole) <= 14 && len(fraction) <= 3 {
		value, plain := int64(0), true
		for i := range len(whole) + 3 {
			c := byte('0')
			switch {
			case i < len(whole):
				c = whole[i]
			case i-len(whole) < len(fraction):
				c = fraction[i-len(whole)]
			}
			plain = plain && c >= '0' && c <= '9'
			value = value*10 + int64(c-'0')
		}
		if plain {
			return sign * value, nil
		}
	}
	seconds, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.Abs(seconds) > 1e14 {
		return 0, malformed("%q is no timestamp", text)
	}
	return int64(math.Round(seconds * 1000)), nil
}

// labels reads an object of labels and appends its canonical form to the keys:
// names and values in the order of the names, so that comparing the bytes
// orders series as Prometheus does, and equal bytes mean equal labels however
// they were escaped.
func (s *scanner) labels(m *Matrix) error {
	start, sorted := len(m.keys), true
	var previous, pairs []span // of names, and of whole pairs
	if err := s.expect('{'); err != nil {
		return err
	}
	if s.peek() == '}' {
		s.position++
		return nil
	}
	for {
		begin := len(m.keys)
		name, err := s.keyText(m)
		if err != nil {
			return err
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		if _, err := s.keyText(m); err != nil {
			return err
		}
		if len(previous) > 0 {
			order := bytes.Compare(m.keys[previous[len(previous)-1].start:previous[len(previous)-1].end], m.keys[name.start:name.end])
			sorted = sorted && order < 0
		}
		previous, pairs = append(previous, name), append(pairs, span{begin, len(m.keys)})
		if s.peek() == '}' {
			s.position++
			break
		}
		if err := s.comma(); err != nil {
			return err
		}
	}
	if sorted {
		return nil
	}
	var list [][]byte
	for _, pair := range pairs {
		list = append(list, slices.Clone(m.keys[pair.start:pair.end]))
	}
	// Equal names would make the order depend on the values: there are none.
	slices.SortFunc(list, bytes.Compare)
	m.keys = m.keys[:start]
	for _, pair := range list {
		m.keys = append(m.keys, pair...)
	}
	return nil
}

// The bytes by which a text in a key ends, and those that stand for a zero byte
// within it, so that shorter texts come before longer ones.
const (
	keyEnd  = "\x00\x01"
	keyZero = "\x00\xff"
)

// keyText reads a string and appends what it says to the keys.
func (s *scanner) keyText(m *Matrix) (span, error) {
	raw, err := s.string()
	if err != nil {
		return span{}, err
	}
	begin := len(m.keys)
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') >= 0 {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return span{}, malformed("%s", err)
		}
		inner = []byte(text)
	}
	if bytes.IndexByte(inner, 0) < 0 {
		m.keys = append(m.keys, inner...)
	} else {
		m.keys = append(m.keys, bytes.ReplaceAll(inner, []byte{0}, []byte(keyZero))...)
	}
	m.keys = append(m.keys, keyEnd...)
	return span{begin, len(m.keys)}, nil
}
