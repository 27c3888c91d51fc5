package splice

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Source is the data of one source of a tier in a union. Those of hot come first, that of
// cold, if any, comes last.
type Source struct {
	// Tier is the name of the tier.
	Tier string
	// Name is the external labels of the source as text, such as {cluster="a"}; empty where
	// the tier has one source. A name says that there are others, even if none of them is
	// part of the union.
	Name string
	// Data is the data of its answer.
	Data []byte
	// Injected are labels that are added to its series.
	Injected map[string]string
}

// SourceError is returned where the data of a source is not what the endpoint
// answers.
type SourceError struct {
	// Tier is the name of the tier.
	Tier string
	// Index is the index of the source in the union.
	Index int
	// Err is the cause.
	Err error
}

// Error returns the text of the cause.
func (e *SourceError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *SourceError) Unwrap() error { return e.Err }

// failed returns the error for the source of an index; that of acquire as it is.
func (s Source) failed(i int, err error) error {
	if errors.Is(err, ErrNoMatrix) {
		return &SourceError{s.Tier, i, err}
	}
	return err
}

// MissingWarning returns the warning for an answer that lacks what a source of a tier holds.
// The name of the source is empty where the tier has one.
func MissingWarning(tier, name string) string {
	if name == "" {
		return fmt.Sprintf("the %s tier failed: what only that one holds is missing", tier)
	}
	return fmt.Sprintf("the source %s of the %s tier failed: what only that one holds is missing", name, tier)
}

// readList reads data that is a list, and calls element for each of its elements.
func readList(data []byte, acquire Acquire, element func(s *scanner) error) error {
	s := &scanner{data: data, acquire: acquire}
	if err := s.list(func() error { return element(s) }); err != nil {
		return err
	}
	return s.end()
}

// sortUnlessSorted sorts a list, which most answers are already.
func sortUnlessSorted[T any](list []T, compare func(a, b T) int) {
	if !slices.IsSortedFunc(list, compare) {
		slices.SortFunc(list, compare)
	}
}

// listAnswer is an answer whose data is a list.
func listAnswer(count, limit int, element func(i int, parts [][]byte) [][]byte) *Answer {
	answer := &Answer{open: "[", end: "]", count: count, element: element}
	if limit > 0 && count > limit {
		answer.count, answer.Truncated = limit, true
	}
	return answer
}

// UniteTexts returns the union of lists of texts, sorted. The names of labels
// that are injected are part of what a source holds, unless it holds nothing.
// A limit above zero cuts the union.
func UniteTexts(sources []Source, limit int, acquire Acquire) (*Answer, error) {
	var list [][]byte // what the texts say
	for i, source := range sources {
		before := len(list)
		err := readList(source.Data, acquire, func(s *scanner) error {
			raw, err := s.string()
			if err != nil {
				return err
			}
			text, err := unquoted(raw)
			if err == nil {
				list, err = push(list, text, acquire)
			}
			return err
		})
		for name := range source.Injected {
			if err == nil && len(list) > before {
				list, err = push(list, []byte(name), acquire)
			}
		}
		if err != nil {
			return nil, source.failed(i, err)
		}
	}
	sortUnlessSorted(list, bytes.Compare)
	list = slices.CompactFunc(list, bytes.Equal)
	return listAnswer(len(list), limit, func(i int, parts [][]byte) [][]byte {
		return append(parts, quoted(list[i]))
	}), acquire(0)
}

// UniteSeries returns the union of lists of series, sorted as Prometheus sorts.
// An injected label takes the place of one that a series has itself. A limit
// above zero cuts the union.
func UniteSeries(sources []Source, limit int, acquire Acquire) (*Answer, error) {
	type element struct {
		key, raw []byte
		source   int
	}
	var list []element
	keys := &arena{acquire: acquire}
	sets := make([]*labelSet, len(sources))
	for i, source := range sources {
		sets[i] = newLabelSet(source.Injected, true)
		err := readList(source.Data, acquire, func(s *scanner) error {
			raw, key, err := sets[i].read(s)
			if err == nil {
				key, err = keys.keep(key)
			}
			if err == nil {
				list, err = push(list, element{key, raw, i}, acquire)
			}
			return err
		})
		if err != nil {
			return nil, source.failed(i, err)
		}
	}
	sortUnlessSorted(list, func(a, b element) int { return bytes.Compare(a.key, b.key) })
	list = slices.CompactFunc(list, func(a, b element) bool { return bytes.Equal(a.key, b.key) })
	return listAnswer(len(list), limit, func(i int, parts [][]byte) [][]byte {
		return sets[list[i].source].parts(list[i].raw, parts)
	}), acquire(0)
}

// quoted returns the JSON of a text.
func quoted(text []byte) []byte {
	encoded, _ := json.Marshal(string(text)) // A text has a JSON form.
	return encoded
}
