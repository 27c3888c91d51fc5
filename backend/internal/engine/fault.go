package engine

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// closing is the error of a Prometheus for a block that it closes on shutdown, while it
// still answers. It reports that as an error of the query.
const closing = "block is closing"

// isFault reports whether the answer is an error that is about the tier, not about the
// query: see promapi.IsFault. Of hot, only what says that it is unavailable counts: hot's
// load is not passed on to cold.
func (r *Response) isFault() bool {
	switch {
	case r.Status == http.StatusUnprocessableEntity:
		text, err := r.errorText()
		if err != nil {
			return false
		}
		r.setBody(text)
		apiError := errorIn(r.Status, text)
		return apiError != nil && (strings.Contains(apiError.Message, closing) || promapi.IsFault(r.Status, apiError.Message))
	case r.Tier == tier.Hot:
		return r.Status == http.StatusBadGateway || r.Status == http.StatusServiceUnavailable || r.Status == http.StatusGatewayTimeout
	}
	return promapi.IsFault(r.Status, "")
}

// failedWith returns the CallError for an answer that is an error, and reads it into
// memory. isRefusal says that the error is about the query.
func (r *Response) failedWith(err error, isRefusal bool) *CallError {
	failed := &CallError{Tier: r.Tier, Reason: r.Reason, Replica: r.Replica, Err: err, isRefusal: isRefusal}
	text, readError := r.errorText()
	if readError == nil {
		inMemory := *r
		inMemory.setBody(text)
		failed.response = &inMemory
	} else if isRefusal {
		failed.Err, failed.isRefusal = readError, false
	}
	return failed
}

// answerOf returns the answer that an error of a tier is, or the error.
func answerOf(err error) (*Response, error) {
	if failed, is := errors.AsType[*CallError](err); is && failed.response != nil {
		return failed.response, nil
	}
	return nil, err
}

// insteadOf returns the outcome of an attempt that took over for a failed one. If hot
// cannot take over for cold, the outcome is what cold said: the rules chose cold.
func insteadOf(failed error, response *Response, err error) (*Response, error) {
	call, is := errors.AsType[*CallError](failed)
	if !is || call.Tier != tier.Cold || (err == nil && !promapi.IsFault(response.Status, "")) {
		return response, err
	}
	if err == nil {
		_ = response.Body.Close()
	}
	return answerOf(failed)
}

// isOverloadOfCold reports whether an error says that cold has too many queries already.
// Hot's own queue decides whether hot takes one of them.
func isOverloadOfCold(err error) bool {
	failed, is := errors.AsType[*CallError](err)
	if !is || failed.Tier != tier.Cold {
		return false
	}
	_, is = errors.AsType[*admission.OverloadError](err)
	return is
}

// retryAfter returns the seconds of the header Retry-After; zero for none, and for a date.
func retryAfter(header http.Header) time.Duration {
	seconds, err := strconv.Atoi(header.Get("Retry-After"))
	if err != nil || seconds < 0 || seconds > int(time.Hour/time.Second) {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
