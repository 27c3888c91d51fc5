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

// TestADashboardIsKeptAtOnce confirms more entries at the same time than are
// written at the same time, as a probe does with those of a dashboard.
func TestADashboardIsKeptAtOnce(t *testing.T) {
	server := redistest.Start(t, "")
	cache := cacheIn(t, server)
	confirmed := make(chan struct{})
	const panels = 20 * redisWrites
	for i := range panels {
		cache.Put(promql.KeyOf(fmt.Sprint(i)), &Entry{Born: time.Now(), Answer: []byte("x")}, cache.Generation(), func() bool {
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

// TestWhatFailsTogetherCountsOnce lets as many queries as a dashboard has panels
// fail at one time: Redis is asked again at once, and left alone only when it goes
// on failing.
func TestWhatFailsTogetherCountsOnce(t *testing.T) {
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
