package gaps

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/race"
)

// look lets a detector follow and scan once.
func (d *detector) look(t *testing.T, client asker, bound, now time.Time) {
	t.Helper()
	require.NoError(t, d.follow(t.Context(), client, now))
	require.NoError(t, d.scan(t.Context(), client, bound.UnixMilli(), now))
}

// TestGapDetector_StartOfWhatIsContiguous runs the detector on real servers. What it finds must
// be the same without a reported oldest sample, and after many short looks instead of one.
func TestGapDetector_StartOfWhatIsContiguous(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	a, abc := []string{"a"}, []string{"a", "b", "c"}
	up := func(from, to time.Duration, jobs ...string) catalogtest.Wrote {
		return catalogtest.Wrote{From: from, To: to, Jobs: jobs}
	}
	every := func(interval, from, to time.Duration, jobs ...string) catalogtest.Wrote {
		return catalogtest.Wrote{From: from, To: to, Jobs: jobs, Every: interval}
	}
	const hour, minute, second = time.Hour, time.Minute, time.Second
	fortyDays, thirtyDays, twentyDays := race.Time(40*24*hour, 10*24*hour), race.Time(30*24*hour, 8*24*hour), race.Time(20*24*hour, 5*24*hour)
	for name, test := range map[string]struct {
		world []catalogtest.Wrote
		start time.Duration // before now
	}{
		"no gap":                             {[]catalogtest.Wrote{up(6*hour, catalogtest.Ahead, abc...)}, 6 * hour},
		"weeks":                              {[]catalogtest.Wrote{every(minute, fortyDays, catalogtest.Ahead, abc...)}, fortyDays},
		"a gap weeks ago":                    {[]catalogtest.Wrote{every(minute, fortyDays, thirtyDays, a...), every(minute, thirtyDays-5*minute, catalogtest.Ahead, a...)}, thirtyDays - 5*minute},
		"a gap of ten minutes":               {[]catalogtest.Wrote{up(6*hour, 2*hour, abc...), up(110*minute, catalogtest.Ahead, abc...)}, 110 * minute},
		"a gap of two minutes":               {[]catalogtest.Wrote{up(6*hour, 62*minute, abc...), up(hour, catalogtest.Ahead, abc...)}, hour},
		"a restart within a scrape":          {[]catalogtest.Wrote{up(6*hour, hour+30*second, abc...), up(hour, catalogtest.Ahead, abc...)}, 6 * hour},
		"two gaps: the last one counts":      {[]catalogtest.Wrote{up(6*hour, 4*hour, a...), up(3*hour, 2*hour, a...), up(hour, catalogtest.Ahead, a...)}, hour},
		"a gap that has just ended":          {[]catalogtest.Wrote{up(6*hour, 30*minute, a...), up(3*minute, catalogtest.Ahead, a...)}, 3 * minute},
		"the interval got shorter":           {[]catalogtest.Wrote{every(minute, 6*hour, 4*minute, abc...), every(15*second, 4*minute, catalogtest.Ahead, abc...)}, 6 * hour},
		"the interval got longer":            {[]catalogtest.Wrote{every(15*second, 6*hour, 10*minute, abc...), every(minute, 10*minute, catalogtest.Ahead, abc...)}, 6 * hour},
		"the interval changed often":         {[]catalogtest.Wrote{every(minute, 6*hour, 4*hour, a...), every(15*second, 4*hour, 3*hour, a...), every(2*minute, 3*hour, hour, a...), every(30*second, hour, catalogtest.Ahead, a...)}, 6 * hour},
		"a gap before a shorter interval":    {[]catalogtest.Wrote{every(minute, 6*hour, 4*hour, a...), every(15*second, 4*hour, 3*hour, a...), every(15*second, 3*hour-7*minute, hour, a...), every(minute, hour, catalogtest.Ahead, a...)}, 3*hour - 7*minute},
		"a gap at a changed interval":        {[]catalogtest.Wrote{every(minute, 6*hour, 2*hour, a...), every(15*second, 110*minute, catalogtest.Ahead, a...)}, 110 * minute},
		"jobs with their own intervals":      {[]catalogtest.Wrote{every(15*second, 6*hour, catalogtest.Ahead, "fast"), every(4*minute, 6*hour, catalogtest.Ahead, "slow", "slower")}, 6 * hour},
		"a gap that slow jobs do not show":   {[]catalogtest.Wrote{every(15*second, 6*hour, 2*hour, "fast"), every(15*second, 2*hour-100*second, catalogtest.Ahead, "fast"), every(4*minute, 6*hour, catalogtest.Ahead, "slow")}, 2*hour - 100*second},
		"a target that was gone for a while": {[]catalogtest.Wrote{up(6*hour, 2*hour, "a"), up(hour, catalogtest.Ahead, "a"), up(6*hour, catalogtest.Ahead, "b", "c")}, 6 * hour},
		"each target gone at its time":       {[]catalogtest.Wrote{up(6*hour, 3*hour, "a"), up(2*hour, catalogtest.Ahead, "a"), up(6*hour, 2*hour, "b"), up(hour, catalogtest.Ahead, "b")}, 6 * hour},
		"every target replaced":              {[]catalogtest.Wrote{up(6*hour, 3*hour, "a", "b"), up(3*hour, hour, "c", "d"), up(hour, catalogtest.Ahead, "e", "f")}, 6 * hour},
		"every target replaced after a gap":  {[]catalogtest.Wrote{up(6*hour, 3*hour, "a", "b"), up(3*hour-10*minute, catalogtest.Ahead, "c", "d")}, 3*hour - 10*minute},
		"an old block, with a hole behind":   {[]catalogtest.Wrote{up(20*24*hour, 19*24*hour, abc...), up(6*hour, catalogtest.Ahead, abc...)}, 6 * hour},
		"an old block of other series":       {[]catalogtest.Wrote{{From: twentyDays, To: hour, Jobs: a, Metric: "recorded"}, up(6*hour, catalogtest.Ahead, abc...)}, 6 * hour},
		"no series named up":                 {[]catalogtest.Wrote{{From: 6 * hour, To: catalogtest.Ahead, Jobs: abc, Metric: "load"}}, 6 * hour},
		"a gap, and no series named up":      {[]catalogtest.Wrote{{From: 6 * hour, To: 2 * hour, Jobs: a, Metric: "load"}, {From: hour, To: catalogtest.Ahead, Jobs: a, Metric: "load"}}, hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := asker{catalogtest.Asking(t, catalogtest.WorldOf(t, now, test.world...))}
			bound := now.Add(-test.world[0].From)
			check := func(d *detector) {
				t.Helper()
				require.True(t, d.complete)
				start, expected := time.UnixMilli(d.start), now.Add(-test.start)
				require.False(t, start.Before(expected), "%s is before %s", start, expected)
				// The first sample of every series comes within an interval.
				require.WithinDuration(t, expected, start, 5*time.Minute)
			}
			var reported, unreported, followed detector
			reported.look(t, asked, bound, now)
			check(&reported)
			require.Equal(t, test.start != test.world[0].From, reported.ended)
			unreported.look(t, asked, time.UnixMilli(0), now)
			check(&unreported)
			for ago := 12 * time.Minute; ago >= 0; ago -= 40 * time.Second {
				followed.look(t, asked, bound, now.Add(-ago))
			}
			check(&followed)
		})
	}
}

// Without a list of blocks, nothing but the samples themselves shows that old ones are gone.
func TestGapDetector_NoticesThatOldSamplesAreGone(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	before := asker{catalogtest.Asking(t, catalogtest.WorldOf(t, now, catalogtest.Wrote{From: 6 * time.Hour, To: catalogtest.Ahead, Jobs: []string{"a"}}))}
	after := asker{catalogtest.Asking(t, catalogtest.WorldOf(t, now, catalogtest.Wrote{From: 2 * time.Hour, To: catalogtest.Ahead, Jobs: []string{"a"}}))}
	var d detector
	d.look(t, before, time.UnixMilli(0), now)
	require.WithinDuration(t, now.Add(-6*time.Hour), time.UnixMilli(d.start), 2*time.Minute)
	for ago, covered := range map[time.Duration]time.Duration{0: 6 * time.Hour, 2 * time.Minute: 2 * time.Hour} {
		looked := d
		require.NoError(t, looked.checkStart(t.Context(), after, now.Add(ago)))
		looked.look(t, after, time.UnixMilli(0), now.Add(ago))
		require.WithinDuration(t, now.Add(-covered), time.UnixMilli(looked.start), 2*time.Minute)
	}
}
