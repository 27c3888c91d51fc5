package targets

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// answering returns an Elsewhere that asks a server until the end of the test.
func answering(t *testing.T, s *server) *Elsewhere {
	t.Helper()
	e := NewElsewhere()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.Run(ctx, s.ask, func(err error) bool { return errors.Is(err, errors.ErrUnsupported) })
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return e
}

// countOf waits until the answer is known.
func countOf(t *testing.T, e *Elsewhere, question Question, newest time.Duration) int {
	t.Helper()
	for {
		count, isKnown, waiting := e.Count(question, epoch.Add(newest).UnixMilli(), time.Now())
		if isKnown {
			return count
		}
		require.NotNil(t, waiting)
		<-waiting
	}
}

func questionOf(i int, from, to time.Duration) Question {
	hole := between(i, from, to)
	return Question{Selector: UpOf(hole.Target), From: hole.From, To: hole.To}
}

func TestElsewhere_CountsWhatWasScraped(t *testing.T) {
	s := newServer(t, 40, 2*time.Hour, func(i int, at time.Duration) (bool, bool) {
		return i != 3, i != 2 || !isBetween(at, 30*minute, 50*minute)
	})
	e := answering(t, s)
	require.Equal(t, 1, countOf(t, e, questionOf(1, 30*minute, 50*minute), 2*time.Hour))
	require.Equal(t, 0, countOf(t, e, questionOf(2, 30*minute, 50*minute), 2*time.Hour), "down there as well")
	require.Equal(t, 0, countOf(t, e, questionOf(2, 30*minute, 50*minute+scrapeInterval), 2*time.Hour), "the ends do not count")
	require.Equal(t, 1, countOf(t, e, questionOf(2, 30*minute, 50*minute+2*scrapeInterval), 2*time.Hour))
	require.Equal(t, 0, countOf(t, e, questionOf(3, 30*minute, 50*minute), 2*time.Hour), "not there")
	require.Equal(t, 0, countOf(t, e, questionOf(1, 30*minute, 50*minute), 30*minute), "it does not reach that far")
	require.Equal(t, 39*4, countOf(t, e, Question{Selector: "up", From: epoch.Add(10 * minute).UnixMilli(), To: epoch.Add(11*minute).UnixMilli() + 1, EachStep: true}, 2*time.Hour))
	s.requests("")
	require.Equal(t, 1, countOf(t, e, questionOf(1, 30*minute, 50*minute), 2*time.Hour))
	require.Zero(t, s.requests(""), "it is known")
}

// What a server has of a hole that just ended may get there later.
func TestElsewhere_HoleThatJustEnded(t *testing.T) {
	s := newServer(t, 3, 2*time.Hour, func(_ int, at time.Duration) (bool, bool) { return true, at > 58*minute })
	e := answering(t, s)
	ended := questionOf(1, 50*minute, time.Hour)
	early := ended
	early.To = epoch.Add(58 * minute).UnixMilli() // As if it had not got there yet.
	require.Equal(t, 0, countOf(t, e, early, 58*minute))
	require.Equal(t, 1, countOf(t, e, ended, time.Hour))
	none := questionOf(2, 40*minute, 50*minute)
	for _, newest := range []time.Duration{50 * minute, 51 * minute, 52 * minute, 60 * minute, 70 * minute} {
		require.Equal(t, 0, countOf(t, e, none, newest))
	}
	require.Equal(t, 4, s.requests(`"up"`), "of the last one, twice")
	require.Equal(t, 1, countOf(t, e, ended, 2*time.Hour))
	require.Zero(t, s.requests(`"up"`), "what was found stays")
}

// What is known of a hole without an end is asked again after a minute.
func TestElsewhere_HoleWithoutAnEnd(t *testing.T) {
	s := newServer(t, 3, 2*time.Hour, func(_ int, at time.Duration) (bool, bool) { return true, at > 62*minute })
	e := answering(t, s)
	question := questionOf(1, 30*minute, 0)
	require.Equal(t, 0, countOf(t, e, question, time.Hour))
	require.Equal(t, 0, countOf(t, e, question, time.Hour+59*time.Second))
	require.Equal(t, 1, s.requests(`"up"`))
	require.Equal(t, 1, countOf(t, e, question, 63*minute))
}

func TestElsewhere_AsksManyInFewRequests(t *testing.T) {
	s := newServer(t, 100, time.Hour, func(int, time.Duration) (bool, bool) { return true, true })
	e := NewElsewhere()
	for i := range 100 {
		_, isKnown, waiting := e.Count(questionOf(i, 30*minute, 40*minute), epoch.Add(time.Hour).UnixMilli(), time.Now())
		require.False(t, isKnown)
		require.NotNil(t, waiting)
	}
	for batch := e.take(); len(batch) > 0; batch = e.take() {
		counts, err := askCounts(t.Context(), s.ask, batch)
		e.finish(batch, counts, err)
	}
	require.Equal(t, 100/askedAtOnce, s.requests(`"up"`))
	for i := range 100 {
		require.Equal(t, 1, countOf(t, e, questionOf(i, 30*minute, 40*minute), time.Hour))
	}
}

func TestElsewhere_BoundsWhatIsPending(t *testing.T) {
	e := NewElsewhere()
	for i := range 2 * mostPending {
		_, _, waiting := e.Count(questionOf(i, 30*minute, 40*minute), epoch.Add(time.Hour).UnixMilli(), time.Now())
		require.Equal(t, i < mostPending, waiting != nil)
	}
	require.Len(t, e.pending, mostPending)
}

func TestElsewhere_Failures(t *testing.T) {
	s := newServer(t, 2, time.Hour, func(int, time.Duration) (bool, bool) { return true, true })
	s.fails = errors.New("it does not answer")
	e := answering(t, s)
	question, newest, now := questionOf(1, 30*minute, 40*minute), epoch.Add(time.Hour).UnixMilli(), time.Now()
	_, _, waiting := e.Count(question, newest, now)
	<-waiting
	_, isKnown, waiting := e.Count(question, newest, now)
	require.False(t, isKnown)
	require.Nil(t, waiting, "it is not asked again for a while")
	_, _, waiting = e.Count(question, newest, now.Add(time.Minute))
	require.NotNil(t, waiting)
	<-waiting
	s.mutex.Lock()
	s.fails = errors.ErrUnsupported
	s.mutex.Unlock()
	_, _, waiting = e.Count(question, newest, now.Add(2*time.Minute))
	<-waiting
	count, isKnown, _ := e.Count(question, newest, now.Add(2*time.Minute))
	require.True(t, isKnown, "a server that cannot tell has none")
	require.Zero(t, count)
}
