package admission

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

func TestShares_AHolderLeavesPartOfTheTotal(t *testing.T) {
	for _, test := range []struct{ total, multiple, alone, next int64 }{
		{total: 1, multiple: 2, alone: 1, next: 0},
		{total: 2, multiple: 2, alone: 2, next: 0},
		{total: 50, multiple: 1, alone: 25, next: 13},
		{total: 50, multiple: 2, alone: 34, next: 11},
		{total: 50, multiple: 9, alone: 45, next: 5},
	} {
		shares := NewShares[uint64](test.total, test.multiple)
		take := func(holder uint64) (taken int64) {
			for shares.Acquire(holder, 1) {
				taken++
			}
			return taken
		}
		require.Equal(t, test.alone, take(1), "%+v", test)
		require.Equal(t, test.next, take(2), "%+v", test)
		require.Equal(t, test.alone+test.next, shares.Used())
		shares.Release(1, test.alone)
		shares.Release(2, test.next)
		require.Zero(t, shares.Used())
		require.Empty(t, shares.by, "nothing is kept of holders that have nothing")
	}
}

func TestShares_NeverMoreThanTheTotal(t *testing.T) {
	shares := NewShares[uint64](100, 1)
	require.False(t, shares.Acquire(1, 101))
	require.False(t, shares.Acquire(1, 51), "more than it would leave")
	require.True(t, shares.Acquire(1, 50))
	require.False(t, shares.Acquire(1, 1))
	require.True(t, shares.Acquire(2, 25))
	require.False(t, shares.Acquire(3, 26))
	require.Equal(t, int64(75), shares.Used())
	var unbounded *Shares[uint64]
	require.True(t, unbounded.Acquire(1, 1<<40))
	unbounded.Release(1, 1<<40)
	require.Zero(t, unbounded.Used())
}

// enterAll lets calls enter one after the other, and notes who got in. None
// leaves.
func enterAll(g *Gate, order *[]promapi.Caller, callers ...promapi.Caller) {
	for _, caller := range callers {
		go func() {
			if g.enter(context.Background(), caller) == nil {
				g.mutex.Lock()
				*order = append(*order, caller)
				g.mutex.Unlock()
			}
		}()
		synctest.Wait()
	}
}

func TestGate_DatasourcesTakeTurnsThenCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(Limits{Concurrent: 1, Queue: 10, Wait: time.Hour}, nil)
		var order []promapi.Caller
		first := promapi.Caller{Datasource: 9, ID: 9}
		a1, a2, b1 := promapi.Caller{Datasource: 1, ID: 1}, promapi.Caller{Datasource: 1, ID: 2}, promapi.Caller{Datasource: 2, ID: 3}
		enterAll(g, &order, first, a1, a1, a1, a2, b1, b1)
		for i := range 6 {
			g.leave(order[i], time.Now())
			synctest.Wait()
		}
		require.Equal(t, []promapi.Caller{first, a1, b1, a2, b1, a1, a1}, order)
		g.leave(a1, time.Now())
		require.Zero(t, g.running+g.queue.waiting)
		require.Empty(t, g.queue.byKey)
	})
}

// A call of another caller goes past those whose caller has its share already.
func TestGate_ASlotThatOneCallerMayNotHaveGoesToAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(Limits{Concurrent: 6, Queue: 10, Wait: time.Hour}, nil)
		var order []promapi.Caller
		greedy, other := by(1), by(2)
		enterAll(g, &order, greedy, greedy, greedy, greedy, greedy, greedy)
		require.Len(t, order, 3, "it leaves half of the slots")
		require.Equal(t, 3, g.queue.waiting)
		enterAll(g, &order, other)
		require.Equal(t, other, order[3])
		g.leave(greedy, time.Now())
		synctest.Wait()
		require.Len(t, order, 5, "its next call takes the place of the last")
		g.leave(other, time.Now())
		synctest.Wait()
		require.Len(t, order, 5, "it leaves half of the slots again")
		for range 5 {
			g.leave(greedy, time.Now())
			synctest.Wait()
		}
		require.Zero(t, g.running+g.queue.waiting)
		require.Zero(t, g.callers.Used()+g.datasources.Used())
	})
}

func TestGate_AFullQueueEvictsFromTheLongestDatasourceThenCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(Limits{Concurrent: 1, Queue: 6, Wait: time.Hour}, nil)
		var order []promapi.Caller
		a := func(id uint64) promapi.Caller { return promapi.Caller{Datasource: 1, ID: id} }
		b := promapi.Caller{Datasource: 2, ID: 1}
		enterAll(g, &order, a(9), a(1), a(1), a(1), a(1), a(2), a(3))
		waiting := func(datasource, id uint64) int {
			if found, ok := g.queue.byKey[datasource]; ok {
				return found.waitingOf(id)
			}
			return 0
		}
		require.Equal(t, []int{4, 1, 1}, []int{waiting(1, 1), waiting(1, 2), waiting(1, 3)})
		enterAll(g, &order, b, b, b)
		require.Equal(t, []int{1, 1, 1, 3}, []int{waiting(1, 1), waiting(1, 2), waiting(1, 3), waiting(2, 1)})
		enterAll(g, &order, b, a(4), a(2))
		require.Equal(t, []int{1, 1, 1, 3}, []int{waiting(1, 1), waiting(1, 2), waiting(1, 3), waiting(2, 1)}, "all have their part")
		for len(order) < 7 {
			g.leave(order[len(order)-1], time.Now())
			synctest.Wait()
		}
		g.leave(order[6], time.Now())
		require.Zero(t, g.running+g.queue.waiting)
	})
}
