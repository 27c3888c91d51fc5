package engine

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// An answer that is read while it passes comes in gzip if the client accepts that: every
// Prometheus and Thanos supports it.
const (
	encodingGzip  = "gzip"
	encodingPlain = "identity"
)

// inEncoding returns the request with another Accept-Encoding.
func inEncoding(request *promapi.Request, encoding string) *promapi.Request {
	changed := *request
	changed.Header = request.Header.Clone()
	changed.Header.Set("Accept-Encoding", encoding)
	return &changed
}

// acceptsGzip reports whether the Accept-Encoding of a request allows gzip (RFC
// 9110, section 12.5.3).
func acceptsGzip(header http.Header) (accepted bool) {
	for part := range strings.SplitSeq(strings.Join(header.Values("Accept-Encoding"), ","), ",") {
		name, parameters, err := mime.ParseMediaType(part)
		if err != nil || (name != encodingGzip && name != "*") {
			continue
		}
		quality, err := strconv.ParseFloat(cmp.Or(parameters["q"], "1"), 64)
		if accepted = err == nil && quality > 0; name != "*" {
			break
		}
	}
	return accepted
}

// encoding is the content encoding of the answer.
func (r *Response) encoding() string {
	return cmp.Or(strings.ToLower(r.Header.Get("Content-Encoding")), encodingPlain)
}

// plain returns the body, decompressed.
func (r *Response) plain() (io.Reader, error) {
	switch encoding := r.encoding(); encoding {
	case encodingPlain:
		return r.Body, nil
	case encodingGzip:
		return unzip(r.Body)
	default:
		return nil, promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "the tier answered with content encoding %q although none was asked for", encoding)
	}
}

func unzip(body io.Reader) (io.Reader, error) {
	unzipped, err := gzip.NewReader(body)
	if err != nil {
		return nil, &promapi.Error{Status: http.StatusBadGateway, Type: promapi.ErrorUnavailable, Message: "the tier's answer could not be decompressed", Cause: err}
	}
	return unzipped, nil
}

// zippedBody compresses a body while it is read, and passes on what has arrived. A
// truncated source stays truncated: it gets no gzip trailer.
type zippedBody struct {
	source io.Reader
	out    bytes.Buffer
	writer *gzip.Writer
	chunk  []byte
	err    error
}

const zippedChunk = 32 << 10

func zip(source io.Reader) *zippedBody {
	made := &zippedBody{source: source, chunk: make([]byte, zippedChunk)}
	// Fast, because the tier has to be kept up with.
	made.writer, _ = gzip.NewWriterLevel(&made.out, gzip.BestSpeed) // The level is a valid one.
	return made
}

// Read implements io.Reader.
func (z *zippedBody) Read(p []byte) (int, error) {
	for z.out.Len() == 0 {
		if z.err != nil {
			return 0, z.err
		}
		n, err := z.source.Read(z.chunk)
		z.err = err
		_, _ = z.writer.Write(z.chunk[:n]) // A bytes.Buffer takes everything.
		if errors.Is(err, io.EOF) {
			_ = z.writer.Close()
		} else if n > 0 {
			_ = z.writer.Flush()
		}
	}
	return z.out.Read(p)
}
