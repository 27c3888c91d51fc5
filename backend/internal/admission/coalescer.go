package admission

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// RequestKey identifies a call to a tier: calls with equal keys are identical. The credential, the
// tenant headers and the server belong to the tier, and namespaces to the query. The method
// counts, because an authorizing proxy may allow only one. Of the caller's headers, only those
// count that change the answer.
type RequestKey struct {
	Method, Path, RawQuery, Body string
	Accept, AcceptEncoding       string
}

// joinedPerQueued is how many requests may join calls, for each place in the queue. They cost
// little more than their connection.
const joinedPerQueued = 4

// Why a request that has joined a call gets no copy of its answer. After errTooLarge it makes a
// call that others cannot join, after errRetry one like the first.
var (
	errTooLarge = errors.New("the answer is too large to be shared")
	errRetry    = errors.New("the call was not made, or its answer broke off")
)

// coalescer makes identical calls once. A request joins an identical call, and gets a copy of its
// answer, until the header of the answer arrives. An answer without joined requests is not copied.
type coalescer struct {
	limits Limits
	meters *Meters
	// joined counts the requests that have joined a call. One caller has at most half of them.
	joined *Budget[uint64]

	mutex sync.Mutex
	open  map[RequestKey]*sharedCall // calls that requests can join
}

// sharedCall is a call that several requests may wait for.
type sharedCall struct {
	key     RequestKey
	context context.Context //nolint:containedctx // The call outlives the request that made it.
	cancel  context.CancelCauseFunc
	entered atomic.Bool // the call has left the queue

	// coalescer.mutex guards these. wanted is the number of requests that wait for the answer or
	// read it, and joined the number of requests that have joined.
	wanted, joined int
	settled        bool

	// done is closed when the call is settled, which sets the rest.
	done     chan struct{}
	response *http.Response
	body     []byte
	acquired int64 // bytes of the memory
	err      error // why requests that have joined get no copy
}

func newCoalescer(limits Limits, meters *Meters) *coalescer {
	return &coalescer{
		limits: limits, meters: meters.orUnseen(), open: map[RequestKey]*sharedCall{},
		joined: NewBudget[uint64](joinedPerQueued*int64(limits.Queue), 1),
	}
}

// do makes a call, or joins an identical one in flight.
func (c *coalescer) do(ctx context.Context, made Call, send sendFunc) (*http.Response, error) {
	for {
		c.mutex.Lock()
		call, isOpen := c.open[made.Key]
		if !isOpen {
			call = &sharedCall{key: made.Key, wanted: 1, done: make(chan struct{})}
			call.context, call.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
			c.open[made.Key] = call
			c.mutex.Unlock()
			return c.lead(ctx, call, made.Detaches, send)
		}
		if !c.joined.Acquire(made.Caller.ID, 1) {
			c.mutex.Unlock()
			c.meters.Rejected[RejectedFull].Inc()
			return nil, &OverloadError{Reason: RejectedFull, RetryAfter: leastRetryAfter}
		}
		call.wanted++
		call.joined++
		c.mutex.Unlock()
		response, err := c.follow(ctx, call)
		c.joined.Release(made.Caller.ID, 1)
		switch {
		case errors.Is(err, errTooLarge):
			return send(ctx, new(atomic.Bool))
		case errors.Is(err, errRetry) && ctx.Err() == nil:
			continue
		case err == nil:
			c.meters.Shared.Inc()
		}
		return response, err
	}
}

// lead makes a call on the caller's goroutine, because another one would cost a tenth of a small
// answer. Therefore lead cannot return before the call, and cancels it when ctx ends. But if the
// request detaches and ctx was cancelled without a cause, the call continues for the others.
func (c *coalescer) lead(ctx context.Context, call *sharedCall, detaches bool, send sendFunc) (*http.Response, error) {
	stop := context.AfterFunc(ctx, func() {
		cause := context.Cause(ctx)
		//nolint:errorlint // An error that wraps it is a cause.
		c.leave(call, cause, !detaches || cause != context.Canceled)
	})
	leave := func() {
		if stop() {
			c.leave(call, nil, false)
		}
	}
	response, err := send(call.context, &call.entered)
	c.mutex.Lock()
	c.close(call)
	isShared := call.joined > 0
	c.mutex.Unlock()
	body := &endingBody{end: leave}
	switch {
	case isShared:
		body.ReadCloser = c.settle(call, response, err)
	case err == nil:
		body.ReadCloser = response.Body
	}
	switch {
	case ctx.Err() != nil:
		if err == nil {
			_ = body.Close()
		}
		return nil, call.leftWith(ctx)
	case err != nil:
		leave()
		return nil, err
	}
	if !isShared {
		response.Body = body
		return response, nil
	}
	return call.answer(body), nil
}

// settle reads the answer, as far as the limits allow, for the requests that have joined the call.
// It returns the body for the request that made the call.
func (c *coalescer) settle(call *sharedCall, response *http.Response, err error) io.ReadCloser {
	defer func() {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		call.settled = true
		close(call.done)
		c.free(call)
	}()
	if _, isOverload := errors.AsType[*OverloadError](err); isOverload || (err != nil && call.context.Err() != nil) {
		call.err = errRetry // The reason concerns only the request that made the call.
		return nil
	}
	if call.response, call.err = response, err; err != nil {
		return nil
	}
	if response.ContentLength > int64(c.limits.SharedBytes) {
		call.err = errTooLarge
		return response.Body
	}
	call.body = make([]byte, 0, max(response.ContentLength, 0))
	_, err = io.Copy(&answerWriter{call: call, limits: &c.limits}, response.Body)
	switch {
	case err == nil:
		_ = response.Body.Close() // This frees the slot, however slow the readers are.
		return call.reader()
	case errors.Is(err, errTooLarge):
		call.err = errTooLarge
	default:
		call.err = errRetry
	}
	// If the answer broke off, the body returns the same error again.
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(call.reader(), response.Body), response.Body}
}

// follow waits for the answer to a call that the request has joined. It returns errTooLarge or
// errRetry if there is no copy.
func (c *coalescer) follow(ctx context.Context, call *sharedCall) (*http.Response, error) {
	select {
	case <-call.done:
	case <-ctx.Done():
		c.leave(call, context.Cause(ctx), false)
		return nil, call.leftWith(ctx)
	}
	if call.err != nil {
		c.leave(call, nil, false)
		return nil, call.err
	}
	return call.answer(&endingBody{ReadCloser: call.reader(), end: func() { c.leave(call, nil, false) }}), nil
}

// leave is called once for each request of a call. It cancels the call after the last one, or if
// ends is set.
func (c *coalescer) leave(call *sharedCall, cause error, ends bool) {
	c.mutex.Lock()
	call.wanted--
	if ends = ends || call.wanted == 0; ends {
		c.close(call)
	}
	c.free(call)
	c.mutex.Unlock()
	if ends {
		call.cancel(cause)
	}
}

// close prevents further requests from joining. The mutex is held.
func (c *coalescer) close(call *sharedCall) {
	if c.open[call.key] == call {
		delete(c.open, call.key)
	}
}

// free releases the memory of an answer after its last reader. The mutex is held.
func (c *coalescer) free(call *sharedCall) {
	if call.settled && call.wanted == 0 {
		c.limits.SharedMemory.Release(call.acquired)
	}
}

// leftWith returns the error for a caller that stopped waiting for the header.
func (s *sharedCall) leftWith(ctx context.Context) error {
	if s.entered.Load() {
		return ctx.Err()
	}
	return &OverloadError{Reason: RejectedLeft, RetryAfter: leastRetryAfter, Cause: ctx.Err()}
}

func (s *sharedCall) reader() io.ReadCloser { return io.NopCloser(bytes.NewReader(s.body)) }

// answer returns a copy of the answer with a body.
func (s *sharedCall) answer(body io.ReadCloser) *http.Response {
	response := *s.response
	response.Body, response.Header = body, s.response.Header.Clone()
	return &response
}

// answerWriter collects an answer.
type answerWriter struct {
	call   *sharedCall
	limits *Limits
}

// Write implements io.Writer. It returns errTooLarge after the first part that exceeds the limits,
// which it keeps.
func (w *answerWriter) Write(part []byte) (int, error) {
	w.call.body = append(w.call.body, part...)
	if len(w.call.body) > w.limits.SharedBytes || !w.limits.SharedMemory.Acquire(int64(len(part))) {
		return len(part), errTooLarge
	}
	w.call.acquired += int64(len(part))
	return len(part), nil
}
