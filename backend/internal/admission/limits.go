package admission

import (
	"fmt"
	"time"
)

// Limits bound the calls to one tier. The zero value bounds nothing.
type Limits struct {
	// Concurrent is how many calls are under way at a time; 0 for no bound. A
	// call ends with the body of its answer.
	Concurrent int
	// Queue is how many further calls wait.
	Queue int
	// Wait is the longest that one waits.
	Wait time.Duration
	// SharedBytes is the largest answer that identical calls share, in bytes;
	// 0 where nothing is shared.
	SharedBytes int
	// SharedMemory is how much memory the answers take that are being shared.
	// It is common to all tiers; nil for no bound.
	SharedMemory *BudgetShare
}

// The reasons of an OverloadError, as label values of a metric.
const (
	// RejectedFull: the queue is full.
	RejectedFull = "queue-full"
	// RejectedWait: the longest wait is over.
	RejectedWait = "queue-wait"
	// RejectedLeft: the caller has gone, or its time is over.
	RejectedLeft = "left"
)

// Rejections lists every reason of an OverloadError.
func Rejections() []string { return []string{RejectedFull, RejectedWait, RejectedLeft} }

// OverloadError is returned for a call that was not made because the tier has
// too many already. It says nothing about the tier's health.
type OverloadError struct {
	// Reason is one of Rejections.
	Reason string
	// RetryAfter is when it is worth to try again: whole seconds, at least one.
	RetryAfter time.Duration
	// Cause is why the caller stopped waiting; nil where it did not.
	Cause error
}

// Error returns the reason in words for callers.
func (e *OverloadError) Error() string {
	return fmt.Sprintf("it has too many queries already: try again in %s", e.RetryAfter)
}

// Unwrap returns the cause.
func (e *OverloadError) Unwrap() error { return e.Cause }

// Bounds of OverloadError.RetryAfter.
const (
	leastRetryAfter = time.Second
	mostRetryAfter  = 30 * time.Second
)
