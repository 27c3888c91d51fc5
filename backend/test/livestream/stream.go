package livestream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Stream follows a live query, and connects again whenever the connection ends. Its fields may not
// change once it runs.
type Stream struct {
	// Base returns the base URL of a tierproxy or a datasource for the next connection. attempts is
	// how often the stream has connected before.
	Base func(attempts int) string
	// Values are the parameters of the query, and Range the one among them, parsed.
	Values url.Values
	Range  time.Duration
	Header http.Header
	Client *http.Client
	// StaysEnded lets the stream end with an event end, unless that is for a shutdown.
	StaysEnded bool
	// OnAppend, if it is not nil, gets the time from the newest step of an append until it was read.
	// isFirst is set for the first append of a connection, which may fill a gap.
	OnAppend func(delay time.Duration, isFirst bool)
	// BeforeRead, if it is not nil, is called before each event is read.
	BeforeRead func(ctx context.Context)

	mutex      sync.Mutex
	window     window
	seen       Seen
	about      About
	disconnect context.CancelFunc
	retry      time.Duration
}

// Seen counts what a stream has got.
type Seen struct {
	// Connections are those that were answered with 200, and Refused those with another status.
	Connections, Refused int
	Snapshots, Appends   int
	// Fresh, Changed and Same are the steps of appends that were new, that had other samples before
	// and that had the same. Needless are appends that begin with a step of the last kind, unless an
	// earlier update had a warning.
	Fresh, Changed, Same, Needless int
	// Warned are the updates with warnings.
	Warned int
	// Holes are appends that begin too late, and Settled those that change a step until the id.
	Holes, Settled int
	// Errors are the events of that name, and Ends the reasons of the events end.
	Errors, Ends []string
	// LastRefusal is the body of the last one.
	LastRefusal string
}

// State is what a stream has at a moment.
type State struct {
	// First and Last are its first and its last step, and ID the last one that no longer changes, in
	// milliseconds since the Unix epoch. Last is zero before the first update.
	First, Last, ID int64
	// Matrix is the data of an answer to query_range from First to Last.
	Matrix any
	Seen   Seen
	// About is of the last update.
	About About
}

// State returns what the stream has.
func (s *Stream) State() State {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	w := &s.window
	return State{First: w.first, Last: w.last, ID: w.id, Matrix: w.matrix(w.first, w.last), Seen: s.seen, About: s.about}
}

// Seen returns what the stream has got so far.
func (s *Stream) Seen() Seen {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.seen
}

// Steps returns the last step that the stream has, and the id, as in State.
func (s *Stream) Steps() (last, id int64) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.window.last, s.window.id
}

// Disconnect ends the connection. The stream connects again.
func (s *Stream) Disconnect() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.disconnect != nil {
		s.disconnect()
	}
}

// errEnded ends a stream that stays ended.
var errEnded = errors.New("the stream has ended")

// Run follows the query until the context ends. It returns an error if the server breaks the
// contract, and nil for a server that cannot be reached: it tries again then.
func (s *Stream) Run(ctx context.Context) error {
	s.window.length, s.retry = s.Range.Milliseconds(), time.Second
	for attempts := 0; ctx.Err() == nil; attempts++ {
		err := s.connect(ctx, s.Base(attempts))
		var broken *brokenError
		switch {
		case errors.Is(err, errEnded):
			return nil
		case errors.As(err, &broken) && ctx.Err() == nil:
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(s.retry):
		}
	}
	return nil
}

// brokenError says how a server breaks the contract.
type brokenError struct{ reason error }

func (e *brokenError) Error() string { return e.reason.Error() }

func (e *brokenError) Unwrap() error { return e.reason }

// connect reads one connection to its end.
func (s *Stream) connect(ctx context.Context, base string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/v1/metrics/live?"+s.Values.Encode(), http.NoBody)
	if err != nil {
		return &brokenError{err}
	}
	for name, values := range s.Header {
		request.Header[name] = values
	}
	request.Header.Set("Accept", "text/event-stream")
	s.mutex.Lock()
	s.disconnect = cancel
	if s.window.last != 0 {
		s.window.resume()
		request.Header.Set("Last-Event-ID", fmt.Sprint(float64(s.window.id)/1000))
	}
	s.mutex.Unlock()
	response, err := s.Client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.seen.Refused++
		s.seen.LastRefusal = fmt.Sprintf("%d %s", response.StatusCode, text)
		return nil
	}
	if kind := response.Header.Get("Content-Type"); kind != "text/event-stream" {
		return &brokenError{fmt.Errorf("the content type is %q", kind)}
	}
	s.mutex.Lock()
	s.seen.Connections++
	s.mutex.Unlock()
	return s.read(ctx, newEventReader(response.Body))
}

// read reads the events of a connection.
func (s *Stream) read(ctx context.Context, events *eventReader) error {
	isFirst := true
	for {
		if s.BeforeRead != nil {
			s.BeforeRead(ctx)
		}
		got, err := events.next()
		if events.retry != 0 {
			s.retry = events.retry
		}
		if err != nil {
			return err
		}
		if err := s.take(got, isFirst); err != nil {
			return err
		}
		isFirst = false
	}
}

// take takes an event. It returns errEnded or a brokenError.
func (s *Stream) take(got event, isFirst bool) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	switch got.name {
	case "error":
		s.seen.Errors = append(s.seen.Errors, got.data)
		return nil
	case "end":
		var said struct{ Reason, Message string }
		if err := json.Unmarshal([]byte(got.data), &said); err != nil || said.Message == "" {
			return &brokenError{fmt.Errorf("the event end has %q: %w", got.data, err)}
		}
		s.seen.Ends = append(s.seen.Ends, said.Reason)
		if s.StaysEnded && said.Reason != "shutdown" {
			return errEnded
		}
		return nil
	case "snapshot", "append":
	default:
		return &brokenError{fmt.Errorf("an event is called %q", got.name)}
	}
	var sent update
	if err := json.Unmarshal([]byte(got.data), &sent); err != nil {
		return &brokenError{err}
	}
	var id float64
	if _, err := fmt.Sscan(got.id, &id); err != nil {
		return &brokenError{fmt.Errorf("the id is %q: %w", got.id, err)}
	}
	found, err := s.window.apply(got.name == "snapshot", &sent, milliseconds(id))
	if err != nil {
		return &brokenError{fmt.Errorf("%s: %w: %.300s", got.name, err, got.data)}
	}
	s.about = sent.Live
	found.isNeedless = found.isNeedless && s.seen.Warned == 0
	if len(sent.Warnings) > 0 {
		s.seen.Warned++
	}
	if got.name == "snapshot" {
		s.seen.Snapshots++
		return nil
	}
	s.seen.count(found)
	if s.OnAppend != nil && found.fresh > 0 {
		s.OnAppend(got.read.Sub(time.UnixMilli(s.window.last)), isFirst)
	}
	return nil
}

func (s *Seen) count(found applied) {
	s.Appends++
	s.Fresh, s.Changed, s.Same = s.Fresh+found.fresh, s.Changed+found.changed, s.Same+found.same
	for counter, is := range map[*int]bool{&s.Needless: found.isNeedless, &s.Holes: found.hasHole, &s.Settled: found.wasSettled} {
		if is {
			*counter++
		}
	}
}
