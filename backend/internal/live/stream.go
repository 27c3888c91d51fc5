package live

import "context"

// Kind says what an update is.
type Kind string

// The kinds of updates, which are the names of the events on the wire.
const (
	// Snapshot has all steps of the window, and replaces what the subscriber has.
	Snapshot Kind = "snapshot"
	// Append replaces the steps from its start to its end.
	Append Kind = "append"
	// Failed says that the last evaluation failed. The stream goes on.
	Failed Kind = "error"
)

// Update is what a subscriber gets. The subscriber calls Release when it has sent it.
type Update struct {
	Kind Kind
	// Body is a success of query_range in JSON, on one line, with the member live.
	Body []byte
	// About says which steps the body has, and who answered the newest one.
	About About
	// ID is the last step that can no longer change, in milliseconds since the Unix epoch.
	ID int64
	// Err is an Error of the Prometheus API, for Failed.
	Err error

	payload *payload
}

// Release ends the use of Body.
func (u *Update) Release() {
	if u.payload != nil {
		u.payload.release()
		u.payload = nil
	}
}

// EndError is the end of a stream.
type EndError struct {
	// Reason is a word: see the constants.
	Reason string
	// Message says more.
	Message string
}

// Error returns the message.
func (e *EndError) Error() string { return e.Message }

// The reasons for the end of a stream.
const (
	// EndShutdown means that the gateway stops, or has another configuration.
	EndShutdown = "shutdown"
	// EndPermission means that the caller may not read the datasource any more.
	EndPermission = "permission"
	// EndDatasource means that the datasource cannot answer the query any more.
	EndDatasource = "datasource"
)

// ErrShutdown is the end of all streams of a gateway.
var ErrShutdown = &EndError{Reason: EndShutdown, Message: "the gateway stops, or its configuration has changed: connect again"}

// Stream is one subscriber of a query. Only one goroutine may use it.
type Stream struct {
	hub      *Hub
	caller   uint64
	topic    *topic
	window   int64 // length in milliseconds, a multiple of the step
	isClosed bool

	// next is the number of the event that follows what the subscriber has.
	next int64
	// gap is set while the subscriber lacks steps.
	gap *gap
	// failedAt is the number of the event before which the gap could not be filled, or -1.
	failedAt int64
}

// gap is what a subscriber lacks: the steps from one on, or all of the window if that is zero.
type gap struct {
	from int64
	// isRefill is set if the subscriber has these steps, but they were incomplete.
	isRefill bool
}

// join subscribes to the topic of a query. resumeAfter is the last step that the subscriber has; zero
// for none. The mutex of the hub is held.
func (s *Stream) join(query Query, resumeAfter int64) {
	s.topic = s.hub.topicOf(query)
	step := s.topic.step
	s.window = query.Range.Milliseconds() / step * step
	for longest := s.topic.longest.Load(); longest < s.window && !s.topic.longest.CompareAndSwap(longest, s.window); {
		longest = s.topic.longest.Load()
	}
	s.gap, s.failedAt = &gap{}, -1
	if resumeAfter > 0 {
		s.gap.from = floor(resumeAfter, step) + step
	}
	s.topic.mutex.Lock()
	defer s.topic.mutex.Unlock()
	s.next = s.topic.oldest + int64(len(s.topic.events))
}

// Switch makes the stream one of another query, of which it gets a snapshot.
func (s *Stream) Switch(query Query) {
	s.hub.dropTopic(s.topic)
	s.hub.mutex.Lock()
	defer s.hub.mutex.Unlock()
	s.join(query, 0)
}

// Close ends the stream. It may be called more than once.
func (s *Stream) Close() {
	if !s.isClosed {
		s.isClosed = true
		s.hub.dropTopic(s.topic)
		s.hub.leave(s.caller)
	}
}

// Next waits for the next update. Its error is that of the context, or an *EndError.
func (s *Stream) Next(ctx context.Context) (*Update, error) {
	for {
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case s.hub.ended.Err() != nil:
			return nil, ErrShutdown
		}
		update, changed := s.take()
		if update != nil {
			return update, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-s.hub.ended.Done():
		}
	}
}

// take returns the next update. If there is none, changed is closed when there may be one.
func (s *Stream) take() (_ *Update, changed <-chan struct{}) {
	t := s.topic
	for {
		t.mutex.Lock()
		end := t.oldest + int64(len(t.events))
		isMissing := s.gap != nil && t.window != nil && s.failedAt != end
		if isMissing {
			t.mutex.Unlock()
			return s.fill(), nil
		}
		published, changed := s.event(end)
		t.mutex.Unlock()
		switch {
		case changed != nil:
			return nil, changed
		case published.err != nil:
			return &Update{Kind: Failed, Err: published.err}, nil
		case published.refillFrom != 0 && s.gap == nil:
			s.gap = &gap{from: published.refillFrom, isRefill: true}
		case published.update != nil:
			return updateOf(Append, published.update), nil
		}
	}
}

// event returns the next event, whose update is held if the subscriber needs it. If there is none,
// changed is closed when there is one. end is the number of the next event of the topic, whose mutex
// is held.
func (s *Stream) event(end int64) (published event, changed <-chan struct{}) {
	t := s.topic
	if s.next < t.oldest {
		if s.gap == nil {
			s.gap = &gap{}
			if dropped := t.hub.options.OnDropped; dropped != nil {
				dropped()
			}
			return event{}, nil
		}
		s.next = t.oldest
	}
	if s.next == end {
		return event{}, t.changed
	}
	published = t.events[s.next-t.oldest]
	s.next++
	if s.gap != nil {
		published.update = nil // It is in what fills the gap.
	}
	if published.update != nil {
		published.update.hold()
	}
	return published, nil
}

// fill returns the steps that the subscriber lacks, or the error of their evaluation.
func (s *Stream) fill() *Update {
	t := s.topic
	t.mutex.Lock()
	last := t.window.last()
	t.mutex.Unlock()
	kind, from, earliest := Append, s.gap.from, last-s.window
	if from > last || (from < earliest && !s.gap.isRefill) {
		kind = Snapshot
	}
	if from < earliest || from > last {
		from = earliest
	}
	update, next, err := t.since(from)
	if err != nil {
		s.failedAt = next
		return &Update{Kind: Failed, Err: err}
	}
	s.gap, s.next = nil, next
	return updateOf(kind, update)
}

func updateOf(kind Kind, sent *payload) *Update {
	return &Update{Kind: kind, Body: sent.body, About: sent.about, ID: sent.id, payload: sent}
}
