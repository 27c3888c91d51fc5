package splice

import "bytes"

// Part returns a matrix with the samples from a time to another: see Window. The matrix itself
// stays as it is, and must not have been unpacked. Both refer to the same bytes.
func (m *Matrix) Part(from, to, step int64) (*Matrix, error) {
	part := &Matrix{Warnings: m.Warnings, Infos: m.Infos, series: append([]series(nil), m.series...)}
	return part, part.Window(from, to, step)
}

// FirstDifference returns the time, in milliseconds since the Unix epoch, of the first sample that
// one of two matrices has and the other has not, or has with another text. Samples after until do
// not count. differs is false if there is none. It returns an error that wraps ErrNoMatrix for a
// sample without a valid time.
func FirstDifference(a, b *Matrix, until int64) (first int64, differs bool, err error) {
	var none samples
	found := func(at int64, is bool, failed error) {
		if is && (!differs || at < first) {
			first, differs = at, true
		}
		if failed != nil {
			err = failed
		}
	}
	compare := func(x, y *series) {
		values, histograms := [2]samples{none, none}, [2]samples{none, none}
		for i, side := range []*series{x, y} {
			if side != nil {
				values[i], histograms[i] = side.values, side.histograms
			}
		}
		found(firstDifference(values[0], values[1], until))
		found(firstDifference(histograms[0], histograms[1], until))
	}
	i, j := 0, 0
	for err == nil && (i < len(a.series) || j < len(b.series)) {
		var order int
		switch {
		case i == len(a.series):
			order = 1
		case j == len(b.series):
			order = -1
		default:
			order = bytes.Compare(a.series[i].key, b.series[j].key)
		}
		switch {
		case order < 0:
			compare(&a.series[i], nil)
			i++
		case order > 0:
			compare(nil, &b.series[j])
			j++
		default:
			compare(&a.series[i], &b.series[j])
			i, j = i+1, j+1
		}
	}
	return first, differs, err
}

// firstDifference is FirstDifference for the samples of one series.
func firstDifference(a, b samples, until int64) (first int64, differs bool, err error) {
	left, right := sampleReader{scanner{data: a.text}, a.count}, sampleReader{scanner{data: b.text}, b.count}
	for {
		x, err := left.next(until)
		if err != nil {
			return 0, false, err
		}
		y, err := right.next(until)
		switch {
		case err != nil:
			return 0, false, err
		case x.text == nil && y.text == nil:
			return 0, false, nil
		case x.text == nil:
			return y.at, true, nil
		case y.text == nil:
			return x.at, true, nil
		case x.at != y.at || !bytes.Equal(x.text, y.text):
			return min(x.at, y.at), true, nil
		}
	}
}

// sampleReader reads the samples of a series one by one.
type sampleReader struct {
	scanner

	left int
}

// timedSample is a sample with its time. Its text is nil for none.
type timedSample struct {
	at   int64
	text []byte
}

// next returns the next sample, or none at the end and for one after until.
func (r *sampleReader) next(until int64) (timedSample, error) {
	if r.left == 0 {
		return timedSample{}, nil
	}
	begin := r.here()
	at, err := r.timestamp()
	if err != nil {
		return timedSample{}, err
	}
	if at > until {
		r.left = 0
		return timedSample{}, nil
	}
	r.position = begin
	end, err := r.sample()
	if err == nil && r.left > 1 {
		err = r.comma()
	}
	r.left--
	return timedSample{at: at, text: r.data[begin:end]}, err
}
