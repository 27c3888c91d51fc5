package splice

import "unsafe"

// index finds texts by hash.
type index struct {
	acquire Acquire
	values  map[indexKey]int32
}

type indexKey struct {
	scope int32 // what the text belongs to
	text  string
}

// indexCost is what one entry of the map takes at most, in bytes.
const indexCost = 96

func newIndex(acquire Acquire) *index {
	return &index{acquire: acquire, values: map[indexKey]int32{}}
}

// find returns the value of a text. It returns false where it is not there.
func (x *index) find(scope int32, text []byte) (int32, bool) {
	value, ok := x.values[indexKey{scope, string(text)}]
	return value, ok
}

// add adds a text that is not there yet, and which must stay as it is.
func (x *index) add(scope int32, text []byte, value int32) error {
	if err := x.acquire(indexCost); err != nil {
		return err
	}
	x.values[indexKey{scope, unsafe.String(unsafe.SliceData(text), len(text))}] = value //nolint:gosec // G103: the bytes do not change, and are not copied.
	return nil
}
