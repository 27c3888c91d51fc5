package gaps

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// from returns timestamps: the first one, and then those at the given distances.
func from(first int64, distances ...int64) []int64 {
	times := []int64{first}
	for _, distance := range distances {
		times = append(times, times[len(times)-1]+distance)
	}
	return times
}

func TestAbsences_ADistanceThatSuitsNeitherNeighbour(t *testing.T) {
	const first = math.MinInt64
	for name, test := range map[string]struct {
		times       []int64
		bottom, top int64
		expected    []absence
	}{
		"regular":                                 {from(100, 15, 15, 15, 15), 100, 160, nil},
		"one sample is missing":                   {from(100, 15, 15, 30, 15, 15), 100, 190, nil},
		"two samples are missing":                 {from(100, 15, 15, 45, 15, 15), 100, 205, []absence{{130, 175}}},
		"two absences":                            {from(100, 15, 15, 60, 15, 90, 15, 15), 100, 310, []absence{{130, 190}, {205, 295}}},
		"a longer interval from now on":           {from(100, 15, 15, 15, 60, 60, 60), 100, 325, nil},
		"a shorter interval from now on":          {from(100, 60, 60, 60, 15, 15, 15), 100, 325, nil},
		"three absences, hardly a sample between": {from(100, 15, 15, 15, 15, 200, 15, 200, 15, 200, 15, 15, 15), 100, 790, []absence{{160, 360}, {375, 575}, {590, 790}}},
		"a longer interval of too few samples":    {from(100, 15, 15, 15, 60), 100, 205, []absence{{145, 205}}},
		"a longer one, and an absence":            {from(100, 15, 15, 15, 200, 60, 60, 60), 100, 525, []absence{{145, 345}}},
		"nothing at the bottom":                   {from(100, 15, 15), 0, 130, []absence{{first, 100}}},
		"nothing at the top":                      {from(100, 15, 15), 100, 200, []absence{{130, 200}}},
		"an absence across the bottom":            {from(100, 15, 15, 300, 15, 15), 200, 460, []absence{{130, 430}}},
		"an absence across the top":               {from(100, 15, 15, 300, 15, 15), 100, 200, []absence{{130, 200}}},
		"an absence below the bottom":             {from(100, 15, 15, 300, 15, 15), 430, 460, nil},
		"an absence above the top":                {from(100, 15, 15, 300, 15, 15), 100, 160, nil},
		"no sample":                               {nil, 100, 200, []absence{{first, 200}}},
		"no sample, and none expected":            {nil, 100, 130, nil},
		"too few to know the interval":            {from(100, 30), 100, 130, nil},
		"too few, and an absence":                 {from(100, 60), 100, 160, []absence{{100, 160}}},
		"three samples of a longer interval":      {from(100, 60, 60), 100, 220, nil},
		"as long as a later interval":             {from(100, 15, 15, 60, 15, 15, 60, 60, 60), 100, 400, []absence{{130, 190}}},
		"as long as an earlier interval":          {from(100, 60, 60, 60, 15, 60, 15, 15), 100, 385, []absence{{295, 355}}},
		"two and a half intervals":                {from(100, 15, 15, 37, 15, 15), 100, 197, nil},
		"a bit more than two and a half":          {from(100, 15, 15, 38, 15, 15), 100, 198, []absence{{130, 168}}},
		"a longer interval at the bottom":         {from(100, 60, 60, 60, 15, 15), 40, 310, nil},
		"a longer interval at the top":            {from(100, 15, 15, 60, 60, 60), 100, 370, nil},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.expected, absences(test.times, 15, test.bottom, test.top))
		})
	}
}

func TestIntervalOf_TheMedianDistance(t *testing.T) {
	for name, test := range map[string]struct {
		times            []int64
		oldest, interval int64
		newest           int64
	}{
		"no sample":                        {nil, 0, 0, 0},
		"one distance":                     {from(100, 15), 0, 0, 0},
		"the shorter one of two":           {from(100, 60, 15), 15, 15, 15},
		"the middle one of three":          {from(100, 60, 15, 30), 30, 30, 30},
		"the second one of four":           {from(100, 60, 15, 30, 45), 30, 30, 30},
		"five distances at an end":         {from(100, 60, 60, 60, 20, 10, 10, 10), 60, 20, 10},
		"five distances, and not three":    {from(100, 10, 10, 20, 20, 20, 10, 10), 20, 10, 20},
		"five, without those further away": {from(100, 15, 15, 15, 60, 60, 60, 60, 60, 15, 15, 15), 15, 15, 15},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, []int64{test.oldest, test.interval, test.newest},
				[]int64{oldestInterval(test.times), intervalOf(test.times), newestInterval(test.times)})
		})
	}
	require.EqualValues(t, []int64{15, 60}, []int64{newestInterval(from(0, 60, 60, 60, 60, 15, 15, 15)), oldestInterval(from(0, 60, 60, 60, 15, 15, 15, 15))})
}

func TestIntersect_TimesInBothLists(t *testing.T) {
	require.Equal(t, []absence{{15, 20}, {32, 35}, {40, 45}},
		intersect([]absence{{10, 20}, {30, 35}, {40, 50}}, []absence{{15, 25}, {32, 45}}))
	require.Empty(t, intersect([]absence{{10, 20}}, []absence{{20, 30}}))
	require.Empty(t, intersect(nil, []absence{{20, 30}}))
}
