package splice

import "unsafe"

// Acquire takes that many bytes of a budget before they are allocated. It
// returns an error where the budget has not so much left, or where the query
// has ended. What was acquired is released by whoever made the function.
type Acquire func(bytes int64) error

// push appends an element, whose memory it acquires.
func push[T any](list []T, element T, acquire Acquire) ([]T, error) {
	if len(list) == cap(list) {
		const atLeast = 8
		more := max(cap(list)/2, atLeast)
		if err := acquire(int64(more) * int64(unsafe.Sizeof(element))); err != nil { //nolint:gosec // G115: the size of a type is small.
			return nil, err
		}
		list = append(make([]T, 0, cap(list)+more), list...)
	}
	return append(list, element), nil
}

// arena copies texts into large pieces of memory.
type arena struct {
	acquire Acquire
	chunk   []byte
}

// smallestChunk and largestChunk bound how much memory an arena acquires at a time.
const (
	smallestChunk = 1 << 10
	largestChunk  = 64 << 10
)

// keep returns a copy of the text.
func (a *arena) keep(text []byte) ([]byte, error) {
	if len(text) > cap(a.chunk)-len(a.chunk) {
		size := max(min(2*cap(a.chunk), largestChunk), smallestChunk, len(text))
		if err := a.acquire(int64(size)); err != nil {
			return nil, err
		}
		a.chunk = make([]byte, 0, size)
	}
	start := len(a.chunk)
	a.chunk = append(a.chunk, text...)
	return a.chunk[start:len(a.chunk):len(a.chunk)], nil
}
