// Package splice makes one answer of several: it joins those of range queries along
// time, unites what two tiers tell of series, labels, metrics, rules and alerts,
// and cuts an answer to a limit. It is pure. No sample is decoded: the bytes of a
// series are found, cut and put behind each other as they are.
package splice

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// ErrNoMatrix is wrapped by the errors for what is no successful answer with a
// matrix, or none that can be spliced safely.
var ErrNoMatrix = errors.New("the answer cannot be spliced")

func malformed(format string, arguments ...any) error {
	return fmt.Errorf("%w: %s", ErrNoMatrix, fmt.Sprintf(format, arguments...))
}

// Matrix is the answer of a range query with its series found, not decoded. It
// refers to the bytes that it was read from.
type Matrix struct {
	// Warnings and Infos are the annotations of the answer.
	Warnings, Infos []string

	series []series
	keys   []byte // the canonical labels of all series, one behind the other
}

// series is one element of the result.
type series struct {
	metric []byte // the JSON object of its labels
	// values and histograms are the elements of the two lists, without the
	// brackets around them; empty where there are none.
	values, histograms []byte
	// key is where the canonical labels are in Matrix.keys.
	key span
	// floats and natives count the samples of the two lists.
	floats, natives int
}

type span struct{ start, end int }

// Parse finds the series of an answer of query_range. It returns an error that
// wraps ErrNoMatrix where the text is not the success of such a query, or has a
// form that no Prometheus writes.
//
// What servers add beside result, such as Thanos' analysis and the stats of
// both, is left out: it would be about one piece only.
func Parse(body []byte) (*Matrix, error) { return ParseWithin(body, unbounded) }

// ParseWithin is Parse with a budget: the memory of what is found is acquired.
// It returns the error of acquire, too.
func ParseWithin(body []byte, acquire Acquire) (*Matrix, error) {
	s := &scanner{data: body}
	m := &Matrix{}
	kind, found := "", false
	labels := newLabelSet(nil, false)
	envelope, err := s.envelope(acquire, func() (err error) {
		kind, err = s.result(func() error {
			found = true
			return s.list(func() error { return s.series(m, labels, acquire) })
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	if kind != "matrix" || !found {
		return nil, malformed("its result is of type %q", kind)
	}
	m.Warnings, m.Infos = envelope.Warnings, envelope.Infos
	return m, m.sort()
}

// sort brings the series into the order of their labels, and finds those that
// are there twice.
func (m *Matrix) sort() error {
	compare := func(a, b series) int { return bytes.Compare(m.key(a), m.key(b)) }
	if !slices.IsSortedFunc(m.series, compare) {
		slices.SortFunc(m.series, compare)
	}
	for i := 1; i < len(m.series); i++ {
		if compare(m.series[i-1], m.series[i]) == 0 {
			return malformed("two series have the labels %s", m.series[i].metric)
		}
	}
	return nil
}

func (m *Matrix) key(s series) []byte { return m.keys[s.key.start:s.key.end] }

// Len returns the number of series.
func (m *Matrix) Len() int { return len(m.series) }

// Samples returns the number of samples of all series.
func (m *Matrix) Samples() int {
	count := 0
	for _, each := range m.series {
		count += each.floats + each.natives
	}
	return count
}

// Window keeps the samples from a time to another, both inclusive, in
// milliseconds since the Unix epoch. Series of which none is left are dropped.
//
// It returns an error that wraps ErrNoMatrix where the samples that are kept do
// not stand on the grid that begins at from: the server has moved the steps.
func (m *Matrix) Window(from, to, step int64) error {
	kept := m.series[:0]
	for _, each := range m.series {
		var err error
		if each.values, each.floats, err = window(each.values, each.floats, from, to, step); err != nil {
			return err
		}
		if each.histograms, each.natives, err = window(each.histograms, each.natives, from, to, step); err != nil {
			return err
		}
		if each.floats+each.natives > 0 {
			kept = append(kept, each)
		}
	}
	m.series = kept
	return nil
}

// window cuts a list of samples, and checks the first and the last that remain.
func window(samples []byte, count int, from, to, step int64) ([]byte, int, error) {
	if count == 0 {
		return nil, 0, nil
	}
	s := &scanner{data: samples}
	var first int64
	for {
		start := s.position
		at, err := s.timestamp()
		if err != nil {
			return nil, 0, err
		}
		if at >= from {
			samples, first = samples[start:], at
			break
		}
		count--
		if count == 0 {
			return nil, 0, nil
		}
		if err := s.nextSample(); err != nil {
			return nil, 0, err
		}
	}
	last, samples, count, err := cutEnd(samples, count, to)
	if err != nil || count == 0 {
		return nil, 0, err
	}
	// Samples are in order of time, one on each step at most: those between are
	// on the grid where these are and no more are there than steps.
	if (first-from)%step != 0 || (last-from)%step != 0 || last < first || int64(count-1) > (last-first)/step {
		return nil, 0, malformed("the samples are not on the steps that were asked for")
	}
	return samples, count, nil
}

// cutEnd drops the samples after a time and returns the timestamp of the last
// one that is left.
func cutEnd(samples []byte, count int, to int64) (last int64, kept []byte, left int, err error) {
	if last, err := lastTimestamp(samples); err == nil && last <= to {
		return last, samples, count, nil
	}
	s := &scanner{data: samples}
	end := 0 // after the last sample that is kept
	for left < count {
		start := s.position
		at, err := s.timestamp()
		if err != nil {
			return 0, nil, 0, err
		}
		if at > to {
			break
		}
		last, left = at, left+1
		s.position = start
		if err := s.skip(); err != nil {
			return 0, nil, 0, err
		}
		end = s.position
		if left < count {
			if err := s.comma(); err != nil {
				return 0, nil, 0, err
			}
		}
	}
	return last, samples[:end], left, nil
}

// lastTimestamp finds that of the last sample of a list of floats; an error
// for everything that has another form.
func lastTimestamp(samples []byte) (int64, error) {
	start := bytes.LastIndexByte(samples, '[')
	if start < 0 || len(samples)-start > longestFloatSample || bytes.IndexByte(samples[start:], '{') >= 0 {
		return 0, ErrNoMatrix
	}
	// A histogram ends with the list of its buckets; a bracket within a text
	// would not begin a sample that ends with the list.
	if start > 0 && samples[start-1] != ',' && !isSpace(samples[start-1]) {
		return 0, ErrNoMatrix
	}
	s := &scanner{data: samples[start:]}
	at, err := s.timestamp()
	if err != nil {
		return 0, err
	}
	s.position = 0
	if _, err := s.sample(); err != nil || s.position != len(s.data) {
		return 0, ErrNoMatrix
	}
	return at, nil
}

// longestFloatSample is more than the text of a timestamp and a float takes.
const longestFloatSample = 80
