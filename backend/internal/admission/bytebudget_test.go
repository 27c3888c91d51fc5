package admission_test

import (
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
)

func TestByteBudget_OneOwnerLeavesAsMuchAsItHolds(t *testing.T) {
	budget := admission.NewByteBudget(1200)
	first, second, third := budget.Of("first"), budget.Of("second"), budget.Of("third")
	require.True(t, first.Acquire(600), "alone, an owner may hold half")
	require.False(t, first.Acquire(1))
	require.True(t, second.Acquire(300))
	require.False(t, second.Acquire(1))
	require.False(t, budget.Of("second").Acquire(1), "every share of one owner counts")
	require.True(t, third.Acquire(150), "something is left for whoever comes next")
	held, owners := budget.Held()
	require.Equal(t, int64(1050), held)
	require.Equal(t, 3, owners)

	first.Release(600)
	require.True(t, second.Acquire(200))
	second.Release(500)
	third.Release(150)
	held, owners = budget.Held()
	require.Zero(t, held)
	require.Zero(t, owners, "an owner that holds nothing is forgotten")
}

func TestByteBudget_ExtremeSizesAreRefused(t *testing.T) {
	budget := admission.NewByteBudget(100)
	require.False(t, budget.Of("a").Acquire(1<<63-1))
	require.True(t, budget.Of("a").Acquire(0))
	require.True(t, budget.Of("a").Acquire(-5))
	held, owners := budget.Held()
	require.Zero(t, held)
	require.Zero(t, owners)
	var none *admission.ByteBudget
	require.True(t, none.Of("a").Acquire(1<<62), "nil has no bound")
	none.Of("a").Release(1 << 62)
}

func TestByteBudget_ConcurrentOwnersReturnEverything(t *testing.T) {
	budget := admission.NewByteBudget(1 << 20)
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
	held, owners := budget.Held()
	require.Zero(t, held)
	require.Zero(t, owners)
}
