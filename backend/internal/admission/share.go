package admission

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// joinedPerQueued is how many requests may wait for the answer to another one,
// for each place in the queue: they cost no more than their connection.
const joinedPerQueued = 4

// Key is what makes two calls to a tier the same one. The credential, the tenant
// headers and the server belong to the tier, and namespaces to the text that is
// sent. GET and POST stay apart: an authorizing proxy in front of a tier may allow
// only one of them. Of the caller's headers those count that change the answer:
// the user agent and the trace context are those of who made the call.
type Key struct {
	Method, Path, RawQuery, Body string
	Accept, AcceptEncoding       string
}

// callFunc makes a call. It sets entered once it is made, rather than waiting
// for its turn.
type callFunc func(ctx context.Context, entered *atomic.Bool) (*http.Response, error)

// flights are the calls to one tier that others can join: those whose answer
// has not begun.
type flights struct {
	limits Limits
	meters *Meters

	// joined are the requests that wait for the answer to another one. A caller
	// has at most half of the places.
	joined *Shares[uint64]

	mutex sync.Mutex
	open  map[Key]*flight
}

func newFlights(limits Limits, meters *Meters) *flights {
	return &flights{
		limits: limits, meters: meters, open: map[Key]*flight{},
		joined: NewShares[uint64](joinedPerQueued*int64(limits.Queue), 1),
	}
}

// errOwnCall is why a request that has joined another one makes a call of its
// own; errOwnFlight why it does so as one that others can join.
var (
	errOwnCall   = errors.New("the answer is too large to be shared")
	errOwnFlight = errors.New("the call that was joined was not made, or its answer broke off")
)

// do makes a call, or joins one like it that is under way. Nobody's answer goes
// out later for that: who made the call first gets the answer as it comes in;
// those who joined get it when it is complete, or make a call of their own when
// it is too large to be held. The call ends when nobody wants it any more.
//
// The call is made where do was called: handing it to another goroutine is a
// tenth of what a small answer costs. So who leads cannot return before the
// call does. It ends the call for that, and those who joined make one of their
// own; only where it lingers and its ctx was cancelled without a cause, as that
// of a client that has gone, the call goes on and do with it.
func (f *flights) do(ctx context.Context, key Key, caller promapi.Caller, lingers bool, call callFunc) (*http.Response, error) {
	for {
		f.mutex.Lock()
		found, isOpen := f.open[key]
		if !isOpen {
			own := f.start(ctx, key, lingers)
			f.mutex.Unlock()
			return own.lead(ctx, call)
		}
		if !f.joined.Acquire(caller.ID, 1) {
			f.mutex.Unlock()
			f.meters.rejected(RejectedFull)
			return nil, &OverloadError{Reason: RejectedFull, RetryAfter: leastRetryAfter}
		}
		found.wantedBy++
		found.followers++
		f.mutex.Unlock()
		response, err := found.follow(ctx, caller)
		switch {
		case errors.Is(err, errOwnCall):
			return call(ctx, new(atomic.Bool))
		case errors.Is(err, errOwnFlight) && ctx.Err() == nil:
			continue
		case err == nil:
			f.meters.shared()
		}
		return response, err
	}
}

// start starts a flight. The mutex is held.
func (f *flights) start(ctx context.Context, key Key, lingers bool) *flight {
	started := &flight{of: f, key: key, lingers: lingers, wantedBy: 1, begun: make(chan struct{})}
	// It outlives whoever started it, for as long as somebody wants it.
	started.context, started.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	f.open[key] = started
	return started
}

// flight is one call that several requests may wait for.
type flight struct {
	of      *flights
	key     Key
	lingers bool

	context context.Context //nolint:containedctx // It is that of the call, which others join.
	cancel  context.CancelCauseFunc

	// wantedBy is how many wait for the answer or read it, and followers how
	// many of them have joined. left tells that who leads has gone before the
	// answer began, and abandoned that the call ended for that. All are guarded
	// by flights.mutex.
	wantedBy, followers int
	left, abandoned     bool

	entered atomic.Bool

	// begun is closed, with flights.mutex held, when the header is there or the
	// call has failed. What follows is set before and not changed.
	begun    chan struct{}
	response *http.Response
	err      error
	// held is the answer that is being shared, and leads who made the call and
	// reads it too; nil where it is not.
	held  *heldAnswer
	leads *heldReader
}

// begin hands the answer over. From here on nobody joins. It tells whether who
// made the call has gone.
func (f *flight) begin(response *http.Response, err error) (left bool) {
	f.of.mutex.Lock()
	f.close()
	f.response, f.err = response, err
	if err == nil && f.followers > 0 && f.wantedBy > 0 && response.ContentLength <= int64(f.of.limits.SharedBytes) {
		f.held = newHeldAnswer(response, f.of.limits)
		f.leads = f.held.reader()
	}
	unwanted, left := f.wantedBy == 0, f.left
	close(f.begun)
	f.of.mutex.Unlock()
	switch {
	case unwanted:
		f.end(nil)
	case f.held != nil:
		go f.held.fill()
	}
	return left
}

// close keeps others from joining. The mutex is held.
func (f *flight) close() {
	if f.of.open[f.key] == f {
		delete(f.of.open, f.key)
	}
}

// release is called once by everybody who waited for the flight or read it, but
// for one who led it and has left before it began: see leave.
func (f *flight) release(cause error) {
	f.of.mutex.Lock()
	f.wantedBy--
	unwanted := f.wantedBy == 0
	if unwanted {
		f.close()
	}
	begun := false
	select {
	case <-f.begun:
		begun = true
	default:
	}
	f.of.mutex.Unlock()
	switch {
	case unwanted && begun:
		f.end(cause)
	case unwanted:
		f.cancel(cause) // The call returns, and begin sees that nobody wants it.
	}
}

// end ends a call that has begun and that nobody wants.
func (f *flight) end(cause error) {
	f.cancel(cause)
	switch {
	case f.held != nil:
		f.held.drop()
	case f.response != nil:
		_ = f.response.Body.Close()
	}
}

// lead makes the call.
func (f *flight) lead(ctx context.Context, call callFunc) (*http.Response, error) {
	stop := context.AfterFunc(ctx, func() { f.leave(context.Cause(ctx)) })
	response, err := call(f.context, &f.entered)
	if left := f.begin(response, err); left {
		return nil, f.leftWith(ctx)
	}
	if err != nil {
		stop()
		f.release(nil)
		return nil, err
	}
	body := &leadBody{ReadCloser: f.response.Body, flight: f, stop: stop}
	if f.held != nil {
		body.ReadCloser = io.NopCloser(f.leads)
	}
	return f.answer(body), nil
}

// leave is called when the context of the one who made the call ends. Until the
// answer has begun this ends the call, unless others wait for it and it may go
// on; afterwards it ends the reading.
func (f *flight) leave(cause error) {
	f.of.mutex.Lock()
	select {
	case <-f.begun:
		f.of.mutex.Unlock()
		if f.held != nil {
			f.leads.abandon(cause, f.cancel)
		} else {
			f.cancel(cause) // The call itself is not bound to the context.
		}
		return
	default:
	}
	f.left = true
	f.wantedBy--
	//nolint:errorlint // A cause that wraps it is one, and somebody waits to read it.
	if f.wantedBy == 0 || !f.lingers || cause != context.Canceled {
		f.abandoned = true
		f.close()
	}
	abandoned := f.abandoned
	f.of.mutex.Unlock()
	if abandoned {
		f.cancel(cause) // The call returns, and begin sees who still wants it.
	}
}

// follow waits for the whole answer as one who has joined. It returns
// errOwnCall or errOwnFlight where there is none to be had.
func (f *flight) follow(ctx context.Context, caller promapi.Caller) (*http.Response, error) {
	response, err := f.await(ctx)
	f.of.joined.Release(caller.ID, 1)
	if err != nil {
		f.release(context.Cause(ctx))
		return nil, err
	}
	return response, nil
}

// leftWith is the error of one who no longer waits for the header.
func (f *flight) leftWith(ctx context.Context) error {
	if f.entered.Load() {
		return ctx.Err()
	}
	return &OverloadError{Reason: RejectedLeft, RetryAfter: leastRetryAfter, Cause: ctx.Err()}
}

func (f *flight) await(ctx context.Context) (*http.Response, error) {
	select {
	case <-f.begun:
	case <-ctx.Done():
		return nil, f.leftWith(ctx)
	}
	var overload *OverloadError
	switch {
	case f.err != nil && f.abandoned:
		return nil, errOwnFlight
	case errors.As(f.err, &overload):
		return nil, errOwnFlight // The place in the queue was another caller's.
	case f.err != nil:
		return nil, f.err
	case f.held == nil:
		return nil, errOwnCall
	}
	select {
	case <-f.held.settled:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if f.held.refusal != nil {
		return nil, f.held.refusal
	}
	return f.answer(&followBody{Reader: f.held.reader(), flight: f}), nil
}

// answer is the answer for one of those who wanted it.
func (f *flight) answer(body io.ReadCloser) *http.Response {
	own := *f.response
	own.Body = body
	if f.held != nil {
		own.Header = f.response.Header.Clone()
	}
	return &own
}

// leadBody is the body for the one who made the call.
type leadBody struct {
	io.ReadCloser
	flight *flight
	stop   func() bool
	once   sync.Once
}

// Close ends the call unless others still want it.
func (b *leadBody) Close() error {
	b.once.Do(func() {
		b.stop()
		b.flight.release(context.Canceled)
	})
	return nil
}

// followBody is the body for one who has joined.
type followBody struct {
	io.Reader
	flight *flight
	once   sync.Once
}

// Close frees the answer when the last one has read it.
func (b *followBody) Close() error {
	b.once.Do(func() { b.flight.release(nil) })
	return nil
}
