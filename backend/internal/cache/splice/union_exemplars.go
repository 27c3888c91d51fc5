package splice

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"unsafe"
)

// exemplar is one exemplar of a series.
type exemplar struct {
	series int32
	at     int64  // in milliseconds since the Unix epoch
	key    []byte // its canonical labels and value
	raw    []byte // its JSON
}

// exemplarSeries is a series that has exemplars.
type exemplarSeries struct {
	key, raw []byte
	source   int
	// first and end are its exemplars in the sorted list.
	first, end int
}

// exemplars unites lists of exemplars.
type exemplars struct {
	acquire Acquire
	keys    *arena
	known   *index
	series  []exemplarSeries
	list    []exemplar
	labels  *labelSet
}

// UniteExemplars returns the union of lists of exemplars, as Prometheus sorts them: by the
// labels of their series, then by time. Equal ones are there once, even if the servers write
// them in different forms.
func UniteExemplars(sources []Source, acquire Acquire) (*Answer, error) {
	u := &exemplars{acquire: acquire, keys: &arena{acquire: acquire}, known: newIndex(acquire), labels: newLabelSet(nil, false)}
	sets := make([]*labelSet, len(sources))
	for i, source := range sources {
		sets[i] = newLabelSet(source.Injected, true)
		err := readList(source.Data, acquire, func(s *scanner) error { return u.read(s, sets[i], i) })
		if err != nil {
			return nil, source.failed(i, err)
		}
	}
	order := u.sort()
	return listAnswer(len(order), 0, func(i int, parts [][]byte) [][]byte {
		series := &u.series[order[i]]
		parts = sets[series.source].parts(series.raw, append(parts, []byte(`{"seriesLabels":`)))
		parts = append(parts, []byte(`,"exemplars":[`))
		for at, exemplar := range u.list[series.first:series.end] {
			if at > 0 {
				parts = append(parts, textComma)
			}
			parts = append(parts, exemplar.raw)
		}
		return append(parts, []byte(`]}`))
	}), acquire(0)
}

// read reads a series with its exemplars.
func (u *exemplars) read(s *scanner, set *labelSet, source int) error {
	raw, key, list := []byte(`{}`), []byte(nil), []byte(nil)
	err := s.object(func(name []byte) (err error) {
		switch string(name) {
		case "seriesLabels":
			raw, key, err = set.read(s)
		case "exemplars":
			list, err = s.listValue()
		default:
			err = s.skip()
		}
		return err
	})
	if err == nil && key == nil {
		_, key, err = set.read(&scanner{data: raw})
	}
	if err != nil {
		return err
	}
	at, isKnown := u.known.find(noScope, key)
	if !isKnown {
		if key, err = u.keys.keep(key); err != nil {
			return err
		}
		at = int32(len(u.series)) //nolint:gosec // G115: see Join.
		if u.series, err = push(u.series, exemplarSeries{key: key, raw: raw, source: source}, u.acquire); err != nil {
			return err
		}
		if err = u.known.add(noScope, key, at); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		return nil
	}
	return readList(list, u.acquire, func(s *scanner) error {
		made, err := u.exemplar(s)
		if err != nil {
			return err
		}
		made.series = at
		if u.list, err = push(u.list, made, u.acquire); err != nil {
			return err
		}
		// Written out, an exemplar is two parts, in a list that may be twice as long as needed.
		return u.acquire(4 * int64(unsafe.Sizeof(made.raw)))
	})
}

// exemplar reads one exemplar.
func (u *exemplars) exemplar(s *scanner) (made exemplar, err error) {
	var key, value []byte
	start := s.here()
	err = s.object(func(name []byte) (err error) {
		switch string(name) {
		case "labels":
			_, key, err = u.labels.read(s)
		case "value":
			value, err = s.value()
		case "timestamp":
			var text []byte
			if text, err = s.value(); err == nil {
				made.at, err = milliseconds(text)
			}
		default:
			err = s.skip()
		}
		return err
	})
	if err != nil {
		return made, err
	}
	made.raw = s.data[start:s.position]
	made.key, err = u.keys.keep(appendValue(key, value))
	return made, err
}

// appendValue appends a value to a key, so that equal numbers are equal texts.
func appendValue(key, value []byte) []byte {
	text := bytes.Trim(value, `"`)
	number, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return append(key, value...)
	}
	if math.IsNaN(number) {
		number = math.NaN()
	}
	return binary.BigEndian.AppendUint64(key, math.Float64bits(number))
}

// sort sorts the exemplars of each series, drops equal ones, and returns the order of the
// series.
func (u *exemplars) sort() (order []int32) {
	slices.SortStableFunc(u.list, func(a, b exemplar) int {
		return cmp.Or(cmp.Compare(a.series, b.series), cmp.Compare(a.at, b.at), bytes.Compare(a.key, b.key))
	})
	u.list = slices.CompactFunc(u.list, func(a, b exemplar) bool {
		return a.series == b.series && a.at == b.at && bytes.Equal(a.key, b.key)
	})
	for i, exemplar := range u.list {
		series := &u.series[exemplar.series]
		if series.end == 0 {
			series.first = i
		}
		series.end = i + 1
	}
	order = make([]int32, len(u.series))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return bytes.Compare(u.series[a].key, u.series[b].key) })
	return order
}
