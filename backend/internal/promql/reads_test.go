package promql

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReads_AreWhatEachSelectorReads(t *testing.T) {
	const minute = time.Minute
	end := time.UnixMilli(1_760_000_000_000)
	before := func(duration time.Duration) int64 { return end.Add(-duration).UnixMilli() }
	for query, expected := range map[string][][2]time.Duration{ // ages of the oldest, exclusive, and the newest sample
		`up`:                                   {{65 * minute, 0}},
		`up offset 2h / up`:                    {{185 * minute, 120 * minute}, {65 * minute, 0}},
		`rate(up[10m])`:                        {{70 * minute, 0}},
		`max_over_time(rate(up[10m])[30m:1m])`: {{100 * minute, 0}},
		`max_over_time((up offset 5m)[30m:1m] offset 1h)`:  {{160 * minute, 65 * minute}},
		`up @ end() + up @ start()`:                        {{5 * minute, 0}, {65 * minute, 60 * minute}},
		`vector(1)`:                                        {},
		`sum(up) > bool on () (up offset 1d) or vector(0)`: {{65 * minute, 0}, {25*60*minute + 5*minute, 24 * 60 * minute}},
	} {
		parsed, err := Parse(query)
		require.NoError(t, err)
		e := Evaluation{Start: end.Add(-time.Hour), End: end, Step: minute}
		reads, err := parsed.Reads(e)
		require.NoError(t, err)
		require.Len(t, reads, len(expected), query)
		extent, err := parsed.Extent(e)
		require.NoError(t, err)
		for i, read := range reads {
			require.Equal(t, [2]int64{before(expected[i][0]) + 1, before(expected[i][1])}, [2]int64{read.Oldest, read.Newest}, query)
			require.GreaterOrEqual(t, read.Oldest, extent.Oldest, query)
			require.LessOrEqual(t, read.Newest, extent.Newest, query)
			require.True(t, read.Selector.MatchesName("up"), query)
		}
	}
	parsed, err := Parse(`info(up)`)
	require.NoError(t, err)
	_, err = parsed.Reads(Evaluation{Start: end, End: end})
	require.ErrorIs(t, err, errImplicit)
}
