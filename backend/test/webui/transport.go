package webui

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// tries is how often a request is made whose answer is cut off.
const tries = 3

// WholeAnswers asks Perses again when it cuts an answer off. The proxy of
// Perses does that to about one in 4,000 answers to POSTs: once it passes the
// header of an answer on, Go's server closes the body of the request, and the
// transport towards the datasource, which just wanted to see the end of it,
// closes the connection that the answer comes from. Any quick datasource is
// hit. It is no matter of tests that run thousands of queries.
type WholeAnswers struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper. It holds request and answer in
// memory, but for streams of events, which have no end.
func (w WholeAnswers) RoundTrip(request *http.Request) (*http.Response, error) {
	var body []byte
	if request.Body != nil {
		var err error
		body, err = io.ReadAll(request.Body)
		if err != nil {
			return nil, fmt.Errorf("read the request: %w", err)
		}
		if err := request.Body.Close(); err != nil {
			return nil, fmt.Errorf("read the request: %w", err)
		}
	}
	var cutOff error
	for range tries {
		again := request.Clone(request.Context())
		again.Body, again.ContentLength = http.NoBody, int64(len(body))
		if len(body) > 0 {
			again.Body = io.NopCloser(bytes.NewReader(body))
		}
		response, err := w.RoundTripper.RoundTrip(again)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
			return response, nil
		}
		answer, err := io.ReadAll(response.Body)
		_ = response.Body.Close() // All of it is read, or it is cut off.
		if err == nil {
			response.Body = io.NopCloser(bytes.NewReader(answer))
			return response, nil
		}
		cutOff = err
	}
	return nil, fmt.Errorf("the answer was cut off %d times: %w", tries, cutOff)
}
