package gaps

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// TestFollow_NoticesGapsWhileTimeGoesOn looks at several times, and says where coverage starts after the
// last one.
func TestFollow_NoticesGapsWhileTimeGoesOn(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	const hour, minute = time.Hour, time.Minute
	of := func(job string, times ...time.Duration) (parts []catalogtest.Wrote) {
		for i := 0; i < len(times); i += 2 {
			parts = append(parts, catalogtest.Wrote{From: times[i], To: times[i+1], Jobs: []string{job}})
		}
		return parts
	}
	gap := of("a", 6*hour, hour, 50*minute, catalogtest.Ahead)
	for name, test := range map[string]struct {
		world []catalogtest.Wrote
		looks []time.Duration // before now
		start time.Duration
	}{
		"before the gap":                    {gap, []time.Duration{70 * minute, 65 * minute}, 6 * hour},
		"after it":                          {gap, []time.Duration{70 * minute, 45 * minute}, 50 * minute},
		"after it, of two targets":          {append(of("b", 6*hour, hour, 50*minute, catalogtest.Ahead), gap...), []time.Duration{70 * minute, 45 * minute}, 50 * minute},
		"in it":                             {gap, []time.Duration{70 * minute, 55 * minute}, hour},
		"in it, and after it":               {gap, []time.Duration{70 * minute, 55 * minute, 49 * minute}, 50 * minute},
		"when it has just ended":            {gap, []time.Duration{70 * minute, 48 * minute}, 50 * minute},
		"long after it":                     {gap, []time.Duration{70 * minute, 0}, 50 * minute},
		"a gap of 40 minutes":               {of("a", 6*hour, hour, 20*minute, catalogtest.Ahead), []time.Duration{70 * minute, 15 * minute}, 20 * minute},
		"a target that is gone":             {append(of("a", 6*hour, hour), of("b", 6*hour, catalogtest.Ahead)...), []time.Duration{70 * minute, 45 * minute, 44 * minute}, 6 * hour},
		"a target that was gone":            {append(of("a", 6*hour, hour, 50*minute, catalogtest.Ahead), of("b", 6*hour, catalogtest.Ahead)...), []time.Duration{70 * minute, 55 * minute, 45 * minute}, 6 * hour},
		"all targets are replaced at once":  {append(of("a", 6*hour, hour), of("b", hour, catalogtest.Ahead)...), []time.Duration{70 * minute, 45 * minute}, 6 * hour},
		"all are replaced after a gap":      {append(of("a", 6*hour, hour), of("b", 50*minute, catalogtest.Ahead)...), []time.Duration{70 * minute, 45 * minute}, 50 * minute},
		"two gaps, a look in between":       {of("a", 6*hour, hour, 50*minute, 30*minute, 20*minute, catalogtest.Ahead), []time.Duration{70 * minute, 40 * minute, 15 * minute}, 20 * minute},
		"two gaps, and no look in between":  {of("a", 6*hour, hour, 50*minute, 30*minute, 20*minute, catalogtest.Ahead), []time.Duration{70 * minute, 15 * minute}, 20 * minute},
		"nothing for a while, then a start": {of("a", 50*minute, catalogtest.Ahead), []time.Duration{70 * minute, 45 * minute}, 50 * minute},
	} {
		t.Run(name, func(t *testing.T) {
			client := asker{catalogtest.Asking(t, catalogtest.MemoryOf(t, now, test.world...))}
			var d detector
			for _, ago := range test.looks {
				d.look(t, client, now.Add(-6*hour), now.Add(-ago))
			}
			require.True(t, d.complete)
			require.WithinDuration(t, now.Add(-test.start), time.UnixMilli(d.start), 2*minute)
		})
	}
}

// While nothing changes, one series is read. A gap that may turn out to be none is looked at again.
func TestFollow_TakesOneRequestWhileNothingChanges(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	var requests atomic.Int64
	world := catalogtest.MemoryOf(t, now, catalogtest.Wrote{From: 6 * time.Hour, To: time.Hour, Jobs: []string{"a", "b"}}, catalogtest.Wrote{From: 50 * time.Minute, To: catalogtest.Ahead, Jobs: []string{"a", "b"}})
	client := asker{catalogtest.Asking(t, catalogtest.Failing(t, world, -1, false, &requests))}
	var d detector
	look := func(ago time.Duration) int64 {
		before := requests.Load()
		d.look(t, client, now.Add(-6*time.Hour), now.Add(-ago))
		return requests.Load() - before
	}
	look(70 * time.Minute)
	require.EqualValues(t, 1, look(70*time.Minute-5*time.Second))
	require.EqualValues(t, 1, look(65*time.Minute))
	require.Greater(t, look(49*time.Minute), int64(1), "there is a gap")
	require.EqualValues(t, 1, look(49*time.Minute-10*time.Second))
	require.Greater(t, look(40*time.Minute), int64(1), "it is not certain yet")
	require.Greater(t, look(36*time.Minute), int64(1), "still not")
	require.EqualValues(t, 1, look(34*time.Minute), "it is, after a quarter of an hour")
	require.WithinDuration(t, now.Add(-50*time.Minute), time.UnixMilli(d.start), time.Minute)
}
