package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

const (
	// emptyPeek bounds how much of an answer is read to see that it is empty.
	emptyPeek = 4 << 10
	// zippedPeek bounds how much of a compressed one is.
	zippedPeek = 16 << 10
	// maxErrorBytes bounds the error of a tier that is read.
	maxErrorBytes = 64 << 10
)

// finish makes the answer of the tier that of the gateway: labels, limit,
// warnings, and errors in one language.
func (c *call) finish(ctx context.Context, response *Response, decision tier.Decision) error {
	if response.assembled {
		return nil
	}
	if response.Status >= http.StatusBadRequest {
		if answered, err := c.answerLocally(response); answered {
			return err
		}
		return c.translateError(ctx, response, decision)
	}
	if err := c.change(ctx, response, decision.Tier); err != nil {
		return err
	}
	return response.addWarnings(decision.Warnings, acceptsGzip(c.query.Request.Header))
}

// changes tells whether the answer of a tier has to be decoded.
func (c *call) changes(name tier.Name) bool {
	switch c.query.Request.Endpoint {
	case promapi.Series, promapi.Labels, promapi.QueryExemplars:
		return name == tier.Hot && len(c.planned.added) > 0
	case promapi.Query, promapi.QueryRange:
		// Thanos does not know the limit of these.
		return name == tier.Cold && c.limit() > 0
	default:
		return false
	}
}

// limit is what the request asks for, or zero.
func (c *call) limit() int {
	limit, err := strconv.Atoi(c.query.Request.Parameters.Get("limit"))
	if err != nil || limit < 0 {
		return 0
	}
	return limit
}

// replace puts another body into the answer.
func (r *Response) replace(envelope *promapi.Envelope) error {
	text, err := envelope.Bytes()
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	r.setBody(text)
	return nil
}

// setHeader makes the header that of a JSON text that was written here.
func (r *Response) setHeader() {
	r.Header = r.Header.Clone()
	for _, name := range []string{"Content-Encoding", "Content-Length", "ETag"} {
		r.Header.Del(name)
	}
	r.Header.Set("Content-Type", "application/json")
}

func (r *Response) setBody(text []byte) {
	r.setHeader()
	r.ContentLength = int64(len(text))
	r.Body = struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(text), r.Body}
}

// isEmpty looks at the beginning of the answer, which stays to be read as it came
// in.
func (r *Response) isEmpty() bool {
	seen := &recorder{source: r.Body}
	text, err := io.Reader(seen), error(nil)
	if r.encoding() != encodingPlain {
		text, err = (&Response{Header: r.Header, Body: io.NopCloser(io.LimitReader(seen, zippedPeek))}).plain()
	}
	var start []byte
	if err == nil {
		start, err = readWhileEmpty(text)
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{seen.again(), r.Body}
	return errors.Is(err, io.EOF) && promapi.IsEmpty(start)
}

// readWhileEmpty reads for as long as what it has read can be the beginning of
// an answer that holds nothing, so that the others are not held up.
func readWhileEmpty(body io.Reader) ([]byte, error) {
	start := make([]byte, 0, 512)
	for len(start) < emptyPeek && promapi.MayBeEmpty(start) {
		start = slices.Grow(start, 512)
		n, err := body.Read(start[len(start):cap(start)])
		start = start[:len(start)+n]
		if err != nil {
			return start, err
		}
	}
	return start, nil
}

func (r *Response) setError(apiError *promapi.Error) error {
	encoded, err := json.Marshal(map[string]string{"status": "error", "errorType": string(apiError.Type), "error": apiError.Message})
	if err != nil {
		return fmt.Errorf("write the error: %w", err)
	}
	r.Status = apiError.Status
	r.setBody(encoded)
	return nil
}

// addWarnings puts the warnings into a successful answer. What came in compressed
// goes out compressed if the client accepts that.
func (r *Response) addWarnings(warnings []string, compressed bool) error {
	r.Warnings = warnings
	if len(warnings) == 0 {
		return nil
	}
	body, err := r.plain()
	if err != nil {
		return err
	}
	changed, err := promapi.AddWarnings(body, warnings)
	if err != nil {
		return fmt.Errorf("add warnings to the answer: %w", err)
	}
	if compressed && r.encoding() == encodingGzip {
		changed = zip(changed)
	} else {
		r.Header.Del("Content-Encoding")
	}
	r.Header.Del("Content-Length")
	r.Header.Del("ETag")
	r.ContentLength = -1
	r.Body = struct {
		io.Reader
		io.Closer
	}{changed, r.Body}
	return nil
}
