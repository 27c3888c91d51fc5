package gateway

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

const (
	// answerGrace is what sending an answer may take beyond the deadline of its
	// query, so that the error of a query that ran out of time is sent.
	answerGrace = 2 * time.Second
)

// guard bounds what a client may take of the gateway: the time in which it has to
// send the body of its request and to read the answer, and the memory of the
// body. It sets the headers that every answer has. It returns the request to be
// answered; the caller calls release at its end.
//
// The deadlines are those of the connection. The server ends them with the
// request, after it has sent what is left. The server's own request stays as it
// is: by its body the server knows whether the connection can be used again.
func (g *Gateway) guard(w http.ResponseWriter, incoming *http.Request) (guarded *http.Request, release func(), err error) {
	header := w.Header()
	// No browser takes an answer for a page, whatever a tier says of it.
	header["X-Content-Type-Options"] = []string{"nosniff"}
	header["Content-Security-Policy"] = []string{"default-src 'none'; sandbox"}
	timeout := time.Duration(g.core.Config.Query.Timeout)
	controller, now := http.NewResponseController(w), time.Now()
	// A writer without deadlines is not one of a network.
	_ = controller.SetWriteDeadline(now.Add(2*timeout + answerGrace)) // The body, then the query.
	if incoming.Body != nil && incoming.Body != http.NoBody {
		// The server takes it back when the body has been read.
		_ = controller.SetReadDeadline(now.Add(timeout))
		body := &countedRequestBody{ReadCloser: http.MaxBytesReader(w, incoming.Body, int64(g.core.Config.Query.MaxBodyBytes())), share: g.bodies.Of(datasourceOf(incoming))}
		copied := *incoming
		copied.Body = body
		incoming, release = &copied, body.release
	} else {
		release = func() {}
	}
	if len(incoming.URL.RawQuery) > g.core.Config.Query.MaxBodyBytes() {
		err = promapi.Errorf(http.StatusRequestURITooLong, promapi.ErrorBadData,
			"the query string is %d bytes long: at most %d are accepted, send a POST with a shorter query", len(incoming.URL.RawQuery), g.core.Config.Query.MaxBodyBytes())
	}
	return incoming, release, err
}

// datasourceOf names the datasource that a request is for; empty for the default
// one.
func datasourceOf(incoming *http.Request) string {
	asked, err := parseRoute(incoming.URL)
	if err != nil || asked.saved == nil {
		return ""
	}
	return asked.saved.String()
}

// untilAnswered gives a query its whole time, now that its request was read. It
// returns the deadline for sending the answer.
func (g *Gateway) untilAnswered(w http.ResponseWriter) time.Time {
	deadline := time.Now().Add(time.Duration(g.core.Config.Query.Timeout) + answerGrace)
	_ = http.NewResponseController(w).SetWriteDeadline(deadline)
	return deadline
}

// countedRequestBody is the body of a request, whose memory counts until the end
// of the request.
type countedRequestBody struct {
	io.ReadCloser
	share *admission.BudgetShare
	held  int64
	// caller has a share too; nil while the caller is not known.
	caller *callerMemory
}

// Read implements io.Reader. It returns an Error with status 503 where
// limits.request_memory has no room.
func (b *countedRequestBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if !b.caller.acquire(n) || !b.share.Acquire(config.BodyMemoryFactor*int64(n)) {
		return 0, errRequestMemory
	}
	b.held += config.BodyMemoryFactor * int64(n)
	return n, err
}

func (b *countedRequestBody) release() {
	b.share.Release(b.held)
	b.held = 0
}

var errRequestMemory = &promapi.Error{
	Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, RetryAfter: time.Second,
	Message: "the requests that are being answered take all of limits.request_memory: try again later",
}

// callerMemory is the memory of one request as part of what its caller holds.
type callerMemory struct {
	of     *admission.Budget[uint64]
	caller uint64
	held   int64
}

func (m *callerMemory) acquire(length int) bool {
	if m == nil {
		return true
	}
	bytes := config.BodyMemoryFactor * int64(length)
	if !m.of.Acquire(m.caller, bytes) {
		return false
	}
	m.held += bytes
	return true
}

func (m *callerMemory) release() {
	m.of.Release(m.caller, m.held)
	m.held = 0
}

// countFor counts a request, its query string included, as one of the caller. A
// caller gets half of what one datasource may have, so that it leaves memory to
// other callers of the same datasource. release is called at the end of the
// request. It returns an Error with status 503 where there is no room for the
// query string; reading the body returns the same.
func (g *Gateway) countFor(incoming *http.Request, caller promapi.Caller) (release func(), err error) {
	memory := &callerMemory{of: g.callerMemory, caller: caller.ID}
	if !memory.acquire(len(incoming.URL.RawQuery)) {
		return nil, errRequestMemory
	}
	if body, ok := incoming.Body.(*countedRequestBody); ok {
		body.caller = memory
	}
	return memory.release, nil
}

// passedHeaders are the headers of a tier's answer that are passed on. All
// others, such as cookies and those that tell a browser what to do, are not for
// whoever asks the gateway.
var passedHeaders = []string{"Content-Encoding", "Retry-After", "Vary"}

// copyHeader adds the headers of an answer that are passed on.
func copyHeader(to, from http.Header) {
	for _, name := range passedHeaders {
		if values := from[name]; len(values) > 0 {
			to[name] = slices.Clone(values)
		}
	}
	to["Content-Type"] = []string{contentType(from.Get("Content-Type"))}
}

// contentType returns the content type of an answer of the Prometheus API. Of
// what a tier says only the character set counts: browsers read a list such as
// "application/json;a=b,text/html" as its last part.
func contentType(ofTier string) string {
	const kind = "application/json"
	if ofTier == kind {
		return kind
	}
	given, parameters, err := mime.ParseMediaType(ofTier)
	if err == nil && given == kind && strings.EqualFold(parameters["charset"], "utf-8") {
		return kind + "; charset=utf-8"
	}
	return kind
}

// readBody reads the body of a request that is JSON. what names it in errors. It
// returns an Error with status 413 where it is too large, 503 where there is no
// memory for it, and 400 where it did not arrive.
func readBody(incoming *http.Request, what string) ([]byte, error) {
	body, err := io.ReadAll(incoming.Body)
	if err != nil {
		return nil, promapi.BodyError(fmt.Sprintf("the %s", what), err)
	}
	return body, nil
}
