package admission

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// Controller admits the calls of queries to one tier: calls beyond the limits
// wait, and identical ones are made once. It is safe for concurrent use.
type Controller struct {
	queue     *Queue
	coalescer *coalescer // nil where nothing is shared
}

// NewController returns what admits the calls to one tier. meters may be nil.
func NewController(limits Limits, meters *Meters) *Controller {
	c := &Controller{queue: NewQueue(limits, meters)}
	if limits.SharedBytes > 0 {
		c.coalescer = newCoalescer(limits, meters)
	}
	return c
}

// Call is what is known of a call before it is made.
type Call struct {
	// Caller is who asks.
	Caller Caller
	// Key is what makes two calls the same one; zero for a call whose answer is not
	// shared.
	Key RequestKey
	// Detaches is set if the caller has gone once the context is cancelled without a
	// cause. Then the call goes on for the others that have joined it.
	Detaches bool
	// Send makes the call.
	Send func(ctx context.Context) (*http.Response, error)
}

// Do makes a call when there is room for it, or returns a copy of the answer to an
// identical one that is under way. The caller closes the body.
//
// It returns an *OverloadError where there is no room in time, and otherwise the
// error of Send.
func (c *Controller) Do(ctx context.Context, made Call) (*http.Response, error) {
	send := func(ctx context.Context, entered *atomic.Bool) (*http.Response, error) {
		return c.send(ctx, made, entered)
	}
	if c.coalescer == nil || made.Key == (RequestKey{}) {
		return send(ctx, new(atomic.Bool))
	}
	return c.coalescer.do(ctx, made, send)
}

// sendFunc makes a call. It sets entered once the call is made, rather than queued.
type sendFunc func(ctx context.Context, entered *atomic.Bool) (*http.Response, error)

// send makes a call when there is room for it.
func (c *Controller) send(ctx context.Context, made Call, entered *atomic.Bool) (*http.Response, error) {
	release, err := c.queue.Acquire(ctx, made.Caller)
	if err != nil {
		return nil, err
	}
	entered.Store(true)
	response, err := made.Send(ctx)
	if err != nil {
		release()
		return nil, err
	}
	body := &endingBody{ReadCloser: response.Body, end: release}
	// Once ctx ends, the transport gives the call up. The slot is free then, even
	// if the reader of the body hangs in a write to its own client.
	body.stop = context.AfterFunc(ctx, body.finish)
	response.Body = body
	return response, nil
}

// endingBody is a body that calls end once when it is closed, or before.
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
