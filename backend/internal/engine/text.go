package engine

import (
	"context"
	"io"
)

// Text is an answer in memory, which counts in limits.decoded_memory until Release.
type Text struct {
	// Bytes is the answer, decompressed.
	Bytes []byte

	memory *reservation
}

// ReadText reads a successful answer, and closes its body. It returns the errors of Decode.
func (r *Response) ReadText(ctx context.Context) (*Text, error) {
	defer func() { _ = r.Body.Close() }()
	text := &Text{memory: &reservation{of: r.budget}}
	var err error
	if text.Bytes, err = text.memory.readBody(r); err == nil {
		err = ctx.Err()
	}
	if err != nil {
		text.Release()
		return nil, r.unreadable(err)
	}
	return text, nil
}

// Acquire acquires memory for what is made of the answer. It returns an Error with status
// 503 if there is none.
func (t *Text) Acquire(bytes int64) error {
	if t.memory.acquire(bytes) != nil {
		return noMemory()
	}
	return nil
}

// Drop gives the memory of the answer itself back, which is not needed any more.
func (t *Text) Drop() {
	t.memory.releaseSome(int64(cap(t.Bytes)))
	t.Bytes = nil
}

// Release gives all memory back. It may be called more than once.
func (t *Text) Release() {
	t.Bytes = nil
	t.memory.release()
}

// Replace puts JSON that was made of the answer in place of it.
func (r *Response) Replace(body io.ReadCloser) {
	r.setHeader()
	r.Gzip, r.Body, r.ContentLength = nil, body, -1
}
