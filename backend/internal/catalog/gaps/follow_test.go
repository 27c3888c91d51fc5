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
		"the clock went back":               {of("a", 6*hour, catalogtest.Ahead), []time.Duration{10 * minute, 30 * minute}, 6 * hour},
		"two targets stopped, and one came": {append(append(of("a", 6*hour, hour), of("b", 6*hour, 69*minute)...), of("c", 50*minute, catalogtest.Ahead)...), []time.Duration{70 * minute, 55 * minute, 54 * minute, 45 * minute}, 50 * minute},
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
	require.EqualValues(t, 1, look(34*time.Minute+30*time.Second), "it is, after a quarter of an hour")
	require.WithinDuration(t, now.Add(-50*time.Minute), time.UnixMilli(d.start), time.Minute)
}

// A look asks for as little as it can. Each case looks some times, and counts the requests of the last look.
func TestFollow_AsksAsLittleAsItCan(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	const hour, minute, second = time.Hour, time.Minute, time.Second
	of := func(job string, from, to time.Duration) catalogtest.Wrote {
		return catalogtest.Wrote{From: from, To: to, Jobs: []string{job}}
	}
	whole := of("a", 6*hour, catalogtest.Ahead)
	const all = -1 // more than two
	for name, test := range map[string]struct {
		world    []catalogtest.Wrote
		oldest   time.Duration
		looks    []time.Duration
		requests int
	}{
		"nothing changed":                 {[]catalogtest.Wrote{whole}, 6 * hour, []time.Duration{10 * minute, 0}, 1},
		"after almost half an hour":       {[]catalogtest.Wrote{whole}, 6 * hour, []time.Duration{31 * minute, 30 * minute, second}, 1},
		"after half an hour":              {[]catalogtest.Wrote{whole}, 6 * hour, []time.Duration{31 * minute, 30 * minute, 0}, all},
		"a young server without a gap":    {[]catalogtest.Wrote{of("a", 5*minute, catalogtest.Ahead)}, 5 * minute, []time.Duration{2 * minute, 0}, 1},
		"a gap, and an older bound":       {[]catalogtest.Wrote{of("a", 2*hour, catalogtest.Ahead)}, 6 * hour, []time.Duration{3 * minute, 2 * minute, minute}, 1},
		"no samples, for seconds":         {[]catalogtest.Wrote{of("a", 6*hour, 10*minute)}, 6 * hour, []time.Duration{11 * minute, 2 * minute, 2*minute - 29*second}, 1},
		"no samples, for half a minute":   {[]catalogtest.Wrote{of("a", 6*hour, 10*minute)}, 6 * hour, []time.Duration{11 * minute, 2 * minute, 2*minute - 30*second}, all},
		"a shorter interval from now on":  {[]catalogtest.Wrote{{From: 6 * hour, To: 10 * minute, Jobs: []string{"a"}, Every: 4 * minute}, {From: 8*minute + 20*second, To: catalogtest.Ahead, Jobs: []string{"a"}, Every: 15 * second}}, 6 * hour, []time.Duration{11 * minute, 7 * minute}, 1},
		"none of two targets":             {[]catalogtest.Wrote{of("a", 6*hour, 10*minute), of("b", 6*hour, 19*minute)}, 6 * hour, []time.Duration{20 * minute, 5 * minute, 5*minute - 10*second}, 2},
		"two targets":                     {[]catalogtest.Wrote{whole, of("b", 6*hour, catalogtest.Ahead)}, 6 * hour, []time.Duration{10 * minute, 0}, 1},
		"the first of two has stopped":    {[]catalogtest.Wrote{of("a", 6*hour, 10*minute), of("b", 6*hour, catalogtest.Ahead)}, 6 * hour, []time.Duration{11 * minute, 2 * minute}, 2},
		"after that, it is the other one": {[]catalogtest.Wrote{of("a", 6*hour, 10*minute), of("b", 6*hour, catalogtest.Ahead)}, 6 * hour, []time.Duration{11 * minute, 2 * minute, 0}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			tapped := tapOf(t, catalogtest.MemoryOf(t, now, test.world...))
			var d detector
			var requests []string
			for _, ago := range test.looks {
				tapped.requests("")
				d.look(t, tapped.asker, now.Add(-test.oldest), now.Add(-ago))
				requests = tapped.requests("")
			}
			if test.requests == all {
				require.Greater(t, len(requests), 2)
				return
			}
			require.Len(t, requests, test.requests)
		})
	}
}

// A canary has new samples if the newest one is at most two intervals and the slack of five seconds old.
func TestFollow_ContinuesWhileSamplesComeIn(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	newest := now.Add(-10*time.Minute - 30*time.Second)
	client := asker{catalogtest.Asking(t, catalogtest.MemoryOf(t, now, catalogtest.Wrote{From: time.Hour, To: 10 * time.Minute, Jobs: []string{"a"}}))}
	for after, expected := range map[time.Duration]bool{0: true, 65 * time.Second: true, 65*time.Second + time.Millisecond: false} {
		var d detector
		d.look(t, client, now.Add(-time.Hour), newest.Add(-time.Minute))
		require.False(t, d.isContinued, "there was no look before")
		d.look(t, client, now.Add(-time.Hour), newest.Add(after))
		require.Equal(t, expected, d.isContinued, "%s", after)
		require.Equal(t, newest.UnixMilli(), d.newest)
	}
}

// A gap that begins right after a look is noticed by the next one, even if that comes soon.
func TestFollow_NoticesAShortGapAtOnce(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	written := func(from, to time.Duration) catalogtest.Wrote {
		return catalogtest.Wrote{From: from, To: to, Jobs: []string{"a"}, Every: 5 * time.Second}
	}
	client := asker{catalogtest.Asking(t, catalogtest.MemoryOf(t, now, written(time.Hour, time.Minute), written(45*time.Second, catalogtest.Ahead)))}
	var d detector
	d.look(t, client, now.Add(-time.Hour), now.Add(-time.Minute))
	require.NoError(t, d.follow(t.Context(), client, now.Add(-40*time.Second)))
	require.False(t, d.complete, "until it is scanned")
	d.look(t, client, now.Add(-time.Hour), now.Add(-40*time.Second))
	require.Equal(t, now.Add(-40*time.Second).UnixMilli(), d.start)
	require.True(t, d.ended)
}

// A tier whose canaries are gone starts anew, and knows nothing until they are back.
func TestFollow_KnowsNothingWithoutCanaries(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	for name, test := range map[string]struct {
		world  []catalogtest.Wrote
		newest time.Duration // before now, 0 for none
		empty  bool
	}{
		"no series":           {nil, 0, true},
		"two old samples":     {[]catalogtest.Wrote{{From: 3 * time.Minute, To: 2 * time.Minute, Jobs: []string{"a"}}}, 150 * time.Second, false},
		"samples hours ago":   {[]catalogtest.Wrote{{From: 4 * time.Hour, To: 160*time.Minute - 30*time.Second, Jobs: []string{"a"}}}, 160 * time.Minute, false},
		"samples of long ago": {[]catalogtest.Wrote{{From: 40 * time.Hour, To: 30 * time.Hour, Jobs: []string{"a"}}}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			tapped := tapOf(t, catalogtest.MemoryOf(t, now, test.world...))
			var d detector
			d.look(t, tapped.asker, now.Add(-6*time.Hour), now)
			var newest int64
			if test.newest > 0 {
				newest = now.Add(-test.newest).UnixMilli()
			}
			require.Equal(t, []any{newest, newest, true, true, test.empty}, []any{d.newest, d.start, d.complete, d.ended, d.empty})
			tapped.requests("")
			d.look(t, tapped.asker, now.Add(-6*time.Hour), now.Add(time.Minute))
			require.Equal(t, newest == 0, len(tapped.requests("max(timestamp")) > 0, "the newest sample is searched until it is known")
		})
	}
}
