package admission

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func limited(concurrent, queue int) *Queue {
	return NewQueue(Limits{Concurrent: concurrent, Queue: queue, Wait: 5500 * time.Millisecond}, nil)
}

// by is a caller of a datasource that all callers ask.
func by(id uint64) Caller { return Caller{Datasource: 1, ID: id} }

// queueUp lets calls of callers wait one after the other, and returns the order
// in which they get in. Each stays for a second.
func queueUp(g *Queue, callers ...uint64) func() []uint64 {
	var (
		mutex sync.Mutex
		order []uint64
	)
	for _, caller := range callers {
		go func() {
			if err := g.enter(context.Background(), by(caller)); err != nil {
				return
			}
			mutex.Lock()
			order = append(order, caller)
			mutex.Unlock()
			time.Sleep(time.Second)
			g.leave(by(caller), time.Now())
		}()
		synctest.Wait() // They come in this order.
	}
	return func() []uint64 {
		mutex.Lock()
		defer mutex.Unlock()
		return order
	}
}

func TestQueue_CallersTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := limited(1, 10)
		// One dashboard asks for five panels before another asks for two.
		order := queueUp(g, 1, 1, 1, 1, 1, 2, 2)
		time.Sleep(4500 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, []uint64{1, 1, 2, 1, 2}, order(), "the first is in before the second came")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Len(t, order(), 6, "the last waited for longer than 5.5 s")
		require.Zero(t, g.running)
		require.Zero(t, g.line.waiting)
		require.Empty(t, g.line.members)
		require.Zero(t, used(g.callers)+used(g.datasources))
	})
}

func TestQueue_IsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := limited(1, 2)
		order := queueUp(g, 1, 1, 1)
		started := time.Now()
		err := g.enter(t.Context(), by(1))
		var overload *OverloadError
		require.ErrorAs(t, err, &overload)
		require.Equal(t, RejectedFull, overload.Reason)
		require.GreaterOrEqual(t, overload.RetryAfter, time.Second)
		require.Zero(t, overload.RetryAfter%time.Second)
		require.Zero(t, time.Since(started), "it is told at once")

		// Who has less in the queue takes the place of who has more.
		second := queueUp(g, 2)
		g.mutex.Lock()
		waiting := g.line.waiting
		g.mutex.Unlock()
		require.Equal(t, 2, waiting)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, []uint64{1, 1}, order())
		require.Equal(t, []uint64{2}, second())
	})
}

func TestQueue_WaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := limited(1, 2)
		require.NoError(t, g.enter(t.Context(), by(1)))
		started := time.Now()
		var overload *OverloadError
		require.ErrorAs(t, g.enter(t.Context(), by(1)), &overload)
		require.Equal(t, RejectedWait, overload.Reason)
		require.Equal(t, 5500*time.Millisecond, time.Since(started))
		require.Zero(t, g.line.waiting)
	})
}

func TestQueue_CallerThatGoesLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := limited(1, 2)
		require.NoError(t, g.enter(t.Context(), by(1)))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := g.enter(ctx, by(1))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Zero(t, g.line.waiting)
		g.leave(by(1), time.Now())
		require.Zero(t, g.running)
		require.NoError(t, g.enter(t.Context(), by(2)))
	})
}

func TestQueue_RetryAfterIsWhenTheQueueIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := limited(2, 8)
		g.held = 3 * time.Second
		queueUp(g, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
		var overload *OverloadError
		require.ErrorAs(t, g.enter(t.Context(), by(11)), &overload)
		require.Equal(t, 14*time.Second, overload.RetryAfter, "9 of 3 s each, two at a time")
		time.Sleep(time.Minute)
		synctest.Wait()
	})
}

// TestQueue_NoPlaceIsLost lets many come, go early and be turned away.
func TestQueue_NoPlaceIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := limited(3, 7)
		for i := range 2000 {
			go func() {
				time.Sleep(time.Duration(i%97) * time.Millisecond)
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%31)*time.Millisecond)
				defer cancel()
				if err := g.enter(ctx, by(uint64(i%5))); err == nil {
					time.Sleep(time.Duration(i%3) * time.Millisecond)
					g.leave(by(uint64(i%5)), time.Now())
				} else if !errors.As(err, new(*OverloadError)) {
					panic(err)
				}
			}()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Zero(t, g.running)
		require.Zero(t, g.line.waiting)
		require.Empty(t, g.line.members)
		require.Zero(t, used(g.callers)+used(g.datasources))
	})
}

func BenchmarkQueue(b *testing.B) {
	g := limited(50, 100)
	b.ReportAllocs()
	for b.Loop() {
		if err := g.enter(b.Context(), by(1)); err != nil {
			b.Fatal(err)
		}
		g.leave(by(1), time.Now())
	}
}
