package admission

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// enterAll lets calls enter one after the other, and notes who got in. None
// leaves.
func enterAll(g *Queue, order *[]Caller, callers ...Caller) {
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

func TestQueue_DatasourcesTakeTurnsThenCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewQueue(Limits{Concurrent: 1, Queue: 10, Wait: time.Hour}, nil)
		var order []Caller
		first := Caller{Datasource: 9, ID: 9}
		a1, a2, b1 := Caller{Datasource: 1, ID: 1}, Caller{Datasource: 1, ID: 2}, Caller{Datasource: 2, ID: 3}
		enterAll(g, &order, first, a1, a1, a1, a2, b1, b1)
		for i := range 6 {
			g.leave(order[i], time.Now())
			synctest.Wait()
		}
		require.Equal(t, []Caller{first, a1, b1, a2, b1, a1, a1}, order)
		g.leave(a1, time.Now())
		require.Zero(t, g.running+g.line.waiting)
		require.Empty(t, g.line.members)
	})
}

// A call of another caller goes past those whose caller has its share already.
func TestQueue_ASlotThatOneCallerMayNotHaveGoesToAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewQueue(Limits{Concurrent: 6, Queue: 10, Wait: time.Hour}, nil)
		var order []Caller
		greedy, other := by(1), by(2)
		enterAll(g, &order, greedy, greedy, greedy, greedy, greedy, greedy)
		require.Len(t, order, 3, "it leaves half of the slots")
		require.Equal(t, 3, g.line.waiting)
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
		require.Zero(t, g.running+g.line.waiting)
		require.Zero(t, used(g.callers)+used(g.datasources))
	})
}

func TestQueue_AFullQueueEvictsFromTheLongestDatasourceThenCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewQueue(Limits{Concurrent: 1, Queue: 6, Wait: time.Hour}, nil)
		var order []Caller
		a := func(id uint64) Caller { return Caller{Datasource: 1, ID: id} }
		b := Caller{Datasource: 2, ID: 1}
		enterAll(g, &order, a(9), a(1), a(1), a(1), a(1), a(2), a(3))
		waiting := func(datasource, id uint64) int {
			if found := g.line.member(datasource); found != nil && found.member(id) != nil {
				return found.member(id).waiting
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
		require.Zero(t, g.running+g.line.waiting)
	})
}
