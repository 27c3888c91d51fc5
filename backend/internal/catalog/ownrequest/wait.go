package ownrequest

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Jittered returns an interval that differs by up to a tenth, so that several gateways do not
// send their requests at the same time.
func Jittered(interval time.Duration) time.Duration {
	return time.Duration(float64(interval) * (0.9 + 0.2*rand.Float64())) //nolint:gosec // Nothing depends on it.
}

// Sleep waits for a time. It returns false if ctx ends first.
func Sleep(ctx context.Context, duration time.Duration) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// WaitAll waits for all channels. It returns false if ctx ends first.
func WaitAll(ctx context.Context, waits []<-chan struct{}) bool {
	for _, wait := range waits {
		select {
		case <-wait:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// WithTimeout is context.WithTimeout for waits that are rarely needed: the timer starts when somebody
// waits for the end of the context.
func WithTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	lazy := &lazyContext{Context: ctx, deadline: time.Now().Add(timeout)}
	return lazy, lazy.cancel
}

// lazyContext is a context that starts its timer when it is used.
type lazyContext struct {
	context.Context //nolint:containedctx // It is a context itself.

	deadline time.Time
	mutex    sync.Mutex
	started  context.Context //nolint:containedctx // The same.
	end      context.CancelFunc
	ended    bool
}

// start returns the context with the timer.
func (l *lazyContext) start() context.Context {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.started == nil {
		l.started, l.end = context.WithDeadline(l.Context, l.deadline)
		if l.ended {
			l.end()
		}
	}
	return l.started
}

// Deadline implements context.Context.
func (l *lazyContext) Deadline() (time.Time, bool) { return l.start().Deadline() }

// Done implements context.Context.
func (l *lazyContext) Done() <-chan struct{} { return l.start().Done() }

// Err implements context.Context.
func (l *lazyContext) Err() error { return l.start().Err() }

// Value implements context.Context.
func (l *lazyContext) Value(key any) any { return l.start().Value(key) }

// cancel ends the context.
func (l *lazyContext) cancel() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.ended = true; l.started != nil {
		l.end()
	}
}
