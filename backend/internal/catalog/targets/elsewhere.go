package targets

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

const (
	// mostAnswers is the maximum number of answers that are kept of one server, and mostPending
	// that of questions that wait.
	mostAnswers, mostPending = 4000, 500
	// askedAtOnce and askedBytes bound the questions in one request.
	askedAtOnce, askedBytes = 20, 4 << 10
	// settling is how long after its time a sample may get into cold, and staleAfter how old the answer
	// about a hole may be that has no end, or just ended.
	settling, staleAfter = 30 * time.Second, 90 * time.Second
	// failedFor is how long after a failure a question is not asked again.
	failedFor = 5 * time.Second
)

// Question asks how many targets a server scraped between two times, both exclusive, in
// milliseconds since the Unix epoch. To may be End. With EachStep, a target counts once for each
// quarter of a minute.
type Question struct {
	Selector string // of the series named up
	From, To int64
	EachStep bool
}

// Elsewhere knows how many targets a server scraped where another one has holes. It is safe for
// concurrent use.
type Elsewhere struct {
	mutex   sync.Mutex
	answers *simplelru.LRU[Question, *answer] // by a question without To
	pending []*answer
	wake    chan struct{} // receives when a question is pending
}

// answer is what is known of a question. The mutex of Elsewhere guards it.
type answer struct {
	question Question
	until    int64 // up to which the answer is known
	settled  int64 // until, after the pending answer
	count    int
	isKnown  bool
	failedAt time.Time
	waiting  chan struct{} // closed after the next answer; nil if none is pending
}

// NewElsewhere returns an Elsewhere without any answer: see Run.
func NewElsewhere() *Elsewhere {
	// It fails only for a size below one.
	answers, _ := simplelru.NewLRU[Question, *answer](mostAnswers, nil)
	return &Elsewhere{answers: answers, wake: make(chan struct{}, 1)}
}

// Count returns how many targets the server scraped, as far as its data reach: until newest, in
// milliseconds since the Unix epoch. If that is not known, waiting is closed after the next
// answer. It is nil after a failure.
func (e *Elsewhere) Count(question Question, newest int64, now time.Time) (count int, isKnown bool, waiting <-chan struct{}) {
	until := min(question.To-1, newest)
	if until <= question.From+1 {
		return 0, true, nil
	}
	key := question
	key.To = 0
	e.mutex.Lock()
	defer e.mutex.Unlock()
	known, ok := e.answers.Get(key)
	if !ok {
		known = &answer{question: key}
		e.answers.Add(key, known)
	}
	required := until
	if question.To > newest-staleAfter.Milliseconds() {
		required -= staleAfter.Milliseconds()
	}
	isFound := known.count > 0 && !question.EachStep // That does not change.
	if known.isKnown && (isFound || known.until >= required) {
		return known.count, true, nil
	}
	if known.waiting == nil {
		if now.Sub(known.failedAt) < failedFor || len(e.pending) >= mostPending {
			return known.count, false, nil
		}
		known.question.To, known.settled, known.waiting = until, min(until, newest-settling.Milliseconds()), make(chan struct{})
		e.pending = append(e.pending, known)
		select {
		case e.wake <- struct{}{}:
		default: // It is awake.
		}
	}
	return known.count, false, known.waiting
}

// Run answers questions until ctx ends. cannotTell reports whether an error means that the server
// does not answer such questions at all; then it counts as one that has no targets.
func (e *Elsewhere) Run(ctx context.Context, ask Instant, cannotTell func(error) bool) {
	for {
		batch := e.take()
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-e.wake:
			}
			continue
		}
		counts, err := askCounts(ctx, ask, batch)
		if err != nil && cannotTell(err) {
			err = nil
		}
		e.finish(batch, counts, err)
	}
}

// take returns some questions that are pending.
func (e *Elsewhere) take() (batch []*answer) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	bytes := 0
	for len(e.pending) > 0 && len(batch) < askedAtOnce {
		if bytes += len(e.pending[0].question.Selector); len(batch) > 0 && bytes > askedBytes {
			break
		}
		batch, e.pending = append(batch, e.pending[0]), e.pending[1:]
	}
	return batch
}

// holeLabel is the label by which the series of an answer are told apart.
const holeLabel = "tierproxy_hole"

// askCounts asks a server some questions. Without a count in the answer, it is zero.
func askCounts(ctx context.Context, ask Instant, batch []*answer) (map[int]int, error) {
	var parts []string
	for i, each := range batch {
		of, count := each.question, "count(max_over_time(%s[%dms] @ %s)==1)"
		if of.EachStep {
			count = "sum(sum_over_time(%s[%dms:15s] @ %s))"
		}
		count = fmt.Sprintf(count, of.Selector, of.To-of.From-1, promapi.FormatTime(time.UnixMilli(of.To)))
		parts = append(parts, fmt.Sprintf(`label_replace(%s,%q,"%d","","")`, count, holeLabel, i))
	}
	found, err := ask(ctx, strings.Join(parts, " or "), time.UnixMilli(batch[0].question.To))
	if err != nil {
		return nil, err
	}
	counts := map[int]int{}
	for _, series := range found {
		if i, err := strconv.Atoi(series.Labels[holeLabel]); err == nil {
			counts[i] = int(series.Value)
		}
	}
	return counts, nil
}

func (e *Elsewhere) finish(batch []*answer, counts map[int]int, err error) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	for i, each := range batch {
		if err != nil {
			each.failedAt = time.Now()
		} else {
			each.count, each.until, each.isKnown = counts[i], each.settled, true
		}
		close(each.waiting)
		each.waiting = nil
	}
}
