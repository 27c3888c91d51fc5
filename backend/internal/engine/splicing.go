package engine

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
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
	// doubledUpTo is up to which size that memory is doubled; from then on a
	// quarter is added, so that little of it stays empty.
	doubledUpTo = 1 << 20
)

// Splicing is what all queries share that are put together from pieces: the
// memory they may take, and what is known of those that cannot be. It is safe
// for concurrent use.
type Splicing struct {
	budget    *admission.ByteBudget
	unspliced *expirable.LRU[string, string]
}

// NewSplicing returns one whose answers take at most so many bytes of memory at
// a time, all queries together, and those of one datasource a part of it: see
// admission.ByteBudget.
func NewSplicing(most int64) *Splicing {
	return &Splicing{
		budget:    admission.NewByteBudget(most),
		unspliced: expirable.NewLRU[string, string](unsplicedRemembered, nil, unsplicedFor),
	}
}

// lease returns the memory of a query, of which nothing is in use yet.
func (q Query) lease() *lease { return &lease{of: q.Splicing.budget.Of(q.Datasource)} }

// lease is memory of a budget that is in use.
type lease struct {
	of    *admission.BudgetShare
	bytes atomic.Int64
}

// take adds to the lease. It returns errTooLarge where there is not so much.
func (l *lease) take(bytes int64) error {
	if !l.of.Acquire(bytes) {
		return errTooLarge
	}
	l.bytes.Add(bytes)
	return nil
}

// release gives everything back. It may be called more than once.
func (l *lease) release() { l.of.Release(l.bytes.Swap(0)) }

// acquire returns a function that takes memory for as long as the query lasts.
// It returns the error of the context once that has ended.
func (l *lease) acquire(ctx context.Context) splice.Acquire {
	return func(bytes int64) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return l.take(bytes)
	}
}

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
			more := cap(text)
			if more > doubledUpTo {
				more /= 4
			}
			if err := l.take(int64(more)); err != nil {
				return nil, err
			}
			text = append(make([]byte, 0, cap(text)+more), text...)
		}
	}
}
