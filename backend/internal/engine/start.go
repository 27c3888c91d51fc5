package engine

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// mostLeadingSpace is how much white space may stand before an answer.
const mostLeadingSpace = 64

// checkStart returns upstream.ErrNotPrometheus for a success that is an HTML page or
// does not start like a JSON object. The header is not enough: servers send JSON with
// other types or with none. Of a compressed answer it knows the first byte only.
func (r *Response) checkStart() error {
	if r.Status >= http.StatusMultipleChoices {
		return nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && (kind == "text/html" || kind == "application/xhtml+xml") {
		return upstream.ErrNotPrometheus
	}
	first := byte('{')
	switch r.encoding() {
	case promapi.EncodingPlain:
	case promapi.EncodingGzip:
		first = 0x1f
	default:
		return nil
	}
	for i := range mostLeadingSpace {
		start, err := r.peek(i + 1)
		switch {
		case len(start) > i && start[i] == first:
			return nil
		case len(start) > i && strings.IndexByte(" \t\r\n", start[i]) >= 0:
		case len(start) > i || errors.Is(err, io.EOF):
			return upstream.ErrNotPrometheus
		default:
			return err
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
	// isShort is set if the last read returned less than it could take: there may be no
	// more for a while.
	isShort bool
	room    [headBytes]byte
}

// headBytes is how much of an answer is looked at in most cases, in bytes.
const headBytes = 64

// peek returns the start of the body, up to so many bytes, and the error that ended
// it. The start can still be read.
func (r *Response) peek(most int) ([]byte, error) {
	body := r.started()
	for len(body.start) < most && body.err == nil {
		body.more(most)
	}
	return body.start, body.err
}

// started returns the body as one whose start can be looked at.
func (r *Response) started() *startedBody {
	body, is := r.Body.(*startedBody)
	if !is {
		body = &startedBody{ReadCloser: r.Body}
		body.start, r.Body = body.room[:0], body
	}
	return body
}

// more reads once, until the start has at most so many bytes.
func (b *startedBody) more(most int) {
	length := len(b.start)
	b.start = slices.Grow(b.start, min(max(512, length), most-length))
	into := b.start[length:min(cap(b.start), most)]
	var n int
	n, b.err = b.ReadCloser.Read(into)
	b.start, b.isShort = b.start[:length+n], n < len(into)
}

// Read returns the start at once if there may be no more for a while. Otherwise what comes
// next comes with it, so that a short start is not sent on its own.
func (b *startedBody) Read(p []byte) (int, error) {
	n := copy(p, b.start)
	b.start = b.start[n:]
	if n == len(p) || len(b.start) > 0 {
		return n, nil
	}
	if b.err != nil {
		return n, b.err
	}
	if n > 1 && b.isShort {
		return n, nil
	}
	more, err := b.ReadCloser.Read(p[n:])
	return n + more, err
}

// bufferedStart is how much of an answer is held back in case the replica breaks it
// off, in bytes. Most panels are shorter.
const bufferedStart = 64 << 10
