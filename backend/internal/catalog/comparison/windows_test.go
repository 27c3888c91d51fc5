package comparison

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCountWindows_CoverTheTimeAndOverlap(t *testing.T) {
	until := int64(1_760_000_000_000)
	for _, length := range []time.Duration{time.Minute, 4 * time.Minute, time.Hour, 6 * time.Hour, 14 * 24 * time.Hour} {
		since := until - length.Milliseconds()
		over := countWindowsOf(since, until, shortestStep)
		require.LessOrEqual(t, over.count, 240)
		require.Equal(t, until, over.end(over.count-1), length)
		require.GreaterOrEqual(t, over.start(0), since, length)
		require.Less(t, over.start(0), since+over.step, length)
		for i := 1; i < over.count; i++ {
			require.Equal(t, over.end(i-1), over.start(i)+over.step, "each lies half in the next one")
		}
	}
}

func TestLackingWindows_AreJoined(t *testing.T) {
	over := countWindows{first: 200, step: 100, count: 6}
	least := func(int) int { return 2 }
	require.Empty(t, over.lackingWindows([]int{8, 8, 7, 8, 9, 8}, []int{8, 8, 8, 8, 8, 8}, least), "one sample may be missing")
	require.Equal(t, []gap{{0, 300}, {400, 600}}, over.lackingWindows([]int{6, 0, 8, 8, 6, 8}, []int{8, 8, 8, 8, 8, 9}, least))
	require.Equal(t, []gap{{0, 700}}, over.lackingWindows([]int{0, 0, 0, 0, 0, 0}, []int{8, 8, 8, 8, 8, 8}, least))
}

func TestGapsBetween_CountsTheSamplesOfTheOtherTier(t *testing.T) {
	others := []int64{100, 115, 130, 145, 160, 175}
	bounds := gap{90, 180}
	for name, test := range map[string]struct {
		samples  []int64
		expected []gap
	}{
		"all are there":                    {others, nil},
		"they are a bit later":             {[]int64{101, 117, 131, 146, 163, 176}, nil},
		"one is missing":                   {[]int64{100, 115, 145, 160, 175}, nil},
		"two are missing":                  {[]int64{100, 115, 160, 175}, []gap{{115, 160}}},
		"the first ones are missing":       {[]int64{145, 160, 175}, []gap{{90, 145}}},
		"the last ones are missing":        {[]int64{100, 115, 130}, []gap{{130, 180}}},
		"all are missing":                  {nil, []gap{{90, 180}}},
		"there are more than in the other": {[]int64{100, 107, 115, 122, 130, 137, 145, 152, 160, 167, 175}, nil},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.expected, gapsBetween(test.samples, others, bounds, 2)) })
	}
}

func TestJoined_MergesWhatOverlaps(t *testing.T) {
	require.Equal(t, []gap{{1, 6}, {8, 9}}, joined([]gap{{8, 9}, {3, 6}, {1, 4}}))
	require.Empty(t, joined(nil))
}

func TestMedianDistance_IgnoresGaps(t *testing.T) {
	require.Zero(t, medianDistance([]int64{1}))
	require.Equal(t, 15*time.Millisecond, medianDistance([]int64{0, 15, 30, 300, 315}))
}
