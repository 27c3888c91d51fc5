package splice

import (
	"math"
	"strconv"
)

// series reads one element of the result.
func (s *scanner) series(labels *labelSet, keys *arena) (series, error) {
	var read series
	err := s.object(func(name []byte) (err error) {
		switch string(name) {
		case "metric":
			if read.metric != nil {
				return malformed("a series has labels twice")
			}
			var key []byte
			if read.metric, key, err = labels.read(s); err == nil {
				read.key, err = keys.keep(key)
			}
		case "values":
			read.values, err = s.samples()
		case "histograms":
			read.histograms, err = s.samples()
		default:
			return malformed("a series has the member %q", name)
		}
		return err
	})
	if err == nil && read.metric == nil {
		err = malformed("a series has no labels")
	}
	return read, err
}

// samples are those of one series.
type samples struct {
	text  []byte // of the list, without the brackets around it
	count int
	last  int // where the last one begins in the text

	// chunks follow the text, and rest follows them: see Unpack. Without chunks there is no rest. Until
	// window has chosen among them, there are chunks alone, whose first one begins with a comma.
	chunks []chunk
	rest   []byte
}

// samples reads a list of samples.
func (s *scanner) samples() (samples, error) {
	if err := s.expect('['); err != nil {
		return samples{}, err
	}
	start, count := s.here(), 0
	if s.peek() == ']' {
		s.position++
		return samples{}, nil
	}
	for {
		last := s.here()
		end, err := s.sample()
		if err != nil {
			return samples{}, err
		}
		count++
		if s.peek() == ']' {
			s.position++
			return samples{text: s.data[start:end], count: count, last: last - start}, nil
		}
		if err := s.comma(); err != nil {
			return samples{}, err
		}
	}
}

// window returns the samples from a time to another, and checks the first and the last
// of them.
func (l samples) window(from, to, step int64, acquire Acquire) (samples, error) {
	switch {
	case l.count == 0:
		return samples{}, nil
	case len(l.chunks) > 0:
		return l.windowOfChunks(from, to, step, acquire)
	}
	newest, err := (&scanner{data: l.text, position: l.last}).timestamp()
	if err != nil {
		return samples{}, err
	}
	return l.windowUntil(newest, from, to, step)
}

// windowUntil is window for a text whose last sample is at the time newest.
func (l samples) windowUntil(newest, from, to, step int64) (samples, error) {
	var (
		kept        samples
		start, end  int   // of the kept ones, in the text
		first, last int64 // their times
	)
	s := &scanner{data: l.text}
	for i := range l.count {
		begin := s.here()
		at, err := s.timestamp()
		if err != nil {
			return samples{}, err
		}
		if at > to && newest > to {
			break
		}
		if at >= from && kept.count == 0 {
			start, first = begin, at
			if newest <= to {
				kept.count, kept.last, last, end = l.count-i, l.last-start, newest, len(l.text)
				break
			}
		}
		s.position = begin
		if _, err = s.sample(); err == nil && i+1 < l.count {
			end = s.position
			err = s.comma()
		}
		if err != nil {
			return samples{}, err
		}
		if at >= from || kept.count > 0 {
			kept.count, kept.last, last = kept.count+1, begin-start, at
		}
	}
	if kept.count == 0 {
		return samples{}, nil
	}
	kept.text = l.text[start:end]
	return kept, kept.onGrid(first, last, from, step)
}

// onGrid returns an error where the samples, of which the times of the first and the last are
// given, do not stand on the grid that begins at from.
func (l samples) onGrid(first, last, from, step int64) error {
	// Samples are in order of time, one on each step at most: those between are
	// on the grid where these are and no more are there than steps.
	if (first-from)%step != 0 || (last-from)%step != 0 || last < first || int64(l.count-1) > (last-first)/step {
		return malformed("the samples are not on the requested steps")
	}
	return nil
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

// milliseconds reads a timestamp in seconds.
func milliseconds(text []byte) (int64, error) {
	if whole, ok := wholeSeconds(text); ok {
		return whole * 1000, nil
	}
	seconds, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.Abs(seconds) > 1e14 {
		return 0, malformed("%q is no timestamp", text)
	}
	return int64(math.Round(seconds * 1000)), nil
}

// wholeSeconds reads a timestamp without fraction. It returns false for any other, and for one that
// is far away.
func wholeSeconds(text []byte) (seconds int64, ok bool) {
	const mostDigits = 13
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		seconds = seconds*10 + int64(c-'0')
	}
	return seconds, len(text) > 0 && len(text) <= mostDigits
}
