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

// RequestKey is what makes two calls to a tier the same one. The credential, the
// tenant headers and the server belong to the tier, and namespaces to the text
// that is sent. GET and POST stay apart: an authorizing proxy in front of a tier
// may allow only one of them. Of the caller's headers those count that change the
// answer, which the user agent and the trace context do not.
type RequestKey struct {
	Method, Path, RawQuery, Body string
	Accept, AcceptEncoding       string
}

// joinedPerQueued is how many requests may wait for the answer to another one, for
// each place in the queue: they cost no more than their connection.
const joinedPerQueued = 4

// Why a request that has joined a call gets no copy of its answer. After errTooLarge
// it makes a call that others cannot join, after errRetry one like the first.
var (
	errTooLarge = errors.New("the answer is too large to be shared")
	errRetry    = errors.New("the call was not made, or its answer broke off")
)

// coalescer makes identical calls once. A request that finds the same call under
// way joins it, and gets a copy of its answer. Joining ends when the header of the
// answer is there. So an answer without joined requests is not copied.
type coalescer struct {
	limits Limits
	meters *Meters
	// joined are the requests that wait for the answer to another one. One caller
	// has at most half of the places.
	joined *Budget[uint64]

	mutex sync.Mutex
	open  map[RequestKey]*sharedCall // those that can be joined
}

// sharedCall is one call that several requests may wait for.
type sharedCall struct {
	key     RequestKey
	context context.Context //nolint:containedctx // It is that of the call, which outlives the request that made it.
	cancel  context.CancelCauseFunc
	entered atomic.Bool // the call was made, rather than queued

	// coalescer.mutex guards these. wanted is how many wait for the answer or read
	// it, and joined how many have joined.
	wanted, joined int
	settled        bool

	// done is closed when the call is settled, which sets the rest.
	done     chan struct{}
	response *http.Response
	body     []byte
	acquired int64 // bytes of the memory
	err      error // why those who joined get no copy
}

func newCoalescer(limits Limits, meters *Meters) *coalescer {
	return &coalescer{
		limits: limits, meters: meters.orUnseen(), open: map[RequestKey]*sharedCall{},
		joined: NewBudget[uint64](joinedPerQueued*int64(limits.Queue), 1),
	}
}

// do makes a call, or joins one like it that is under way.
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

// lead makes a call. It does so on the caller's goroutine: another one would cost a
// tenth of a small answer. So it cannot return before the call does, and ends the
// call when ctx ends. Only where the request detaches and ctx was cancelled without
// a cause, as that of a client that has gone, the call goes on for the others.
func (c *coalescer) lead(ctx context.Context, call *sharedCall, detaches bool, send sendFunc) (*http.Response, error) {
	stop := context.AfterFunc(ctx, func() {
		cause := context.Cause(ctx)
		//nolint:errorlint // A cause that wraps it is one, and somebody waits to read it.
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

// settle ends the waiting of those who have joined a call. It reads the answer to
// its end, as far as the limits allow, and returns the body for who made the call.
func (c *coalescer) settle(call *sharedCall, response *http.Response, err error) io.ReadCloser {
	defer func() {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		call.settled = true
		close(call.done)
		c.free(call)
	}()
	if _, isOverload := errors.AsType[*OverloadError](err); isOverload || (err != nil && call.context.Err() != nil) {
		call.err = errRetry // It ended for reasons of who made it.
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
		_ = response.Body.Close() // Room for the next call, however slow the readers are.
		return call.reader()
	case errors.Is(err, errTooLarge):
		call.err = errTooLarge
	default:
		call.err = errRetry
	}
	// Where it broke off, the body returns the same error again.
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(call.reader(), response.Body), response.Body}
}

// follow waits for the answer as one who has joined the call. It returns errTooLarge
// or errRetry where there is none to be had.
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

// leave is called once for each request that wanted the answer. It ends the call for
// the last one, or if ends is set.
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

// close keeps others from joining. The mutex is held.
func (c *coalescer) close(call *sharedCall) {
	if c.open[call.key] == call {
		delete(c.open, call.key)
	}
}

// free gives back the memory of an answer after its last reader. The mutex is held.
func (c *coalescer) free(call *sharedCall) {
	if call.settled && call.wanted == 0 {
		c.limits.SharedMemory.Release(call.acquired)
	}
}

// leftWith returns the error for a caller that no longer waits for the header.
func (s *sharedCall) leftWith(ctx context.Context) error {
	if s.entered.Load() {
		return ctx.Err()
	}
	return &OverloadError{Reason: RejectedLeft, RetryAfter: leastRetryAfter, Cause: ctx.Err()}
}

func (s *sharedCall) reader() io.ReadCloser { return io.NopCloser(bytes.NewReader(s.body)) }

// answer returns the answer for one of those who share it.
func (s *sharedCall) answer(body io.ReadCloser) *http.Response {
	own := *s.response
	own.Body, own.Header = body, s.response.Header.Clone()
	return &own
}

// answerWriter keeps an answer while it comes in.
type answerWriter struct {
	call   *sharedCall
	limits *Limits
}

// Write implements io.Writer. It returns errTooLarge after the first part that does
// not fit, which it keeps.
func (w *answerWriter) Write(part []byte) (int, error) {
	w.call.body = append(w.call.body, part...)
	if len(w.call.body) > w.limits.SharedBytes || !w.limits.SharedMemory.Acquire(int64(len(part))) {
		return len(part), errTooLarge
	}
	w.call.acquired += int64(len(part))
	return len(part), nil
}
