package evidence

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

func TestMerge_NothingIsNewerThanNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		index := New(Options{})
		later := time.Now().Add(time.Hour).UnixMilli()
		index.mutex.Lock()
		index.merge(storedName{Name: "a", Window: int64(allTime), Whole: later, Recent: later, Certain: later}, time.Now())
		index.mutex.Unlock()
		time.Sleep(inUse)
		presence, _ := index.Lookup("", "a", 0, false, time.Now())
		require.Equal(t, tier.Unknown, presence, "the clock of another gateway makes nothing last longer")
	})
}

func TestMerge_OlderEvidenceChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		index, now := New(Options{}), time.Now()
		merge := func(present bool, ago time.Duration) {
			at := now.Add(-ago).UnixMilli()
			index.mutex.Lock()
			defer index.mutex.Unlock()
			index.merge(storedName{Name: "a", Present: present, Window: int64(allTime), Whole: at, Recent: at, Certain: at}, now)
		}
		merge(true, time.Second)
		merge(false, 2*time.Second)
		presence, _ := index.Lookup("", "a", 0, false, now)
		require.Equal(t, tier.Present, presence)
	})
}
