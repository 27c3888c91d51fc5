package admission

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHeadroom_IsWhatTheTierHasFree(t *testing.T) {
	enter := func(q *Queue, ids ...uint64) {
		for _, id := range ids {
			require.True(t, q.admit(by(id)))
		}
	}
	for name, test := range map[string]struct {
		concurrent, parallel, most int
		running                    []uint64
		calls                      int
	}{
		"idle":                                   {100, 8, 5, nil, 5},
		"as many as the tier computes at once":   {100, 4, 30, nil, 4},
		"calls in flight":                        {100, 8, 30, []uint64{1, 2, 3}, 5},
		"a busy tier":                            {100, 4, 30, []uint64{1, 2, 3}, 1},
		"a tier with one core":                   {100, 1, 30, nil, 1},
		"an overloaded tier":                     {100, 2, 30, []uint64{1, 2, 3, 4}, 1},
		"half of the slots":                      {6, 30, 30, nil, 3},
		"half of what others leave":              {6, 30, 30, []uint64{2, 3}, 2},
		"the caller's own calls count":           {6, 30, 30, []uint64{1, 1}, 1},
		"one slot":                               {1, 30, 30, nil, 1},
		"nothing to divide":                      {100, 8, 1, nil, 1},
		"no limit but what the tier computes":    {0, 8, 30, []uint64{1, 2}, 6},
		"no limit, and as many as it has steps":  {0, 8, 3, nil, 3},
		"no limit, and a tier that has no cores": {0, 0, 3, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := NewController(Limits{Concurrent: test.concurrent, Queue: 10, Wait: time.Second}, nil)
			enter(c.queue, test.running...)
			h := c.Headroom("a", by(1), test.parallel, test.most)
			require.Equal(t, test.calls, h.Calls())
			for range h.Calls() {
				require.True(t, c.queue.admit(by(1)), "none of the calls waits")
			}
			h.Release()
			require.Zero(t, c.queue.planned)
			require.Empty(t, c.queue.headrooms)
		})
	}
}

func TestHeadroom_IsOneCallWhileOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewController(Limits{Concurrent: 8, Queue: 10, Wait: time.Minute}, nil)
		queueUp(c.queue, 1, 1, 1, 1, 1) // A caller has at most half of the slots.
		h := c.Headroom("a", by(2), 30, 30)
		require.Equal(t, 1, h.Calls())
		h.Release()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		h = c.Headroom("a", by(2), 30, 30)
		require.Equal(t, 4, h.Calls())
		h.Release()
	})
}

func TestHeadroom_QueriesAtTheSameTimeDoNotGetItTwice(t *testing.T) {
	c := NewController(Limits{Concurrent: 100, Queue: 10, Wait: time.Second}, nil)
	first := c.Headroom("a", by(1), 8, 6)
	second := c.Headroom("b", by(2), 8, 6)
	third := c.Headroom("c", by(3), 8, 6)
	require.Equal(t, []int{6, 2, 1}, []int{first.Calls(), second.Calls(), third.Calls()})
	same := c.Headroom("a", by(4), 8, 6)
	require.Equal(t, 6, same.Calls(), "an identical query is divided alike: its calls are those of the first")
	first.Release()
	require.Equal(t, 3, c.queue.planned-same.planned, "it is still in use")
	same.Release()
	second.Release()
	third.Release()
	require.Zero(t, c.queue.planned)
}

// The parts count once: as planned, and from their call on as calls.
func TestHeadroom_CallsThatHaveEnteredAreNoLongerPlanned(t *testing.T) {
	c := NewController(Limits{Concurrent: 100, Queue: 10, Wait: time.Second}, nil)
	h := c.Headroom("a", by(1), 8, 3)
	end := make(chan struct{})
	var running, entered sync.WaitGroup
	for range h.Calls() {
		entered.Add(1)
		running.Go(func() {
			_, err := c.Do(t.Context(), Call{Caller: by(1), Headroom: h, Send: func(context.Context) (*http.Response, error) {
				entered.Done()
				<-end
				return &http.Response{Body: http.NoBody}, nil
			}})
			require.NoError(t, err)
		})
	}
	entered.Wait()
	require.Zero(t, c.queue.planned)
	other := c.Headroom("b", by(2), 8, 30)
	require.Equal(t, 5, other.Calls())
	close(end)
	running.Wait()
	h.Release()
	require.Equal(t, 5, c.queue.planned)
	other.Release()
	require.Zero(t, c.queue.planned)
}
