package splice

import (
	"bytes"
	"hash/maphash"
)

// index finds texts by their hash, so that no list is searched from its
// beginning. Texts are compared only where their hashes are equal, which the
// random seed makes rare whatever a tier sends.
type index struct {
	acquire Acquire
	seed    maphash.Seed
	first   map[uint64]int32 // hash → the last entry with it
	entries []indexEntry
}

type indexEntry struct {
	text  []byte
	scope int32 // what the text belongs to
	next  int32 // the entry before it with the same hash, or -1
	value int32
}

// indexCost is what one entry of the map takes at most.
const indexCost = 40

func newIndex(acquire Acquire) *index {
	return &index{acquire: acquire, seed: maphash.MakeSeed(), first: map[uint64]int32{}}
}

func (x *index) hash(scope int32, text []byte) uint64 {
	return maphash.Bytes(x.seed, text) ^ (uint64(uint32(scope)) * 0x9e3779b97f4a7c15) //nolint:gosec // G115: the bits of the number are wanted.
}

// find returns the value of a text; false where it is not there.
func (x *index) find(scope int32, text []byte) (int32, bool) {
	at, found := x.first[x.hash(scope, text)]
	for found && at >= 0 {
		entry := x.entries[at]
		if entry.scope == scope && bytes.Equal(entry.text, text) {
			return entry.value, true
		}
		at = entry.next
	}
	return 0, false
}

// add adds a text, which must stay as it is.
func (x *index) add(scope int32, text []byte, value int32) error {
	if err := x.acquire(indexCost); err != nil {
		return err
	}
	hash := x.hash(scope, text)
	entry := indexEntry{text: text, scope: scope, next: -1, value: value}
	if at, found := x.first[hash]; found {
		entry.next = at
	}
	var err error
	if x.entries, err = push(x.entries, entry, x.acquire); err != nil {
		return err
	}
	x.first[hash] = int32(len(x.entries) - 1) //nolint:gosec // G115: an entry takes more than one byte of an answer, which is far below 2 GiB.
	return nil
}
