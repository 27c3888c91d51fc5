package admission

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// errDropped is met by a reader that was closed.
var errDropped = errors.New("the answer is no longer held")

// holdAtOnce is how much of an answer is read at a time.
const holdAtOnce = 16 << 10

// heldAnswer is the body of an answer that is kept while it comes in, so that
// several can read it, up to the bounds of the limits.
type heldAnswer struct {
	source io.ReadCloser
	limits Limits

	mutex   sync.Mutex
	grown   sync.Cond // there is more, or there is an end
	content []byte
	taken   int // of the memory
	// end is io.EOF once the content is the whole answer, errOwnCall where the
	// rest is still to be read from source, or why the answer broke off.
	end     error
	dropped bool

	// settled is closed with end. refusal is then why nobody else may have the
	// answer, errOwnCall or errOwnFlight; nil where it is whole.
	settled chan struct{}
	refusal error
}

func newHeldAnswer(response *http.Response, limits Limits) *heldAnswer {
	h := &heldAnswer{source: response.Body, limits: limits, settled: make(chan struct{})}
	h.grown.L = &h.mutex
	if response.ContentLength > 0 {
		h.content = make([]byte, 0, response.ContentLength)
	}
	return h
}

// fill reads the answer to its end, or until it is too large.
func (h *heldAnswer) fill() {
	chunk := make([]byte, holdAtOnce)
	for {
		n, err := h.source.Read(chunk)
		if h.add(chunk[:n], err) {
			return
		}
	}
}

// add keeps what was read. It returns true at the end.
func (h *heldAnswer) add(chunk []byte, err error) bool {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.content = append(h.content, chunk...)
	fits := len(h.content) <= h.limits.SharedBytes && !h.dropped && h.limits.SharedMemory.Take(len(chunk))
	if fits {
		h.taken += len(chunk)
	}
	switch {
	case h.dropped:
		h.end, h.refusal = errDropped, errOwnFlight
	case err != nil && !errors.Is(err, io.EOF):
		h.end, h.refusal = err, errOwnFlight
	case !fits:
		h.end, h.refusal = errOwnCall, errOwnCall
		if err != nil {
			h.end = err // There is no rest.
		}
	case err != nil:
		h.end = io.EOF
	}
	h.grown.Broadcast()
	if h.end == nil {
		return false
	}
	if h.dropped || errors.Is(h.end, io.EOF) {
		_ = h.source.Close() // Room for the next call, however slow the readers are.
	}
	close(h.settled)
	return true
}

// drop frees the answer, which nobody reads any more.
func (h *heldAnswer) drop() {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.dropped = true
	h.free()
	if h.end != nil {
		_ = h.source.Close()
	}
}

// free returns the memory. The mutex is held.
func (h *heldAnswer) free() {
	h.limits.SharedMemory.Give(h.taken)
	h.content, h.taken = nil, 0
}

// reader returns a reader of the answer from its beginning.
func (h *heldAnswer) reader() *heldReader { return &heldReader{answer: h} }

// heldReader reads a heldAnswer while it comes in.
type heldReader struct {
	answer    *heldAnswer
	at        int
	abandoned error // why nobody waits for more
}

// Read implements io.Reader.
func (r *heldReader) Read(p []byte) (int, error) {
	h := r.answer
	h.mutex.Lock()
	for r.at == len(h.content) && h.end == nil && r.abandoned == nil && !h.dropped {
		h.grown.Wait()
	}
	switch {
	case r.abandoned != nil:
		h.mutex.Unlock()
		return 0, r.abandoned
	case r.at < len(h.content):
		n := copy(p, h.content[r.at:])
		r.at += n
		h.mutex.Unlock()
		return n, nil
	case errors.Is(h.end, errOwnCall):
		h.free() // Nobody else reads it.
		r.at = 0
		h.mutex.Unlock()
		return h.source.Read(p)
	}
	defer h.mutex.Unlock()
	if h.dropped {
		return 0, errDropped
	}
	return 0, h.end
}

// abandon ends the reading for a reason, and the call where nobody else can
// have the answer.
func (r *heldReader) abandon(cause error, cancel func(error)) {
	h := r.answer
	h.mutex.Lock()
	defer h.mutex.Unlock()
	r.abandoned = cause
	h.grown.Broadcast()
	if errors.Is(h.end, errOwnCall) {
		cancel(cause)
	}
}
