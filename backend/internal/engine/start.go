package engine

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// mostLeadingSpace is how much white space may stand before an answer.
const mostLeadingSpace = 64

// checkStart looks at the start of a success, which can still be read afterwards.
// Every answer of the Prometheus API is a JSON object. So checkStart returns
// upstream.ErrNotPrometheus for a page for people, and for what does not start as
// an object does. The header is not enough: servers send JSON with other types or
// with none. Of a compressed answer only the first bytes of the compression are
// known.
func (r *Response) checkStart() error {
	if r.Status >= http.StatusMultipleChoices {
		return nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && (kind == "text/html" || kind == "application/xhtml+xml") {
		return upstream.ErrNotPrometheus
	}
	first := byte('{')
	switch strings.ToLower(r.Header.Get("Content-Encoding")) {
	case "", "identity":
	case "gzip":
		first = 0x1f
	default:
		return nil
	}
	body := r.started()
	for i := range mostLeadingSpace {
		if i == len(body.start) && !body.more(1) {
			if errors.Is(body.err, io.EOF) {
				return upstream.ErrNotPrometheus
			}
			return body.err
		}
		switch body.start[i] {
		case first:
			return nil
		case ' ', '\t', '\r', '\n':
		default:
			return upstream.ErrNotPrometheus
		}
	}
	return upstream.ErrNotPrometheus
}

// startedBody is a body whose start was looked at. Read returns the start again,
// then the rest.
type startedBody struct {
	io.ReadCloser
	start []byte
	err   error // that ended the start
	room  [mostLeadingSpace]byte
}

// started returns the body of the answer as one whose start can be looked at.
func (r *Response) started() *startedBody {
	if body, is := r.Body.(*startedBody); is {
		return body
	}
	body := &startedBody{ReadCloser: r.Body}
	body.start = body.room[:0]
	r.Body = body
	return body
}

// more reads up to so many more bytes of the start. It returns false where the
// start has ended, and the error says why.
func (b *startedBody) more(most int) bool {
	b.start = slices.Grow(b.start, most)
	n := 0
	for n == 0 && b.err == nil {
		n, b.err = b.ReadCloser.Read(b.start[len(b.start) : len(b.start)+most])
	}
	b.start = b.start[:len(b.start)+n]
	return n > 0
}

// Read returns the start at once: more may take long. Where the start is one byte, as
// after checkStart, what comes next comes with it.
func (b *startedBody) Read(p []byte) (int, error) {
	n := copy(p, b.start)
	b.start = b.start[n:]
	if n > 1 || n == len(p) {
		return n, nil
	}
	if b.err != nil {
		return n, b.err
	}
	more, err := b.ReadCloser.Read(p[n:])
	return n + more, err
}

// startReader reads the start of a body, which can still be read afterwards.
type startReader struct {
	body *startedBody
	at   int
}

// Read returns what comes next of the start.
func (s *startReader) Read(p []byte) (int, error) {
	if s.at == len(s.body.start) && !s.body.more(len(p)) {
		return 0, s.body.err
	}
	n := copy(p, s.body.start[s.at:])
	s.at += n
	return n, nil
}

// bufferedStart is how much of an answer is held back until it is clear that the
// replica lives on, in bytes: most panels are shorter. What is longer can still
// break off later, as any answer can.
const bufferedStart = 64 << 10

// bufferStart reads the start of an answer. It returns an error when the replica
// breaks it off there.
func (r *Response) bufferStart() error {
	if r.Status >= http.StatusBadRequest {
		return nil
	}
	body := r.started()
	for len(body.start) < bufferedStart && body.more(max(512, min(len(body.start), bufferedStart-len(body.start)))) {
	}
	if errors.Is(body.err, io.EOF) {
		return nil
	}
	return body.err
}

// closing is what a Prometheus says of a block that it closes because it is
// shutting down.
const closing = "block is closing"

// isShuttingDown reports whether the answer is the error of a Prometheus that is
// shutting down. Such a server closes its blocks while it still answers, and takes
// what follows from that for an error of the query.
func (r *Response) isShuttingDown() bool {
	if r.Status != http.StatusUnprocessableEntity {
		return false
	}
	body, err := r.plain()
	if err != nil {
		return false
	}
	text, err := readErrorText(body)
	r.setBody(text)
	return err == nil && bytes.Contains(text, []byte(closing))
}
