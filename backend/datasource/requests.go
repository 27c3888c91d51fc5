package datasource

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

const (
	// bytesPerRequestByte is how much memory one byte of a request takes while
	// the request is answered: as it came in, as parameters, and as it goes to a
	// tier.
	bytesPerRequestByte = 8
	// requestMultiple leaves at least half of limits.request_memory to other
	// callers.
	requestMultiple = 1
)

var errRequestMemory = &promapi.Error{
	Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, RetryAfter: time.Second,
	Message: "tierproxy is answering too many large requests: try again in 1s, or ask the operator to raise limits.request_memory",
}

// heldRequest is the memory that a request takes until it is answered. It is
// also the body of the request, whose bytes count as they come in.
type heldRequest struct {
	io.ReadCloser
	manager    *Manager
	caller     uint64
	controller *http.ResponseController
	held       int64
}

// hold bounds the size of a request, the memory that it takes together with all
// others, and the time that its body takes to arrive. release has to be called
// once the request is answered.
//
// It returns an Error: 414 for a query string that is too long, and 503 where
// the memory is in use. Reading the body returns the same 503, and 408 where the
// body does not arrive in time.
func (m *Manager) hold(w http.ResponseWriter, incoming *http.Request, caller promapi.Caller) (release func(), err error) {
	held := &heldRequest{manager: m, caller: caller.ID, controller: http.NewResponseController(w)}
	if length := len(incoming.URL.RawQuery); length > promapi.MaxBodyBytes {
		return nil, promapi.Errorf(http.StatusRequestURITooLong, promapi.ErrorBadData, "the query string is longer than %d bytes", promapi.MaxBodyBytes)
	}
	if !held.add(len(incoming.URL.RawQuery)) {
		return nil, errRequestMemory
	}
	if hasBody(incoming) {
		_ = held.controller.SetReadDeadline(time.Now().Add(min(bodyTimeout, time.Duration(m.config.Query.Timeout))))
		held.ReadCloser = incoming.Body
		incoming.Body = held
	}
	return held.release, nil
}

func (r *heldRequest) add(length int) bool {
	bytes := int64(length) * bytesPerRequestByte
	if !r.manager.requestMemory.Acquire(r.caller, bytes) {
		return false
	}
	r.held += bytes
	return true
}

func (r *heldRequest) release() {
	r.manager.requestMemory.Release(r.caller, r.held)
	r.held = 0
}

// Read reads the body.
func (r *heldRequest) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	switch {
	case !r.add(n):
		return 0, errRequestMemory
	case errors.Is(err, io.EOF):
		// From here on the server reads ahead to see whether the client is still
		// there. The end of a deadline would pass for the client's.
		_ = r.controller.SetReadDeadline(time.Time{})
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = &promapi.Error{Status: http.StatusRequestTimeout, Type: promapi.ErrorTimeout, Cause: err,
			Message: "the request body did not arrive in time"}
	}
	return n, err
}

// readBody reads a body that is not larger than a limit in bytes. It returns an
// Error; what names the body in it.
func readBody(incoming *http.Request, what string, limit int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, incoming.Body, limit))
	if err == nil {
		return body, nil
	}
	if apiError, ok := errors.AsType[*promapi.Error](err); ok {
		return nil, apiError
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, promapi.Errorf(http.StatusRequestEntityTooLarge, promapi.ErrorBadData, "%s is larger than %d bytes", what, limit)
	}
	return nil, &promapi.Error{Status: http.StatusBadRequest, Type: promapi.ErrorBadData, Cause: err, Message: what + " could not be read"}
}
