package splice

import (
	"bytes"
	"math"
	"strconv"
)

// series reads one element of the result.
func (s *scanner) series(m *Matrix, labels *labelSet, acquire Acquire) error {
	keys := cap(m.keys)
	var found series
	err := s.object(func(name []byte) (err error) {
		switch string(name) {
		case "metric":
			var key []byte
			found.metric, key, err = labels.read(s)
			found.key = span{len(m.keys), len(m.keys) + len(key)}
			m.keys = append(m.keys, key...)
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
	if grown := cap(m.keys) - keys; grown > 0 || len(m.series)%checkEvery == 0 {
		// Each of them is as large as one series at most: it may come after.
		if err := acquire(int64(grown)); err != nil {
			return err
		}
	}
	m.series, err = push(m.series, found, acquire)
	return err
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
