package promql

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/maypok86/otter/v2"
)

// memoryOfResults is how much memory the results of a Memo take at most, in
// bytes.
const memoryOfResults = 8 << 20

// perResult is what a result takes beside its own bytes.
const perResult = 256

// Key identifies what a result follows from. Two that differ are taken to have
// different keys.
type Key [sha256.Size]byte

// KeyOf returns the key of some texts. Texts that differ have keys that differ,
// wherever one text ends and the next begins.
func KeyOf(texts ...string) Key {
	hash := sha256.New()
	var length [8]byte
	for _, text := range texts {
		binary.BigEndian.PutUint64(length[:], uint64(len(text)))
		_, _ = hash.Write(length[:]) // A hash returns no error.
		_, _ = hash.Write([]byte(text))
	}
	var key Key
	hash.Sum(key[:0])
	return key
}

// results are shared by all who remember something, so that the bound holds for
// all of them together.
var results = otter.Must(&otter.Options[Key, result]{
	MaximumWeight: memoryOfResults,
	Weigher:       func(_ Key, kept result) uint32 { return kept.size + perResult },
})

type result struct {
	value any
	size  uint32 // in bytes
}

// Forget is the size of a value that is not to be remembered.
const Forget = -1

// Remembered returns what compute returned for the key before, or what it
// returns now. compute also returns how many bytes the value holds beside its
// own, or Forget. A value must not hold compiled regular expressions, whose size
// is not known. One that takes more than a 16th of the memory is not kept.
func Remembered[V any](key Key, compute func() (value V, size int)) V {
	if found, ok := results.GetIfPresent(key); ok {
		if value, is := found.value.(V); is {
			return value
		}
	}
	value, size := compute()
	if size >= 0 && size <= memoryOfResults/16 {
		results.Set(key, result{value: value, size: uint32(size)})
	}
	return value
}
