package ownrequest

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// refreshing is a refresher in a bubble of synctest, whose looks take a while.
type refreshing struct {
	*Refresher
	looks atomic.Int64
	takes atomic.Int64
	isOdd atomic.Bool
}

func inBubble(t *testing.T, test func(t *testing.T, r *refreshing)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := &refreshing{Refresher: NewRefresher(5 * time.Second)}
		r.takes.Store(int64(time.Millisecond))
		done := make(chan struct{})
		go func() {
			r.Run(ctx, nil, func() bool { r.looks.Add(1); time.Sleep(r.time()); return !r.isOdd.Load() })
			close(done)
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		r.looks.Store(0)
		test(t, r)
		cancel()
		<-done
	})
}

// time is how long a look takes.
func (r *refreshing) time() time.Duration { return time.Duration(r.takes.Load()) }

// lookedAt is the start of the last look that has ended.
func (r *refreshing) lookedAt() time.Time {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.known
}

// use uses what is known, and returns how long it waits for that.
func (r *refreshing) use() time.Duration {
	began := time.Now()
	if ended := r.Refresh(time.Time{}); ended != nil {
		<-ended
	}
	return time.Since(began)
}

func TestRefresher_LooksRarelyWithoutUse(t *testing.T) {
	inBubble(t, func(t *testing.T, r *refreshing) {
		time.Sleep(time.Hour)
		require.InDelta(t, 60, r.looks.Load(), 7)
		r.isOdd.Store(true)
		time.Sleep(2 * time.Minute)
		r.looks.Store(0)
		time.Sleep(time.Minute)
		require.InDelta(t, 12, r.looks.Load(), 2, "something is wrong, and may be right again")
	})
}

func TestRefresher_LooksOnceForEachUseAfterAPause(t *testing.T) {
	inBubble(t, func(t *testing.T, r *refreshing) {
		for range 20 {
			time.Sleep(30 * time.Second)
			require.LessOrEqual(t, r.use(), r.time())
			for range 20 {
				require.Zero(t, r.use(), "the first use has waited for all of them")
			}
		}
		require.LessOrEqual(t, r.looks.Load(), int64(20))
	})
}

func TestRefresher_BusyUsersNeverWait(t *testing.T) {
	inBubble(t, func(t *testing.T, r *refreshing) {
		r.use()
		r.looks.Store(0)
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			require.Zero(t, r.use())
			require.LessOrEqual(t, time.Since(r.lookedAt()), MaxAge(r.interval))
		}
		require.InDelta(t, 12, r.looks.Load(), 1, "one look for each interval")
	})
}

func TestRefresher_NobodyWaitsForSlowLooks(t *testing.T) {
	inBubble(t, func(t *testing.T, r *refreshing) {
		r.takes.Store(int64(2 * time.Second))
		time.Sleep(2 * time.Minute) // It is known to be slow.
		require.Zero(t, r.use())
		r.looks.Store(0)
		time.Sleep(time.Minute)
		require.InDelta(t, 12, r.looks.Load(), 2, "it looks in the background")
		require.Zero(t, r.use())
		time.Sleep(InUse + time.Minute)
		r.looks.Store(0)
		time.Sleep(10 * time.Minute)
		require.InDelta(t, 10, r.looks.Load(), 2, "but not for ever")
	})
}

func TestRefresher_Requests(t *testing.T) {
	inBubble(t, func(t *testing.T, r *refreshing) {
		time.Sleep(10 * time.Second)
		began, ended := time.Now(), r.Next()
		r.Request()
		<-ended
		require.Equal(t, r.time(), time.Since(began))
		began, ended = time.Now(), r.Next()
		for range 10 {
			r.RequestSoon()
		}
		<-ended
		require.Equal(t, r.interval, time.Since(began), "an interval after the last one")
		require.EqualValues(t, 2, r.looks.Load())
	})
}

// What is known may have been found before something else was.
func TestRefresher_KnowledgeFromBeforeATime(t *testing.T) {
	inBubble(t, func(t *testing.T, r *refreshing) {
		r.use()
		time.Sleep(time.Second)
		ended := r.Refresh(time.Now())
		require.NotNil(t, ended)
		<-ended
		require.Nil(t, r.Refresh(time.Now().Add(-r.time())))
	})
}
