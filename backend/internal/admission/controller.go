package admission

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// Controller admits the calls of queries to one tier: calls beyond the limits wait, and identical
// calls are made once. It is safe for concurrent use.
type Controller struct {
	queue     *Queue
	coalescer *coalescer // nil without sharing
}

// NewController returns a controller for one tier. meters may be nil.
func NewController(limits Limits, meters *Meters) *Controller {
	c := &Controller{queue: NewQueue(limits, meters)}
	if limits.SharedBytes > 0 {
		c.coalescer = newCoalescer(limits, meters)
	}
	return c
}

// Call is a call to a tier.
type Call struct {
	// Caller is the caller of the query.
	Caller Caller
	// Key identifies the call; zero for a call whose answer is not shared.
	Key RequestKey
	// Detaches lets the call continue for others that have joined it, if its context is
	// cancelled without a cause.
	Detaches bool
	// Headroom is what the call is a part of; nil for most calls.
	Headroom *Headroom
	// Send makes the call.
	Send func(ctx context.Context) (*http.Response, error)
}

// Do makes a call when there is room for it, or returns a copy of the answer to an identical call
// in flight. The caller closes the body. Do returns an *OverloadError if there is no room in
// time, or the error of Send.
func (c *Controller) Do(ctx context.Context, made Call) (*http.Response, error) {
	send := func(ctx context.Context, entered *atomic.Bool) (*http.Response, error) {
		return c.send(ctx, made, entered)
	}
	if c.coalescer == nil || made.Key == (RequestKey{}) {
		return send(ctx, new(atomic.Bool))
	}
	return c.coalescer.do(ctx, made, send)
}

// sendFunc makes a call. It sets entered when the call has left the queue.
type sendFunc func(ctx context.Context, entered *atomic.Bool) (*http.Response, error)

// send makes a call when there is room for it.
func (c *Controller) send(ctx context.Context, made Call, entered *atomic.Bool) (*http.Response, error) {
	release, err := c.queue.Acquire(ctx, made.Caller)
	if err != nil {
		return nil, err
	}
	entered.Store(true)
	made.Headroom.enter()
	response, err := made.Send(ctx)
	if err != nil {
		release()
		return nil, err
	}
	body := &endingBody{ReadCloser: response.Body, end: release}
	// When ctx ends, the transport cancels the call. This frees the slot, even if the reader of
	// the body is blocked.
	body.stop = context.AfterFunc(ctx, body.finish)
	response.Body = body
	return response, nil
}

// endingBody is a body that calls end once, at the latest when it is closed.
type endingBody struct {
	io.ReadCloser
	once sync.Once
	end  func()
	stop func() bool // keeps a context from calling finish; may be nil
}

func (b *endingBody) finish() { b.once.Do(b.end) }

// Close closes the body.
func (b *endingBody) Close() error {
	err := b.ReadCloser.Close()
	if b.stop != nil {
		b.stop()
	}
	b.finish()
	return err
}
