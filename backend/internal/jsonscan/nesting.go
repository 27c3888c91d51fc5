// Package jsonscan follows the structure of JSON texts that pass by, without parsing them.
package jsonscan

import (
	"encoding/binary"
	"math/bits"
)

// Nesting follows strings and brackets of a JSON text that comes in parts. The zero value is
// outside of any value.
type Nesting struct {
	// Depth is the number of objects and lists that are open.
	Depth int
	// InString and IsEscaped are set within a string and behind a backslash.
	InString, IsEscaped bool
}

// Masks of eight bytes.
const (
	each1    = 0x0101010101010101 // the lowest bit of each
	lower7   = 0x7f7f7f7f7f7f7f7f // its seven lower bits
	highest  = 0x8080808080808080 // its highest bit
	caseBits = 0x2020202020202020 // by which square brackets differ from braces
)

// differ returns a word with the highest bit of each byte that is not c. All bytes have to be ASCII.
func differ(word uint64, c byte) uint64 { return (word ^ each1*uint64(c)) + lower7 }

// SkipBelow follows the text as long as Depth cannot fall below least, and returns how many bytes
// that were. It takes eight bytes at a time, so it may leave some more for the caller.
func (n *Nesting) SkipBelow(text []byte, least int) int {
	depth, rest := n.Depth, text
	inString := allIf(n.InString)
	for !n.IsEscaped && len(rest) >= 8 {
		word := binary.LittleEndian.Uint64(rest)
		if other := word & highest; other != 0 {
			word &^= other >> 7 * 0xff // What is not ASCII means nothing here, but would look like a backslash.
		}
		folded := word | caseBits
		begins, ends := ^differ(folded, '{')&highest, ^differ(folded, '}')&highest
		isEscaping := differ(word, '\\')&highest != highest
		// The highest bit of each byte says whether the number of quotes up to it is odd.
		strings := (^differ(word, '"')&highest)>>7*each1<<7 ^ inString
		if !isEscaping {
			begins, ends = begins&^strings, ends&^strings
		}
		after := depth - bits.OnesCount64(ends)
		if after < least {
			break
		}
		if isEscaping {
			n.Depth, n.InString = depth, inString != 0
			n.followAll(rest[:8])
			depth, inString = n.Depth, allIf(n.InString)
		} else {
			depth = after + bits.OnesCount64(begins)
			inString = uint64(int64(strings) >> 63) //nolint:gosec // G115: the sign is the bit of the last byte.
		}
		rest = rest[8:]
	}
	n.Depth, n.InString = depth, inString != 0
	return len(text) - len(rest)
}

// allIf returns all bits if is is set.
func allIf(is bool) uint64 {
	if is {
		return ^uint64(0)
	}
	return 0
}

// followAll follows a text byte by byte.
func (n *Nesting) followAll(text []byte) {
	for _, c := range text {
		n.Follow(c)
	}
}

// Follow follows one byte.
func (n *Nesting) Follow(c byte) {
	switch {
	case n.IsEscaped:
		n.IsEscaped = false
	case n.InString:
		n.IsEscaped, n.InString = c == '\\', c != '"'
	case c == '"':
		n.InString = true
	case c == '{', c == '[':
		n.Depth++
	case c == '}', c == ']':
		n.Depth--
	}
}
