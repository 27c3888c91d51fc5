// Package splice makes one answer of several. It joins answers of range queries along
// time, unites the series, labels, metrics, rules and alerts of two tiers, and cuts an
// answer to a limit. It is pure. No sample is decoded: the bytes of a series are cut and
// concatenated as they are.
package splice

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrNoMatrix is wrapped by the errors for what is no successful answer with a
// matrix, or none that can be spliced safely.
var ErrNoMatrix = errors.New("the answer cannot be spliced")

func malformed(format string, arguments ...any) error {
	return fmt.Errorf("%w: %s", ErrNoMatrix, fmt.Sprintf(format, arguments...))
}

// Matrix is the answer of a range query whose samples are not decoded. It
// refers to the bytes that it was read from.
type Matrix struct {
	// Warnings and Infos are the annotations of the answer.
	Warnings, Infos []string

	series []series
	// acquire is for what window decompresses; nil where nothing is compressed.
	acquire Acquire
}

// series is one element of the result.
type series struct {
	metric             []byte // the JSON object of its labels
	key                []byte // its canonical labels
	values, histograms samples
}

// Parse finds the series of an answer of query_range, and acquires the memory that it
// takes for them, if acquire is not nil. It returns the error of acquire, and one that wraps ErrNoMatrix where
// the text is not the success of such a query, or has a form that no Prometheus writes.
//
// What servers add beside result, such as Thanos' analysis and the stats of
// both, is left out: it would be about one piece only.
func Parse(body []byte, acquire Acquire) (*Matrix, error) {
	if acquire == nil {
		acquire = func(int64) error { return nil }
	}
	s := &scanner{data: body, acquire: acquire}
	m, keys, labels := &Matrix{}, &arena{acquire: acquire}, newLabelSet(nil, false)
	kind, hasResult := "", false
	envelope, err := s.envelope(func() (err error) {
		kind, err = s.result(func() error {
			hasResult = true
			return s.list(func() error {
				next, err := s.series(labels, keys)
				if err == nil {
					m.series, err = push(m.series, next, acquire)
				}
				return err
			})
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	if kind != "matrix" || !hasResult {
		return nil, malformed("its result is of type %q", kind)
	}
	m.Warnings, m.Infos = envelope.Warnings, envelope.Infos
	return m, m.sort()
}

// sort brings the series into the order of their labels. It returns an error where one
// is there twice.
func (m *Matrix) sort() error {
	sortUnlessSorted(m.series, func(a, b series) int { return bytes.Compare(a.key, b.key) })
	for i := 1; i < len(m.series); i++ {
		if bytes.Equal(m.series[i-1].key, m.series[i].key) {
			return malformed("two series have the labels %s", m.series[i].metric)
		}
	}
	return nil
}

// Len returns the number of series.
func (m *Matrix) Len() int { return len(m.series) }

// Samples returns the number of samples of all series.
func (m *Matrix) Samples() int {
	count := 0
	for _, s := range m.series {
		count += s.values.count + s.histograms.count
	}
	return count
}

// Window keeps the samples from a time to another, both inclusive, in
// milliseconds since the Unix epoch. Series of which none is left are dropped.
//
// It returns an error that wraps ErrNoMatrix where the samples that are kept do
// not stand on the grid that begins at from: the server has moved the steps. A
// matrix that was unpacked is cut once only.
func (m *Matrix) Window(from, to, step int64) error {
	kept := m.series[:0]
	for _, s := range m.series {
		var err error
		if s.values, err = s.values.window(from, to, step, m.acquire); err != nil {
			return err
		}
		if s.histograms, err = s.histograms.window(from, to, step, m.acquire); err != nil {
			return err
		}
		if s.values.count+s.histograms.count > 0 {
			kept = append(kept, s)
		}
	}
	m.series = kept
	return nil
}
