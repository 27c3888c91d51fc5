package queryrange

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
)

// errTooLarge is why pieces are not put together: the answer, or those of other
// queries beside it, take more memory than they may.
var errTooLarge = errors.New("the answer is too large to be put together from pieces")

const (
	// unsplicedFor is how long it is remembered that a query could not be put
	// together, and unsplicedRemembered how many are.
	unsplicedFor        = 10 * time.Minute
	unsplicedRemembered = 2048
	// firstRead is how much memory an answer of unknown length begins with.
	firstRead = 64 << 10
)

// Splicing is what all queries share that are put together from pieces: the
// memory they may take, and what is known of those that cannot be. It is safe
// for concurrent use.
type Splicing struct {
	most, used atomic.Int64
	unspliced  *expirable.LRU[string, string]
}

// NewSplicing returns one whose answers take at most so many bytes of memory at
// a time, all queries together.
func NewSplicing(most int64) *Splicing {
	s := &Splicing{unspliced: expirable.NewLRU[string, string](unsplicedRemembered, nil, unsplicedFor)}
	s.most.Store(most)
	return s
}

// reserve takes memory, and returns false where there is not so much.
func (s *Splicing) reserve(bytes int64) bool {
	if s.used.Add(bytes) <= s.most.Load() {
		return true
	}
	s.used.Add(-bytes)
	return false
}

// lease is memory of a Splicing that is in use.
type lease struct {
	of    *Splicing
	bytes atomic.Int64
}

// take adds to the lease. It returns errTooLarge where there is not so much.
func (l *lease) take(bytes int64) error {
	if !l.of.reserve(bytes) {
		return errTooLarge
	}
	l.bytes.Add(bytes)
	return nil
}

// release gives everything back. It may be called more than once.
func (l *lease) release() { l.of.used.Add(-l.bytes.Swap(0)) }

// read reads everything. length is how much that will be, or -1. It returns
// errTooLarge as soon as it is too much.
func (l *lease) read(body io.Reader, length int64) ([]byte, error) {
	size := length + 1 // One more shows that it has ended.
	if length < 0 {
		size = firstRead
	}
	if err := l.take(size); err != nil {
		return nil, err
	}
	text := make([]byte, 0, size)
	for {
		n, err := body.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		switch {
		case errors.Is(err, io.EOF):
			return text, nil
		case err != nil:
			return nil, err
		case len(text) == cap(text):
			if err := l.take(int64(cap(text))); err != nil {
				return nil, err
			}
			text = append(make([]byte, 0, 2*cap(text)), text...)
		}
	}
}
