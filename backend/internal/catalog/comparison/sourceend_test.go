package comparison

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

func jobs(count int, prefix string) (list []string) {
	for i := range count {
		list = append(list, fmt.Sprint(prefix, i))
	}
	return list
}

func TestSourceEnd_NewestSampleOfASource(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	of := func(to time.Duration, more ...string) catalogtest.Wrote {
		return catalogtest.Wrote{From: 30 * time.Hour, To: to, Jobs: append(more, "a", "b")}
	}
	for name, test := range map[string]struct {
		parts    []catalogtest.Wrote
		scope    string
		expected time.Duration // before now, at most an interval more; negative for none
		interval time.Duration
	}{
		"new samples":                {parts: []catalogtest.Wrote{of(0)}, interval: 30 * time.Second},
		"another interval":           {parts: []catalogtest.Wrote{{From: 30 * time.Hour, Jobs: []string{"a"}, Every: time.Minute}}, interval: time.Minute},
		"other metrics":              {parts: []catalogtest.Wrote{{From: 30 * time.Hour, Jobs: []string{"a"}, Metric: "load"}}, interval: 30 * time.Second},
		"some minutes behind":        {parts: []catalogtest.Wrote{of(25 * time.Minute)}, expected: 25 * time.Minute, interval: 30 * time.Second},
		"hours behind":               {parts: []catalogtest.Wrote{of(5 * time.Hour)}, expected: 5 * time.Hour, interval: 30 * time.Second},
		"nearly a day behind":        {parts: []catalogtest.Wrote{of(23 * time.Hour)}, expected: 23 * time.Hour, interval: 30 * time.Second},
		"gone":                       {parts: []catalogtest.Wrote{of(25 * time.Hour)}, expected: -1},
		"no series":                  {parts: []catalogtest.Wrote{of(0)}, scope: `job="c"`, expected: -1},
		"one of two sources":         {parts: []catalogtest.Wrote{of(0), {From: 30 * time.Hour, To: 3 * time.Hour, Jobs: []string{"late"}}}, scope: `job="late"`, expected: 3 * time.Hour, interval: 30 * time.Second},
		"dead targets come first":    {parts: []catalogtest.Wrote{of(8 * time.Minute), {From: time.Hour, Jobs: []string{"z"}}}, interval: 30 * time.Second},
		"many dead targets":          {parts: []catalogtest.Wrote{{From: 2 * time.Hour, To: 8 * time.Minute, Jobs: jobs(20, "a")}, {From: time.Hour, Jobs: []string{"z"}}}, interval: 30 * time.Second},
		"more series than looked at": {parts: []catalogtest.Wrote{{From: 2 * time.Hour, Jobs: jobs(30, "a")}}, interval: 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			end := NewSourceEnd(catalogtest.Asking(t, catalogtest.MemoryOf(t, now, test.parts...)), test.scope, time.Minute)
			for range 2 {
				newest, err := end.Measure(t.Context(), now)
				require.NoError(t, err)
				if test.expected < 0 {
					require.Zero(t, newest)
					continue
				}
				require.InDelta(t, test.expected.Seconds(), now.Sub(time.UnixMilli(newest)).Seconds(), 60.001)
				require.GreaterOrEqual(t, end.Interval(), test.interval-3*time.Second)
				require.Less(t, end.Interval(), 3*test.interval, "dead targets have fewer samples")
			}
		})
	}
}

func TestSourceEnd_AsksForLittle(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	address := catalogtest.MemoryOf(t, now, catalogtest.Wrote{From: 30 * time.Hour, To: -time.Hour, Jobs: jobs(30, "a")}, catalogtest.Wrote{From: 30 * time.Hour, To: 3 * time.Hour, Jobs: []string{"late"}, Metric: "other"})
	var requests atomic.Int64
	client := catalogtest.Asking(t, catalogtest.Failing(t, address, -1, false, &requests))
	fresh, late := NewSourceEnd(client, `job="a0"`, 3*time.Minute), NewSourceEnd(client, `job="late"`, 3*time.Minute)
	measure := func(end *SourceEnd, at time.Time) int64 {
		requests.Store(0)
		_, err := end.Measure(t.Context(), at)
		require.NoError(t, err)
		return requests.Load()
	}
	require.LessOrEqual(t, measure(fresh, now), int64(3), "at first")
	require.LessOrEqual(t, measure(late, now), int64(15))
	for i := range 10 {
		at := now.Add(time.Duration(i+1) * 10 * time.Second)
		require.EqualValues(t, 1, measure(fresh, at))
		require.EqualValues(t, 1, measure(late, at), "it is not searched all the time")
	}
	require.LessOrEqual(t, measure(late, now.Add(5*time.Minute)), int64(15))
}

// A source whose end is not certain is not taken for one that is gone.
func TestSourceEnd_ReturnsErrors(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	address := catalogtest.MemoryOf(t, now, catalogtest.Wrote{From: 30 * time.Hour, To: 3 * time.Hour, Jobs: []string{"a"}})
	var requests atomic.Int64
	_, err := NewSourceEnd(catalogtest.Asking(t, catalogtest.Failing(t, address, -1, false, &requests)), "", time.Minute).Measure(t.Context(), now)
	require.NoError(t, err)
	for _, isPartial := range []bool{false, true} {
		for i := range requests.Load() {
			t.Run(fmt.Sprintf("request %d, partial %t", i, isPartial), func(t *testing.T) {
				t.Parallel() // A tier that has failed is not asked for a second.
				var count atomic.Int64
				end := NewSourceEnd(catalogtest.Asking(t, catalogtest.Failing(t, address, i+1, isPartial, &count)), "", time.Minute)
				_, err := end.Measure(t.Context(), now)
				require.Error(t, err)
				newest, err := end.Measure(t.Context(), now)
				require.NoError(t, err, "it is tried again")
				require.InDelta(t, 3*time.Hour.Seconds(), now.Sub(time.UnixMilli(newest)).Seconds(), 60)
			})
		}
	}
}

// Replicas with the same labels apart from a replica label are told apart.
func TestSourceEnd_TellsReplicasApart(t *testing.T) {
	now := time.Now()
	tier := catalogtest.NewScripted(t, catalogtest.Answers{
		{Key: "/series", Data: `[{"__name__":"up","cluster":"a","replica":"1"}]`},
		{Key: "query_range", Data: `{"resultType":"matrix","result":[{"metric":{},"values":[[1,"` + fmt.Sprint(now.Unix()) + `"]]}]}`},
	})
	client := catalogtest.Asking(t, tier.URL)
	client.IsApart = true
	_, err := NewSourceEnd(client, `cluster="a",replica="1"`, time.Minute).Measure(t.Context(), now)
	require.NoError(t, err)
	for _, request := range tier.Requests("") {
		require.Contains(t, request, "dedup=false")
		require.Contains(t, request, "replica%3D%221%22")
	}
}

func TestSourceEnd_UnbrokenSamplesOfTheLastDay(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	a := func(from, to time.Duration) catalogtest.Wrote {
		return catalogtest.Wrote{From: from, To: to, Jobs: []string{"a"}}
	}
	for name, test := range map[string]struct {
		parts    []catalogtest.Wrote
		expected time.Duration // before now, at most some minutes more
	}{
		"none is missing":                     {parts: []catalogtest.Wrote{a(30*time.Hour, 2*time.Hour)}, expected: 2 * time.Hour},
		"the newest block is there first":     {parts: []catalogtest.Wrote{a(30*time.Hour, 6*time.Hour), a(4*time.Hour, 2*time.Hour)}, expected: 6 * time.Hour},
		"two holes":                           {parts: []catalogtest.Wrote{a(30*time.Hour, 20*time.Hour), a(18*time.Hour, 6*time.Hour), a(4*time.Hour, 2*time.Hour)}, expected: 20 * time.Hour},
		"none before the newest block":        {parts: []catalogtest.Wrote{a(4*time.Hour, 2*time.Hour)}, expected: 26 * time.Hour},
		"the hole is older than a day":        {parts: []catalogtest.Wrote{a(40*time.Hour, 30*time.Hour), a(28*time.Hour, 2*time.Hour)}, expected: 2 * time.Hour},
		"a few missed scrapes":                {parts: []catalogtest.Wrote{a(30*time.Hour, 6*time.Hour), a(6*time.Hour-90*time.Second, 2*time.Hour)}, expected: 2 * time.Hour},
		"one of two targets is new":           {parts: []catalogtest.Wrote{a(30*time.Hour, 2*time.Hour), {From: 3 * time.Hour, To: 2 * time.Hour, Jobs: []string{"b"}}}, expected: 2 * time.Hour},
		"an interval of more than a lookback": {parts: []catalogtest.Wrote{{From: 30 * time.Hour, To: 2 * time.Hour, Jobs: []string{"a"}, Every: 10 * time.Minute}}, expected: 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int64
			address := catalogtest.Failing(t, catalogtest.MemoryOf(t, now, test.parts...), -1, false, &requests)
			end := NewSourceEnd(catalogtest.Asking(t, address), "", time.Minute)
			_, err := end.Measure(t.Context(), now)
			require.NoError(t, err)
			requests.Store(0)
			until, isBroken, err := end.Unbroken(t.Context())
			require.NoError(t, err)
			require.Equal(t, test.expected != 2*time.Hour, isBroken)
			require.EqualValues(t, 1, requests.Load())
			require.InDelta(t, test.expected.Minutes()+5, now.Sub(time.UnixMilli(until)).Minutes(), 6)
			var failed atomic.Int64
			failing := NewSourceEnd(catalogtest.Asking(t, catalogtest.Failing(t, address, 1, false, &failed)), "", time.Minute)
			failing.canaries, failing.newest, failing.interval = end.canaries, end.newest, end.interval
			_, _, err = failing.Unbroken(t.Context())
			require.Error(t, err, "it is not certain")
		})
	}
}
