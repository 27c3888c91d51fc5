package engine

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// mostLeadingSpace is how much white space may stand before an answer.
const mostLeadingSpace = 64

// checkBeginning looks at the beginning of a success, which stays to be read.
// Every answer of the Prometheus API is a JSON object: it returns
// upstream.ErrNotPrometheus for one that says to be a page for people, or that
// does not begin as an object does. What the header says is not enough: servers
// send JSON with other types or with none. Of a compressed answer only the
// first bytes of the compression are known.
func (r *Response) checkBeginning() error {
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
	begun := &begunBody{ReadCloser: r.Body}
	r.Body = begun
	for len(begun.held) < mostLeadingSpace {
		n, err := io.ReadFull(begun.ReadCloser, begun.room[len(begun.held):len(begun.held)+1])
		begun.held = begun.room[:len(begun.held)+n]
		switch {
		case errors.Is(err, io.EOF):
			return upstream.ErrNotPrometheus
		case err != nil:
			return err
		}
		switch c := begun.held[len(begun.held)-1]; c {
		case first:
			return nil
		case ' ', '\t', '\r', '\n':
			continue
		}
		break
	}
	return upstream.ErrNotPrometheus
}

// begunBody is a body of which the beginning was read.
type begunBody struct {
	io.ReadCloser
	held []byte // what is left of it
	room [mostLeadingSpace]byte
}

// Read returns the beginning together with what comes next.
func (b *begunBody) Read(p []byte) (int, error) {
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
