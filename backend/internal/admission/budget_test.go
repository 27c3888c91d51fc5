package admission

import (
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestByteBudget_OneOwnerLeavesAsMuchAsItHolds(t *testing.T) {
	budget := NewByteBudget(1200)
	first, second, third := budget.Of("first"), budget.Of("second"), budget.Of("third")
	require.True(t, first.Acquire(600), "alone, an owner may hold half")
	require.False(t, first.Acquire(1))
	require.True(t, second.Acquire(300))
	require.False(t, second.Acquire(1))
	require.False(t, budget.Of("second").Acquire(1), "every share of one owner counts")
	require.True(t, third.Acquire(150), "something is left for whoever comes next")
	held, owners := budget.Used()
	require.Equal(t, int64(1050), held)
	require.Equal(t, 3, owners)

	first.Release(600)
	require.True(t, second.Acquire(200))
	second.Release(500)
	third.Release(150)
	held, owners = budget.Used()
	require.Zero(t, held)
	require.Zero(t, owners, "an owner that holds nothing is forgotten")
}

func TestByteBudget_ExtremeSizesAreRefused(t *testing.T) {
	budget := NewByteBudget(100)
	require.False(t, budget.Of("a").Acquire(1<<63-1))
	require.True(t, budget.Of("a").Acquire(0))
	require.True(t, budget.Of("a").Acquire(-5))
	held, owners := budget.Used()
	require.Zero(t, held)
	require.Zero(t, owners)
	var none *ByteBudget
	require.True(t, none.Of("a").Acquire(1<<62), "nil has no bound")
	none.Of("a").Release(1 << 62)
}

func TestByteBudget_ConcurrentOwnersReturnEverything(t *testing.T) {
	budget := NewByteBudget(1 << 20)
	var running sync.WaitGroup
	for i := range 16 {
		running.Go(func() {
			share := budget.Of(strconv.Itoa(i % 4))
			for n := range int64(500) {
				if share.Acquire(n) {
					share.Release(n)
				}
			}
		})
	}
	running.Wait()
	held, owners := budget.Used()
	require.Zero(t, held)
	require.Zero(t, owners)
}

// used returns how much is held of a budget.
func used[K comparable](budget *Budget[K]) int64 {
	amount, _ := budget.Used()
	return amount
}

func TestBudget_AHolderLeavesPartOfTheTotal(t *testing.T) {
	for _, test := range []struct{ total, multiple, alone, next int64 }{
		{total: 1, multiple: 2, alone: 1, next: 0},
		{total: 2, multiple: 2, alone: 2, next: 0},
		{total: 50, multiple: 1, alone: 25, next: 13},
		{total: 50, multiple: 2, alone: 34, next: 11},
		{total: 50, multiple: 9, alone: 45, next: 5},
		{total: 50, multiple: 0, alone: 50, next: 0},
	} {
		budget := NewBudget[uint64](test.total, test.multiple)
		take := func(holder uint64) (taken int64) {
			for budget.Acquire(holder, 1) {
				taken++
			}
			return taken
		}
		require.Equal(t, test.alone, take(1), "%+v", test)
		require.Equal(t, test.next, take(2), "%+v", test)
		require.Equal(t, test.alone+test.next, used(budget))
		budget.Release(1, test.alone)
		budget.Release(2, test.next)
		require.Zero(t, used(budget))
		require.Empty(t, budget.by, "nothing is kept of holders that have nothing")
	}
}

func TestBudget_NeverMoreThanTheTotal(t *testing.T) {
	budget := NewBudget[uint64](100, 1)
	require.False(t, budget.Acquire(1, 101))
	require.False(t, budget.Acquire(1, 51), "more than it would leave")
	require.True(t, budget.Acquire(1, 50))
	require.False(t, budget.Acquire(1, 1))
	require.True(t, budget.Acquire(2, 25))
	require.False(t, budget.Acquire(3, 26))
	require.Equal(t, int64(75), used(budget))
	var unbounded *Budget[uint64]
	require.True(t, unbounded.Acquire(1, 1<<40))
	unbounded.Release(1, 1<<40)
	require.Zero(t, used(unbounded))
}
