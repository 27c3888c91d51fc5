package promql

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/maypok86/otter/v2"
)

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

const (
	// memoryOfCache is how much memory the cache takes at most, in bytes.
	memoryOfCache = 8 << 20
	// largestEntry is what the value of an entry may take, and what its key may, in
	// bytes.
	largestEntry = memoryOfCache / 16
	// perEntry is what an entry takes besides its texts, in bytes.
	perEntry = 384
)

// cache holds parsed queries and what was computed from them. There is one, so
// that the bound holds for everything together.
var cache = otter.Must(&otter.Options[cacheKey, entry]{
	MaximumWeight: memoryOfCache,
	Weigher: func(key cacheKey, kept entry) uint32 {
		return uint32(len(key.text)+len(key.labels)+perEntry) + kept.size
	},
})

// cacheKey says what an entry is, of which text, and what else it depends on.
type cacheKey struct {
	kind   kind
	text   string
	strict bool // how the text was parsed
	// labels are those of an entry of the kind injectedInto.
	labels string
	// span, step and lookback are those of an entry of the kind extentOf.
	span, step, lookback time.Duration
}

type kind uint8

const (
	queryOf kind = iota
	extentOf
	injectedInto
	remembered // by a Key
	checked    // a text that Check accepts, and that is not costly
	thresholdsIn
)

type entry struct {
	value any
	size  uint32 // in bytes, besides perEntry
}

// Forget is the size of a value that is not to be remembered.
const Forget = -1

// Remembered returns what compute returned for the key before, or what it
// returns now. compute also returns how many bytes the value refers to, or Forget. A value must not hold compiled regular expressions, whose size
// is not known. One that is larger than largestEntry is not kept.
func Remembered[V any](key Key, compute func() (value V, size int)) V {
	return cached(cacheKey{kind: remembered, text: string(key[:])}, compute)
}

// cached is Remembered for the keys of this package.
func cached[V any](key cacheKey, compute func() (value V, size int)) V {
	if value, ok := lookUp[V](key); ok {
		return value
	}
	value, size := compute()
	if size >= 0 && size <= largestEntry && len(key.text)+len(key.labels) <= largestEntry {
		cache.Set(key, entry{value: value, size: uint32(size)})
	}
	return value
}

func lookUp[V any](key cacheKey) (value V, ok bool) {
	kept, _ := cache.GetIfPresent(key)
	value, ok = kept.value.(V)
	return value, ok
}
