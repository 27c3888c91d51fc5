package admission

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// Controller admits the calls of queries to one tier: calls beyond the limits
// wait, and identical ones are made once. It is safe for concurrent use.
type Controller struct {
	limits  Limits
	gate    *Gate
	flights *flights
}

// NewController returns what admits the calls to one tier. meters may be nil.
func NewController(limits Limits, meters *Meters) *Controller {
	return &Controller{limits: limits, gate: NewGate(limits, meters), flights: newFlights(limits, meters)}
}

// Call is what is known of a call before it is made.
type Call struct {
	// Caller is who asks.
	Caller promapi.Caller
	// Key is what makes two calls the same one. The zero Key is that of a call
	// whose answer is not shared.
	Key Key
	// Lingers is set when the call goes on for others after its caller has gone.
	Lingers bool
	// Send makes the call.
	Send func(ctx context.Context) (*http.Response, error)
}

// Do makes a call when there is room for it, or returns a copy of the answer to
// an identical one that is under way. The caller closes the body. It returns an
// *OverloadError where there is no room in time, and what Send returns.
func (c *Controller) Do(ctx context.Context, made Call) (*http.Response, error) {
	call := func(ctx context.Context, entered *atomic.Bool) (*http.Response, error) {
		return c.send(ctx, made, entered)
	}
	if c.limits.SharedBytes <= 0 || made.Key == (Key{}) {
		return call(ctx, new(atomic.Bool))
	}
	return c.flights.do(ctx, made.Key, made.Caller, made.Lingers, call)
}

// send makes a call when there is room for it.
func (c *Controller) send(ctx context.Context, made Call, entered *atomic.Bool) (*http.Response, error) {
	release, err := c.gate.Admit(ctx, made.Caller)
	if err != nil {
		return nil, err
	}
	entered.Store(true)
	response, err := made.Send(ctx)
	if err != nil {
		release()
		return nil, err
	}
	body := &countedBody{ReadCloser: response.Body, leave: release}
	// Once ctx ends, the transport gives the call up. The slot is free then, even
	// if the reader of the body hangs in a write to its own client.
	body.stop = context.AfterFunc(ctx, body.end)
	response.Body = body
	return response, nil
}

// countedBody is the body of an answer whose call counts until it is closed or
// its context ends.
type countedBody struct {
	io.ReadCloser
	once  sync.Once
	leave func()
	stop  func() bool
}

func (b *countedBody) end() { b.once.Do(b.leave) }

// Close closes the body and makes room for the next call.
func (b *countedBody) Close() error {
	err := b.ReadCloser.Close()
	b.stop()
	b.end()
	return err
}
