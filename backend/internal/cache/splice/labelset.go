package splice

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// mostLabels bounds the labels of one series: more are no answer of a
// Prometheus, and reading them takes many times the memory of their JSON.
const mostLabels = 10_000

// label is one label with the text of its member in a JSON object.
type label struct{ name, value, member []byte }

// labelSet reads the labels of series into the memory of one.
type labelSet struct {
	// injected are added to the labels of each series, sorted by name.
	injected []label
	// override is set where an injected label takes the place of one with the
	// same name that the series has itself.
	override bool

	pairs   []label
	present []bool // which of the injected labels the series has itself
	key     []byte
}

func newLabelSet(injected map[string]string, override bool) *labelSet {
	set := &labelSet{override: override}
	for _, name := range slices.Sorted(maps.Keys(injected)) {
		encodedName, _ := json.Marshal(name)            // A text has a JSON form.
		encodedValue, _ := json.Marshal(injected[name]) // A text has a JSON form.
		member := slices.Concat(encodedName, []byte(":"), encodedValue)
		set.injected = append(set.injected, label{name: []byte(name), value: []byte(injected[name]), member: member})
	}
	set.present = make([]bool, len(set.injected))
	return set
}

// read reads an object of labels, or null, and returns its JSON and its
// canonical form: names and values in the order of the names, so that comparing
// the bytes orders series as Prometheus does, and equal bytes mean equal
// labels. The injected labels are part of the latter, which is valid until the
// next call.
func (l *labelSet) read(s *scanner) (raw, key []byte, err error) {
	l.pairs = l.pairs[:0]
	sorted := true
	start := s.here()
	err = s.object(func(name []byte) error {
		text, err := s.string()
		if err != nil {
			return err
		}
		value, err := unquoted(text)
		if err != nil {
			return err
		}
		if len(l.pairs) == mostLabels {
			return malformed("a series has more than %d labels", mostLabels)
		}
		if n := len(l.pairs); n > 0 && bytes.Compare(l.pairs[n-1].name, name) >= 0 {
			sorted = false
		}
		l.pairs = append(l.pairs, label{name: name, value: value})
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if !sorted {
		slices.SortStableFunc(l.pairs, func(a, b label) int { return bytes.Compare(a.name, b.name) })
	}
	l.key = l.key[:0]
	add := func(each label) {
		l.key = appendKeyText(appendKeyText(l.key, each.name), each.value)
	}
	next := 0
	for i, pair := range l.pairs {
		if i+1 < len(l.pairs) && bytes.Equal(l.pairs[i+1].name, pair.name) {
			continue // As in every decoder, the last of several counts.
		}
		for next < len(l.injected) && bytes.Compare(l.injected[next].name, pair.name) < 0 {
			add(l.injected[next])
			next++
		}
		if next < len(l.injected) && bytes.Equal(l.injected[next].name, pair.name) {
			if l.override {
				pair = l.injected[next]
			}
			next++
		}
		add(pair)
	}
	for _, each := range l.injected[next:] {
		add(each)
	}
	return s.data[start:s.position], l.key, nil
}

// The bytes by which a text in a key ends, and those that stand for a zero byte
// within it, so that shorter texts come before longer ones.
const (
	keyEnd  = "\x00\x01"
	keyZero = "\x00\xff"
)

func appendKeyText(key, text []byte) []byte {
	if bytes.IndexByte(text, 0) < 0 {
		key = append(key, text...)
	} else {
		key = append(key, bytes.ReplaceAll(text, []byte{0}, []byte(keyZero))...)
	}
	return append(key, keyEnd...)
}

var textObjectBegin = []byte(`{`)

// parts appends the JSON of labels that were read, with the injected labels. It
// keeps the order of names where the labels have it.
func (l *labelSet) parts(raw []byte, parts [][]byte) [][]byte {
	if len(l.injected) == 0 {
		if raw[0] != '{' {
			raw = []byte(`{}`)
		}
		return append(parts, raw)
	}
	clear(l.present)
	at := func(name []byte) (int, bool) {
		return slices.BinarySearchFunc(l.injected, name, func(each label, name []byte) int { return bytes.Compare(each.name, name) })
	}
	s := &scanner{data: raw}
	_ = s.object(func(name []byte) error { // It was read before.
		if i, found := at(name); found {
			l.present[i] = true
		}
		return s.skip()
	})
	parts = append(parts, textObjectBegin)
	first := len(parts)
	add := func(text []byte) {
		if len(parts) > first {
			parts = append(parts, textComma)
		}
		parts = append(parts, text)
	}
	next := 0
	inject := func(before []byte) {
		for ; next < len(l.injected) && (before == nil || bytes.Compare(l.injected[next].name, before) <= 0); next++ {
			if l.override || !l.present[next] {
				add(l.injected[next].member)
			}
		}
	}
	s = &scanner{data: raw}
	_ = s.object(func(name []byte) error {
		start := s.member
		err := s.skip()
		inject(name)
		if _, isInjected := at(name); !isInjected || !l.override {
			add(raw[start:s.position])
		}
		return err
	})
	inject(nil)
	return append(parts, textObjectEnd)
}
