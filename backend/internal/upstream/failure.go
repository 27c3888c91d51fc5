package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// ErrNotPrometheus is returned for a success that is no answer of the Prometheus API.
var ErrNotPrometheus = errors.New("it did not answer as a Prometheus API does")

// ErrNotAnAnswer is returned for an answer to a probe whose data has an unexpected form.
var ErrNotAnAnswer = errors.New("the answer is not one of the Prometheus API")

// StatusError is returned for an answer with an unexpected HTTP status code.
type StatusError struct{ Status int }

// Error returns the status.
func (e *StatusError) Error() string {
	if http.StatusText(e.Status) == "" {
		return fmt.Sprintf("answered with status %d, which is none of HTTP", e.Status)
	}
	return fmt.Sprintf("answered with status %d (%s)", e.Status, http.StatusText(e.Status))
}

// RefusedError is returned for a call to a refused tier. Every caller may read its Reason.
type RefusedError struct{ Reason string }

// Error returns the reason.
func (e *RefusedError) Error() string { return e.Reason }

// Failure is a class of failed calls to a tier. Callers only see the class, but neither addresses
// nor the answer of a host that is no tier.
type Failure string

// The classes of failures.
const (
	FailureDenied        Failure = "denied-by-policy"
	FailureUnauthorized  Failure = "unauthorized" // 401, 403 and 407
	FailureCredential    Failure = "credential"   // tierproxy cannot get its own
	FailureTLS           Failure = "tls"
	FailureName          Failure = "name-not-found"
	FailureCanceled      Failure = "canceled"
	FailureTimeout       Failure = "timeout"
	FailureRefused       Failure = "refused"
	FailureClosed        Failure = "closed"
	FailureNotPrometheus Failure = "not-prometheus" // an answer, but none of the Prometheus API
	FailureOther         Failure = "unreachable"
)

// descriptions are the results of Describe for a class.
var descriptions = map[Failure]string{
	FailureCredential:    "tierproxy cannot get its own credential for it",
	FailureTLS:           "its TLS certificate was not accepted",
	FailureName:          "its host name was not found",
	FailureCanceled:      "the request was cancelled",
	FailureTimeout:       "it did not answer in time",
	FailureRefused:       "it refused the connection",
	FailureClosed:        "it closed the connection",
	FailureNotPrometheus: ErrNotPrometheus.Error(),
	FailureOther:         "it could not be reached",
}

// is reports whether an error is of a type, or wraps such an error.
func is[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// FailureOf returns the class of an error of a call.
func FailureOf(err error) Failure {
	network, _ := errors.AsType[net.Error](err)
	operation, _ := errors.AsType[*net.OpError](err)
	status, _ := errors.AsType[*StatusError](err)
	switch {
	case is[*DeniedError](err):
		return FailureDenied
	case is[*CredentialError](err):
		return FailureCredential
	case status != nil && slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired}, status.Status):
		return FailureUnauthorized
	case status != nil:
		return FailureNotPrometheus
	case is[*tls.CertificateVerificationError](err), is[tls.AlertError](err), is[tls.RecordHeaderError](err), errors.Is(err, http.ErrSchemeMismatch):
		return FailureTLS
	case is[*net.DNSError](err):
		return FailureName
	case errors.Is(err, context.Canceled):
		return FailureCanceled
	case errors.Is(err, context.DeadlineExceeded), network != nil && network.Timeout():
		return FailureTimeout
	case operation != nil && operation.Op == "dial":
		return FailureRefused
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), operation != nil:
		return FailureClosed
	case is[*promapi.Error](err), errors.Is(err, ErrNotPrometheus):
		return FailureNotPrometheus
	}
	return FailureOther
}

// IsGone reports whether a call failed because no server answers any more.
func IsGone(err error) bool {
	failure := FailureOf(err)
	return failure == FailureRefused || failure == FailureClosed
}

// CannotTell reports whether a tier answered that it does not have an endpoint, or does not serve
// it to tierproxy. Such an answer is no failure.
func CannotTell(err error) bool {
	status, ok := errors.AsType[*StatusError](err)
	if !ok {
		return errors.Is(err, ErrNotAnAnswer)
	}
	return status.Status/100 == 3 || slices.Contains([]int{
		http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented,
	}, status.Status)
}

// Describe returns why a call to a tier failed, in one line without addresses and credentials.
func Describe(err error) string {
	if denied, ok := errors.AsType[*DeniedError](err); ok {
		return denied.Error()
	}
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return refused.Error()
	}
	if status, ok := errors.AsType[*StatusError](err); ok {
		return status.Error()
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return "it does not speak TLS on this port"
	}
	return descriptions[FailureOf(err)]
}
