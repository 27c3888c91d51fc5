package splice

import (
	"bytes"
	"encoding/json"
	"slices"
)

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
	// Equal names would make the order depend on the values: no server has any.
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
