package gateway

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// answerGrace is the time for sending an answer after the deadline of its query, so that the
// client gets the error of a query that timed out.
const answerGrace = 2 * time.Second

// guard limits the resources of a client: the time to send the request body and to read the
// answer, and the memory for the body. It sets the headers of every answer. It returns the
// request to serve. The caller calls release at the end of the request.
//
// guard sets the deadlines of the connection. The server resets them after the request. guard
// does not modify incoming, because the server checks its body before it reuses the connection.
func (g *Gateway) guard(w http.ResponseWriter, incoming *http.Request) (guarded *http.Request, release func(), err error) {
	header := w.Header()
	// Browsers must not render an answer as a page, whatever its content.
	header["X-Content-Type-Options"] = []string{"nosniff"}
	header["Content-Security-Policy"] = []string{"default-src 'none'; sandbox"}
	// An answer is for its caller alone: shared caches do not know permissions.
	header["Cache-Control"] = []string{"no-store"}
	timeout, limit := time.Duration(g.core.Config.Query.Timeout), g.core.Config.Query.MaxBodyBytes()
	controller, now := http.NewResponseController(w), time.Now()
	// Only a writer without a connection has no deadlines.
	_ = controller.SetWriteDeadline(now.Add(2*timeout + answerGrace)) // The body, then the query.
	if incoming.Body != nil && incoming.Body != http.NoBody {
		// The server resets it after reading the body.
		_ = controller.SetReadDeadline(now.Add(timeout))
		body := &countedRequestBody{
			ReadCloser: http.MaxBytesReader(w, incoming.Body, int64(limit)),
			datasource: requestMemory[string]{share: g.bodies.Of(datasourceOf(incoming))}, caller: &requestMemory[uint64]{},
		}
		copied := *incoming
		copied.Body = body
		incoming, release = &copied, body.datasource.release
	} else {
		release = func() {}
	}
	if length := len(incoming.URL.RawQuery); length > limit {
		err = promapi.Errorf(http.StatusRequestURITooLong, promapi.ErrorBadData,
			"the query string is %d bytes long: at most %d are accepted, send a POST with a shorter query", length, limit)
	}
	return incoming, release, err
}

// datasourceOf returns the name of the datasource in the path, or an empty string for the
// default datasource.
func datasourceOf(incoming *http.Request) string {
	target, err := parseRoute(incoming.URL)
	if err != nil || target.saved == nil {
		return ""
	}
	return target.saved.String()
}

// untilAnswered restarts the write deadline with the full query timeout, after the request was
// read. It returns the deadline.
func (g *Gateway) untilAnswered(w http.ResponseWriter) time.Time {
	deadline := time.Now().Add(time.Duration(g.core.Config.Query.Timeout) + answerGrace)
	_ = http.NewResponseController(w).SetWriteDeadline(deadline)
	return deadline
}

// countedRequestBody is a request body whose memory counts until the end of the request.
type countedRequestBody struct {
	io.ReadCloser
	datasource requestMemory[string]
	// caller has no limit while the caller is unknown.
	caller *requestMemory[uint64]
}

// Read implements io.Reader. It returns an Error with status 503 if limits.request_memory is
// exhausted.
func (b *countedRequestBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if !b.caller.acquire(n) || !b.datasource.acquire(n) {
		return 0, errRequestMemory
	}
	return n, err
}

var errRequestMemory = &promapi.Error{
	Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, RetryAfter: time.Second,
	Message: "the requests in flight use all of limits.request_memory: try again later",
}

// requestMemory is the memory of one request, counted for its datasource or its caller.
type requestMemory[K comparable] struct {
	share *admission.Share[K]
	held  int64
}

func (m *requestMemory[K]) acquire(length int) bool {
	bytes := config.BodyMemoryFactor * int64(length)
	if !m.share.Acquire(bytes) {
		return false
	}
	m.held += bytes
	return true
}

func (m *requestMemory[K]) release() {
	m.share.Release(m.held)
	m.held = 0
}

// countFor counts the memory of a request, including its query string, for the caller. One
// caller gets half of the memory of a datasource, so that other callers get the rest. The
// caller of countFor calls release at the end of the request. countFor returns an Error with
// status 503 if there is no memory for the query string; reading the body returns the same.
func (g *Gateway) countFor(incoming *http.Request, caller admission.Caller) (release func(), err error) {
	memory := &requestMemory[uint64]{share: g.callerMemory.Of(caller.ID)}
	if !memory.acquire(len(incoming.URL.RawQuery)) {
		return nil, errRequestMemory
	}
	if body, ok := incoming.Body.(*countedRequestBody); ok {
		body.caller = memory
	}
	return memory.release, nil
}

// readBody reads the body of a request. what is its name in errors. It returns an Error with
// status 413 if the body is too large, 503 without memory for it, and 400 if it did not
// arrive.
func readBody(incoming *http.Request, what string) ([]byte, error) {
	body, err := io.ReadAll(incoming.Body)
	if err != nil {
		return nil, promapi.BodyError(fmt.Sprintf("the %s", what), err)
	}
	return body, nil
}
