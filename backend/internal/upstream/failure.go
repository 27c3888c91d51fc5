package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// StatusError is returned for a tier that answers a probe with a status that is no
// success, or a query with one that is no answer to it.
type StatusError struct {
	// Status is the HTTP status code.
	Status int
}

// Error names the status.
func (e *StatusError) Error() string {
	if http.StatusText(e.Status) == "" {
		return fmt.Sprintf("answered with status %d, which is none of HTTP", e.Status)
	}
	return fmt.Sprintf("answered with status %d (%s)", e.Status, http.StatusText(e.Status))
}

// Failure is a class of reasons why a call to a tier failed. People who may
// not read the gateway's log see the class and nothing else: neither addresses
// nor what a host that is no tier answered.
type Failure string

// The classes of failures.
const (
	FailureDenied        Failure = "denied-by-policy"
	FailureUnauthorized  Failure = "unauthorized" // 401, 403 and 407
	FailureCredential    Failure = "credential"   // the gateway's own cannot be had
	FailureTLS           Failure = "tls"
	FailureName          Failure = "name-not-found"
	FailureCanceled      Failure = "canceled"
	FailureTimeout       Failure = "timeout"
	FailureRefused       Failure = "refused"
	FailureClosed        Failure = "closed"
	FailureNotPrometheus Failure = "not-prometheus" // an answer, but none of the Prometheus API
	FailureOther         Failure = "unreachable"
)

// FailureOf returns the class of an error of a call.
func FailureOf(err error) Failure {
	var (
		denied      *DeniedError
		status      *StatusError
		credential  *CredentialError
		certificate *tls.CertificateVerificationError
		alert       tls.AlertError
		record      tls.RecordHeaderError
		dnsError    *net.DNSError
		opError     *net.OpError
		network     net.Error
		apiError    *promapi.Error
	)
	switch {
	case errors.As(err, &denied):
		return FailureDenied
	case errors.As(err, &credential):
		return FailureCredential
	case errors.As(err, &status):
		switch status.Status {
		case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
			return FailureUnauthorized
		}
		return FailureNotPrometheus
	case errors.As(err, &certificate), errors.As(err, &alert), errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return FailureTLS
	case errors.As(err, &dnsError):
		return FailureName
	case errors.Is(err, context.Canceled):
		return FailureCanceled
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return FailureTimeout
	case errors.As(err, &opError) && opError.Op == "dial":
		return FailureRefused
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &opError):
		return FailureClosed
	case errors.As(err, &apiError), errors.Is(err, ErrNotPrometheus):
		return FailureNotPrometheus
	}
	return FailureOther
}

// IsGone reports whether a call failed because nobody answers there any more, as
// for a server that ended while it was probed.
func IsGone(err error) bool {
	failure := FailureOf(err)
	return failure == FailureRefused || failure == FailureClosed
}

// Describe says in one line why a call to a tier failed, in words that name
// neither addresses nor credentials.
func Describe(err error) string {
	var (
		denied  *DeniedError
		status  *StatusError
		refused *RefusedError
	)
	switch {
	case errors.As(err, &denied):
		return denied.Error()
	case errors.As(err, &refused):
		return refused.Error()
	case errors.As(err, &status):
		return status.Error()
	case errors.Is(err, http.ErrSchemeMismatch):
		return "it does not speak TLS on this port"
	}
	switch FailureOf(err) {
	case FailureCredential:
		return "the gateway's own credential for it cannot be had"
	case FailureTLS:
		return "its TLS certificate was not accepted"
	case FailureName:
		return "its host name was not found"
	case FailureCanceled:
		return "the request was cancelled"
	case FailureTimeout:
		return "it did not answer in time"
	case FailureRefused:
		return "it refused the connection"
	case FailureClosed:
		return "it closed the connection"
	case FailureNotPrometheus:
		return "it did not answer as a Prometheus API does"
	case FailureDenied, FailureUnauthorized, FailureOther:
	}
	return "it could not be reached"
}

// RefusedError is returned for a call to a tier that must not be asked.
type RefusedError struct {
	// Reason says why not, in words that every caller may read.
	Reason string
}

// Error returns the reason.
func (e *RefusedError) Error() string { return e.Reason }

// ErrNotPrometheus is returned for a success that is no answer of the Prometheus
// API.
var ErrNotPrometheus = errors.New("it did not answer as a Prometheus API does")

// ErrNotAnAnswer marks an answer that is not one of the Prometheus API.
var ErrNotAnAnswer = errors.New("the answer is not one of the Prometheus API")

// CannotTell reports whether a tier answered that it does not know an endpoint
// or that it is not for us, rather than failing.
func CannotTell(err error) bool {
	var status *StatusError
	if !errors.As(err, &status) {
		// What is no answer of the Prometheus API comes from a server that
		// does not speak it here.
		return errors.Is(err, ErrNotAnAnswer)
	}
	switch status.Status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
		http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return true
	}
	return status.Status >= http.StatusMultipleChoices && status.Status < http.StatusBadRequest
}
