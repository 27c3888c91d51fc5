package promapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrorType is the errorType of a Prometheus API error. The first six are those of
// Prometheus. It has none for callers without permission: the last two are named after
// their HTTP status.
type ErrorType string

// The error types with the status that they are answered with.
const (
	ErrorBadData      ErrorType = "bad_data"     // 400, 405, 413, 415: the request has to be changed.
	ErrorExecution    ErrorType = "execution"    // 422: the query failed while it was evaluated.
	ErrorTimeout      ErrorType = "timeout"      // 503, 504: the deadline passed.
	ErrorInternal     ErrorType = "internal"     // 500, 502: something broke on this side.
	ErrorUnavailable  ErrorType = "unavailable"  // 429, 501, 502, 503: a tier or Perses is unavailable.
	ErrorNotFound     ErrorType = "not_found"    // 404: no such datasource or endpoint.
	ErrorUnauthorized ErrorType = "unauthorized" // 401: the caller has to sign in.
	ErrorForbidden    ErrorType = "forbidden"    // 403: the caller may not do this.
)

// Error is an error that is answered in the shape of the Prometheus API.
type Error struct {
	// Status is the HTTP status code.
	Status int
	// Type is the errorType of the body.
	Type ErrorType
	// Message goes to the caller: no secrets, no addresses.
	Message string
	// Cause is for the log only and may be nil.
	Cause error
	// RetryAfter becomes the header Retry-After, in whole seconds; zero for none.
	RetryAfter time.Duration
	// Allow becomes the header Allow: methods, separated by commas, for status 405.
	Allow string
}

// Error returns the message and, where there is one, the cause.
func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Message
	}
	return e.Message + ": " + e.Cause.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Errorf returns an Error with a formatted message.
func Errorf(status int, errorType ErrorType, format string, arguments ...any) *Error {
	return &Error{Status: status, Type: errorType, Message: fmt.Sprintf(format, arguments...)}
}

// BadData returns an Error with status 400.
func BadData(format string, arguments ...any) *Error {
	return Errorf(http.StatusBadRequest, ErrorBadData, format, arguments...)
}

// MethodNotAllowed returns an Error with status 405.
func MethodNotAllowed(path, method string, allowed []string) *Error {
	err := Errorf(http.StatusMethodNotAllowed, ErrorBadData, "%s does not take the method %s: use %s", path, method, strings.Join(allowed, " or "))
	err.Allow = strings.Join(allowed, ", ")
	return err
}

// InvalidParameter returns an Error with status 400, in the words of Prometheus.
func InvalidParameter(name string, cause error) *Error {
	return BadData("invalid parameter %q: %s", name, cause)
}

// AsError returns the Error in err, or one with status 500 that hides err.
func AsError(err error) *Error {
	var apiError *Error
	if errors.As(err, &apiError) {
		return apiError
	}
	return &Error{Status: http.StatusInternalServerError, Type: ErrorInternal, Message: "internal error of tierproxy: see its log", Cause: err}
}

// MessageOf returns the message of AsError.
func MessageOf(err error) string { return AsError(err).Message }

// HeaderRequestID is the header, of requests and answers, with the id of the request in
// the log.
const HeaderRequestID = "X-Request-Id"

// WriteError answers with err in the shape of the Prometheus API,
// {"status":"error","errorType":"…","error":"…"}, and with the id of the request
// if the header of the answer has one.
func WriteError(w http.ResponseWriter, err error) {
	apiError := AsError(err)
	if apiError.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(apiError.RetryAfter.Seconds())))
	}
	if apiError.Allow != "" {
		w.Header().Set("Allow", apiError.Allow)
	}
	writeJSON(w, apiError.Status, errorBody{"error", apiError.Type, apiError.Message, w.Header().Get(HeaderRequestID)})
}

type errorBody struct {
	Status    string    `json:"status"`
	ErrorType ErrorType `json:"errorType"`
	Error     string    `json:"error"`
	RequestID string    `json:"requestId,omitempty"`
}

// ErrorBody returns the body that WriteError writes. requestID may be empty.
func ErrorBody(err error, requestID string) []byte {
	apiError := AsError(err)
	body, _ := json.Marshal(errorBody{"error", apiError.Type, apiError.Message, requestID}) // Texts have a JSON form.
	return body
}

// WriteData answers with data in the shape of the Prometheus API,
// {"status":"success","data":…}.
func WriteData(w http.ResponseWriter, data any) {
	writeJSON(w, http.StatusOK, struct {
		Status string `json:"status"`
		Data   any    `json:"data"`
	}{"success", data})
}

func writeJSON(w http.ResponseWriter, status int, content any) {
	body, err := json.Marshal(content)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // A client that has gone needs no answer.
}

// BodyError returns the error for a body that could not be read; what names it. It is
// the Error in err, or one with status 413 for a body that is too large and with 400 for
// one that is truncated or late.
func BodyError(what string, err error) *Error {
	if apiError, is := errors.AsType[*Error](err); is {
		return apiError
	}
	if tooLarge, is := errors.AsType[*http.MaxBytesError](err); is {
		return Errorf(http.StatusRequestEntityTooLarge, ErrorBadData, "%s is larger than %d bytes", what, tooLarge.Limit)
	}
	return &Error{Status: http.StatusBadRequest, Type: ErrorBadData, Message: what + " could not be read", Cause: err}
}

// WithoutURL drops the URL of a failed HTTP call from its error: it has a query and an
// address, which belong neither into an error nor into a log.
func WithoutURL(err error) error {
	var urlError *url.Error
	if errors.As(err, &urlError) {
		return urlError.Err
	}
	return err
}

// fromPrometheus are the error types that Prometheus has and tierproxy does not use itself.
var fromPrometheus = []ErrorType{"canceled", "not_acceptable"}

// IsKnown reports whether the type is one of Prometheus or of tierproxy. Other servers of
// the Prometheus API have types of their own.
func (t ErrorType) IsKnown() bool {
	switch t {
	case ErrorBadData, ErrorExecution, ErrorTimeout, ErrorInternal, ErrorUnavailable, ErrorNotFound, ErrorUnauthorized, ErrorForbidden:
		return true
	}
	return slices.Contains(fromPrometheus, t)
}

// ErrorTypeOf returns the error type that belongs to a status.
func ErrorTypeOf(status int) ErrorType {
	switch status {
	case http.StatusUnprocessableEntity:
		return ErrorExecution
	case http.StatusUnauthorized:
		return ErrorUnauthorized
	case http.StatusForbidden:
		return ErrorForbidden
	case http.StatusNotFound:
		return ErrorNotFound
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return ErrorUnavailable
	case http.StatusGatewayTimeout:
		return ErrorTimeout
	}
	if status >= http.StatusInternalServerError {
		return ErrorInternal
	}
	return ErrorBadData
}
