package cache

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/redistest"
)

// TestPut_KeepsTheEntriesOfADashboard confirms more entries at once than are written
// at once, as a probe does after a dashboard was loaded.
func TestPut_KeepsTheEntriesOfADashboard(t *testing.T) {
	server := redistest.Start(t, "")
	cache := cacheIn(t, server)
	confirmed := make(chan struct{})
	const panels = 20 * redisWrites
	for i := range panels {
		cache.Put(promql.KeyOf(fmt.Sprint(i)), &Entry{Born: time.Now(), Answer: []byte("x")}, cache.Generation(), nil, func() bool {
			<-confirmed
			return true
		})
	}
	close(confirmed)
	require.Eventually(t, func() bool {
		kept, err := server.Client.DBSize(t.Context()).Result()
		return err == nil && kept == panels
	}, 10*time.Second, 5*time.Millisecond)
}

// TestShared_FailuresAtOneTimeCountOnce lets as many queries fail at one time as a
// dashboard has panels. The cache asks Redis again at once, and pauses only if Redis
// goes on failing.
func TestShared_FailuresAtOneTimeCountOnce(t *testing.T) {
	s := &shared{}
	began := time.Now()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { s.failed(began) })
	}
	all.Wait()
	require.LessOrEqual(t, s.pause(), time.Duration(0))
	require.EqualValues(t, 20, s.failures.Load())
	for range redisInARow - 1 {
		s.failed(time.Now())
	}
	require.Positive(t, s.pause())
}
