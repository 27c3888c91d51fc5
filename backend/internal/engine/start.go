package engine

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
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
	body := &startedBody{ReadCloser: r.Body}
	r.Body = body
	for len(body.held) < mostLeadingSpace {
		n, err := io.ReadFull(body.ReadCloser, body.room[len(body.held):len(body.held)+1])
		body.held = body.room[:len(body.held)+n]
		switch {
		case errors.Is(err, io.EOF):
			return upstream.ErrNotPrometheus
		case err != nil:
			return err
		}
		switch c := body.held[len(body.held)-1]; c {
		case first:
			return nil
		case ' ', '\t', '\r', '\n':
			continue
		}
		break
	}
	return upstream.ErrNotPrometheus
}

// startedBody is a body whose start was read.
type startedBody struct {
	io.ReadCloser
	held []byte // what is left of it
	room [mostLeadingSpace]byte
}

// Read returns the start together with what comes next.
func (b *startedBody) Read(p []byte) (int, error) {
	if len(b.held) == 0 || len(p) == 0 {
		return b.ReadCloser.Read(p)
	}
	held := copy(p, b.held)
	b.held = b.held[held:]
	if held == len(p) {
		return held, nil
	}
	n, err := b.ReadCloser.Read(p[held:])
	return held + n, err
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
	var held bytes.Buffer
	_, err := io.CopyN(&held, r.Body, bufferedStart)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	r.readFrom(io.MultiReader(&held, r.Body))
	return nil
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
