package splice

import (
	"bytes"
	"iter"
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

	labels []label // of the series at hand, sorted by name
	key    []byte
}

func newLabelSet(injected map[string]string, override bool) *labelSet {
	set := &labelSet{override: override}
	for _, name := range slices.Sorted(maps.Keys(injected)) {
		value := []byte(injected[name])
		member := slices.Concat(quoted([]byte(name)), []byte(":"), quoted(value))
		set.injected = append(set.injected, label{[]byte(name), value, member})
	}
	return set
}

// read reads an object of labels, or null, and returns its JSON and its
// canonical form: names and values in the order of the names, so that comparing
// the bytes orders series as Prometheus does, and equal bytes mean equal
// labels. The injected labels are part of the latter, which is valid until the
// next call.
func (l *labelSet) read(s *scanner) (raw, key []byte, err error) {
	start := s.here()
	if err := l.scan(s); err != nil {
		return nil, nil, err
	}
	l.key = l.key[:0]
	for label := range l.all() {
		l.key = appendKeyText(appendKeyText(l.key, label.name), label.value)
	}
	return s.data[start:s.position], l.key, nil
}

// scan reads the labels of a series.
func (l *labelSet) scan(s *scanner) error {
	l.labels = l.labels[:0]
	sorted := true
	err := s.object(func(name []byte) error {
		start := s.member
		text, err := s.string()
		if err != nil {
			return err
		}
		value, err := unquoted(text)
		if err != nil {
			return err
		}
		n := len(l.labels)
		if n == mostLabels {
			return malformed("a series has more than %d labels", mostLabels)
		}
		sorted = sorted && (n == 0 || bytes.Compare(l.labels[n-1].name, name) < 0)
		l.labels = append(l.labels, label{name, value, s.data[start:s.position]})
		return nil
	})
	if !sorted {
		slices.SortStableFunc(l.labels, func(a, b label) int { return bytes.Compare(a.name, b.name) })
	}
	return err
}

// all returns the labels of the series at hand and the injected ones, each name once,
// in the order of the names.
func (l *labelSet) all() iter.Seq[label] {
	return func(yield func(label) bool) {
		injected := l.injected
		for i, label := range l.labels {
			if i+1 < len(l.labels) && bytes.Equal(l.labels[i+1].name, label.name) {
				continue // As in every decoder, the last of several counts.
			}
			for len(injected) > 0 && bytes.Compare(injected[0].name, label.name) < 0 {
				if !yield(injected[0]) {
					return
				}
				injected = injected[1:]
			}
			if len(injected) > 0 && bytes.Equal(injected[0].name, label.name) {
				if l.override {
					label = injected[0]
				}
				injected = injected[1:]
			}
			if !yield(label) {
				return
			}
		}
		for _, label := range injected {
			if !yield(label) {
				return
			}
		}
	}
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

// parts appends the JSON of labels that were read, with the injected labels.
func (l *labelSet) parts(raw []byte, parts [][]byte) [][]byte {
	if len(l.injected) == 0 && raw[0] == '{' {
		return append(parts, raw)
	}
	_ = l.scan(&scanner{data: raw}) // It was read before.
	separator := textObjectBegin
	for label := range l.all() {
		parts = append(parts, separator, label.member)
		separator = textComma
	}
	if len(l.labels)+len(l.injected) == 0 {
		parts = append(parts, textObjectBegin)
	}
	return append(parts, textObjectEnd)
}
