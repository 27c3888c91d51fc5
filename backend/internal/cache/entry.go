package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/s2"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// longestLife is how long an entry lives at most.
const longestLife = 24 * time.Hour

// Key identifies an answer: promql.KeyOf everything that can change it.
type Key = promql.Key

// Entry is an answer for some evaluation times.
type Entry struct {
	// First and Last are the first and the last evaluation time that the answer
	// is for, or the time range of an answer without any, in milliseconds since the
	// Unix epoch.
	First, Last int64
	// Samples is how many samples the answer holds, where whoever keeps it has
	// counted them; otherwise zero.
	Samples int64
	// Born is when the oldest part of it was answered.
	Born time.Time
	// Answer is the JSON of the answer, or a matrix that splice has packed if IsPacked is set. That
	// one is shared with the cache, and must not be changed.
	Answer   []byte
	IsPacked bool
}

const (
	magic = "tierproxy result 2\n"
	// packedMagic is as long as magic.
	packedMagic = "tierproxy packed 1\n"
	headerSize  = len(magic) + sha256.Size + 4*8
	// largestAnswer bounds what is taken out of an entry.
	largestAnswer = 1 << 30
)

// Why an entry is not read.
var (
	errForeign  = errors.New("not an entry of this key, or damaged")
	errNoMemory = errors.New("there is no memory for the answer")
)

// encode writes the entry under a key: compressed, unless it is packed, and with a checksum of
// everything.
func (e *Entry) encode(key Key) []byte {
	most, begin := s2.MaxEncodedLen(len(e.Answer)), magic
	if e.IsPacked {
		most, begin = len(e.Answer), packedMagic
	}
	text := make([]byte, 0, headerSize+most+8)
	text = append(text, begin...)
	text = append(text, key[:]...)
	for _, number := range []int64{e.First, e.Last, e.Born.UnixMilli(), e.Samples} {
		text = binary.BigEndian.AppendUint64(text, uint64(number)) //nolint:gosec // G115: the bits come back as they went in.
	}
	if e.IsPacked {
		text = append(text, e.Answer...)
		return binary.BigEndian.AppendUint64(text, xxhash.Sum64(text))
	}
	compressed := s2.Encode(text[len(text):cap(text)], e.Answer)
	text = text[:len(text)+len(compressed)]
	text = binary.BigEndian.AppendUint64(text, xxhash.Sum64(text))
	return append(make([]byte, 0, len(text)), text...) // No longer than it has to be.
}

// decode reads what encode has written under the same key. It calls reserve with the
// length of the answer, and returns errNoMemory if that returns false. It returns
// errForeign for anything else.
func decode(key Key, text []byte, reserve func(bytes int64) bool) (*Entry, error) {
	if len(text) < headerSize+8 || Key(text[len(magic):len(magic)+sha256.Size]) != key {
		return nil, errForeign
	}
	body, begin := text[:len(text)-8], string(text[:len(magic)])
	if (begin != magic && begin != packedMagic) || xxhash.Sum64(body) != binary.BigEndian.Uint64(text[len(body):]) {
		return nil, errForeign
	}
	number := func(i int) int64 {
		return int64(binary.BigEndian.Uint64(text[len(magic)+sha256.Size+i*8:])) //nolint:gosec // G115: the bits come back as they went in.
	}
	entry := &Entry{First: number(0), Last: number(1), Born: time.UnixMilli(number(2)), Samples: number(3), IsPacked: begin == packedMagic}
	if body = body[headerSize:]; entry.IsPacked {
		if entry.Answer = body[:len(body):len(body)]; !reserve(int64(len(body))) {
			return nil, errNoMemory
		}
		return entry, nil
	}
	size, err := s2.DecodedLen(body)
	if err != nil || size > largestAnswer {
		return nil, errForeign
	}
	if !reserve(int64(size)) {
		return nil, errNoMemory
	}
	if entry.Answer, err = s2.Decode(nil, body); err != nil {
		return nil, fmt.Errorf("%w: %w", errForeign, err)
	}
	return entry, nil
}
