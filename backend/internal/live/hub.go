// Package live keeps the answers of range queries up to date for those who follow them. Subscribers
// of the same query share one evaluation for each step.
//
// The steps of a live query are the multiples of its step since the Unix epoch. A topic evaluates
// each step when it is due, together with the older steps whose samples may still arrive, and
// publishes what is new or has changed. A Stream is one subscriber: it gets a snapshot of its
// window, then what its topic publishes. A subscriber that is too slow gets another snapshot.
//
// The package knows neither tiers nor HTTP: Query.Evaluate answers the query.
package live

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// Options are what all live queries of a gateway have in common.
type Options struct {
	// Streams is the largest number of streams, and StreamsPerCaller that of one caller.
	Streams, StreamsPerCaller int
	// Freshness is how long after a step its value may still change.
	Freshness time.Duration
	// Memory is for the steps that may still change and for what is being sent. Nil: no bound.
	Memory *admission.ByteBudget
	// OnStreams, if not nil, is called with the change of the number of streams: 1 or -1.
	OnStreams func(change int)
	// OnResumed, if not nil, is called for a stream that goes on where another one ended.
	OnResumed func()
	// OnDropped, if not nil, is called when updates are dropped because a subscriber is too slow.
	OnDropped func()
}

// Query is a live query of a subscriber.
type Query struct {
	// Key is the same for queries that always have the same answer.
	Key string
	// Datasource names the datasource: what its queries hold of the memory counts together.
	Datasource string
	// Step is the time between two evaluations, and Range the length of the window that the
	// subscriber follows.
	Step, Range time.Duration
	// IsWhole is set if the value at each step depends on where the window begins and ends. All of
	// it is evaluated at each step then.
	IsWhole bool
	// Ahead is how far after a step the query reads, or zero.
	Ahead time.Duration
	// Evaluate answers the range query from start to end. isNewest is set for steps that may still
	// change: their answer is not worth keeping. It returns an Error of the Prometheus API.
	Evaluate func(ctx context.Context, start, end time.Time, isNewest bool) (*Answer, error)
}

// Answer is the answer to a range query.
type Answer struct {
	// Matrix holds the series, the warnings and the infos.
	Matrix *splice.Matrix
	// Bytes is how much of Options.Memory the matrix takes. The caller of Evaluate releases it.
	Bytes int64
	// IsApart is set if the steps of the answer must not stand beside those of another one, because
	// it was evaluated in another query language.
	IsApart bool
	// Tier, Reason and Source say who answered and why, as the headers of a query do.
	Tier, Reason, Source string
}

// Hub holds the live queries of a gateway. It is safe for concurrent use.
type Hub struct {
	options Options
	// ended ends when the gateway stops, or ends its streams.
	ended context.Context //nolint:containedctx // It is the lifetime of the topics.
	end   context.CancelFunc

	mutex   sync.Mutex
	topics  map[string]*topic
	streams int
	callers map[uint64]int // streams by caller

	running sync.WaitGroup // the goroutines of topics
}

// New returns a Hub.
func New(options Options) *Hub {
	h := &Hub{options: options, topics: map[string]*topic{}, callers: map[uint64]int{}}
	h.ended, h.end = context.WithCancel(context.Background())
	return h
}

// Memory returns the budget for answers: see Answer.Bytes.
func (h *Hub) Memory() *admission.ByteBudget { return h.options.Memory }

// Drain ends all streams, so that their clients connect elsewhere, and refuses new ones. It waits
// for the evaluations in flight, which it cancels.
func (h *Hub) Drain() {
	h.mutex.Lock()
	h.end()
	h.mutex.Unlock()
	h.running.Wait()
}

// retryAfter is how long a caller waits who has too many streams.
const retryAfter = 10 * time.Second

// Subscribe returns a stream of the query. resumeAfter is the last step, in milliseconds since the
// Unix epoch, that the subscriber has from an earlier stream; zero for none. The caller calls Close
// at the end.
//
// It returns an Error with status 503 if there are too many streams, or if the gateway stops.
func (h *Hub) Subscribe(caller uint64, query Query, resumeAfter int64) (*Stream, error) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	var message string
	switch {
	case h.options.Streams == 0:
		return nil, promapi.Errorf(http.StatusNotFound, promapi.ErrorNotFound, "live queries are off: the operator can set live.max_streams")
	case h.ended.Err() != nil:
		message = "the gateway is stopping: connect again"
	case h.streams >= h.options.Streams:
		message = fmt.Sprintf("there are already %d live streams, and live.max_streams allows no more: try again later", h.streams)
	case h.callers[caller] >= h.options.StreamsPerCaller:
		message = fmt.Sprintf("you already have %d live streams, and live.max_streams_per_caller allows no more: close one of them", h.callers[caller])
	default:
		h.streams++
		h.callers[caller]++
		h.report(1)
		stream := &Stream{hub: h, caller: caller}
		stream.join(query, resumeAfter)
		if resumeAfter != 0 && h.options.OnResumed != nil {
			h.options.OnResumed()
		}
		return stream, nil
	}
	return nil, &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, Message: message, RetryAfter: retryAfter}
}

func (h *Hub) report(change int) {
	if h.options.OnStreams != nil {
		h.options.OnStreams(change)
	}
}

// leave gives a stream's place to others.
func (h *Hub) leave(caller uint64) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.streams--
	if h.callers[caller]--; h.callers[caller] == 0 {
		delete(h.callers, caller)
	}
	h.report(-1)
}

// topicOf returns the topic of a query with one more subscriber. The mutex is held.
func (h *Hub) topicOf(query Query) *topic {
	key := query.Key
	if query.IsWhole {
		key += fmt.Sprintf(" over %s", query.Range)
	}
	if t, exists := h.topics[key]; exists {
		t.subscribers++
		return t
	}
	t := newTopic(h, key, query)
	h.topics[key] = t
	h.running.Go(t.run)
	return t
}

// lingersFor is how long a topic goes on without subscribers: some reload a page.
const lingersFor = 10 * time.Second

// dropTopic takes a subscriber from a topic, which ends some time after the last one.
func (h *Hub) dropTopic(t *topic) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if t.subscribers--; t.subscribers > 0 {
		return
	}
	time.AfterFunc(lingersFor, func() {
		h.mutex.Lock()
		defer h.mutex.Unlock()
		if t.subscribers == 0 && h.topics[t.key] == t {
			delete(h.topics, t.key)
			t.cancel()
		}
	})
}
