package engine

import (
	"cmp"
	"compress/gzip"
	"io"
	"net/http"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// inEncoding returns the request with another Accept-Encoding.
func inEncoding(request *promapi.Request, encoding string) *promapi.Request {
	changed := *request
	changed.Header = request.Header.Clone()
	changed.Header.Set("Accept-Encoding", encoding)
	return &changed
}

// encoding is the content encoding of the answer.
func (r *Response) encoding() string {
	return cmp.Or(strings.ToLower(r.Header.Get("Content-Encoding")), promapi.EncodingPlain)
}

// plain returns the body, decompressed.
func (r *Response) plain() (io.Reader, error) {
	switch encoding := r.encoding(); encoding {
	case promapi.EncodingPlain:
		return r.Body, nil
	case promapi.EncodingGzip:
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
