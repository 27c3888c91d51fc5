package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
)

var (
	// errTooLarge means that answers would take more memory than they may.
	errTooLarge = errors.New("the answer is too large to be put together from pieces")
	// errNoRoom means that other answers take the memory at the moment.
	errNoRoom = fmt.Errorf("%w while others are", errTooLarge)
)

const (
	// firstRead is the first memory of an answer of unknown length, in bytes. It doubles
	// up to doubledUpTo, then grows by a quarter, so that little stays empty.
	firstRead   = 16 << 10
	doubledUpTo = 1 << 20
)

// reserve returns the memory of the plan's query, of which nothing is in use yet.
func (p *Plan) reserve() *reservation {
	return &reservation{of: p.engine.pieceBudget.Of(p.query.Datasource.Name)}
}

// reservation is memory of a budget that is in use.
type reservation struct {
	of    *admission.BudgetShare
	bytes atomic.Int64
}

// acquire adds to the reservation. It returns errTooLarge if there is no room, and errNoRoom
// if there would be without other answers.
func (r *reservation) acquire(bytes int64) error {
	if !r.of.Acquire(bytes) {
		if r.of.Fits(r.bytes.Load() + bytes) {
			return errNoRoom
		}
		return errTooLarge
	}
	r.bytes.Add(bytes)
	return nil
}

// release gives everything back. It may be called more than once.
func (r *reservation) release() { r.of.Release(r.bytes.Swap(0)) }

// releaseSome gives a part back.
func (r *reservation) releaseSome(bytes int64) {
	r.bytes.Add(-bytes)
	r.of.Release(bytes)
}

// acquireWithin returns acquire, which fails once the context has ended.
func (r *reservation) acquireWithin(ctx context.Context) splice.Acquire {
	return func(bytes int64) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return r.acquire(bytes)
	}
}

// body returns a body that releases the memory when it is closed.
func (r *reservation) body(reader io.Reader) io.ReadCloser {
	return &endingBody{io.NopCloser(reader), r.release}
}

// readBody reads the body of an answer, decompressed. It returns the errors of acquire.
func (r *reservation) readBody(response *Response) ([]byte, error) {
	body, err := response.plain()
	if err != nil {
		return nil, err
	}
	text, err := r.readFrom(body, response, 1)
	if err != nil {
		return nil, err
	}
	return text, nil
}

// readFrom reads the body of an answer from a reader, which is response.plain. It acquires
// factor times the memory of the text. After an error of acquire, what it returns is the start
// of the body, and the rest can still be read.
func (r *reservation) readFrom(body io.Reader, response *Response, factor int64) ([]byte, error) {
	length := response.ContentLength
	if body != io.Reader(response.Body) {
		length = -1 // It is compressed.
	}
	size := length + 1 // One more shows that it has ended.
	if length < 0 {
		size = firstRead
	}
	if err := r.acquire(factor * size); err != nil {
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
			if err := r.acquire(factor * int64(more)); err != nil {
				return text, err
			}
			text = append(make([]byte, 0, cap(text)+more), text...)
		}
	}
}
