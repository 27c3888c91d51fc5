package catalog

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
)

// stretch is a time during which a Prometheus was up, in time before now.
type stretch struct{ from, to time.Duration }

// wrote says which series a Prometheus wrote during a stretch.
type wrote struct {
	stretch
	// jobs have a series named up each, or named metric.
	jobs   []string
	metric string
	// every is the scrape interval, 30 s if it is zero.
	every time.Duration
}

// ahead is after now: samples of a server that goes on while a test runs.
const ahead = -10 * time.Minute

// worldOf runs a Prometheus with the series of some stretches. It returns the address.
func worldOf(t testing.TB, now time.Time, parts ...wrote) string {
	t.Helper()
	directory := t.TempDir()
	for _, part := range parts {
		var series []history.Series
		if part.metric == "" {
			part.metric = "up"
		}
		for _, job := range part.jobs {
			series = append(series, history.Series{
				Labels: labels.FromStrings("__name__", part.metric, "job", job, "instance", job+":80"), Value: func(int64) float64 { return 1 },
			})
		}
		if part.every == 0 {
			part.every = 30 * time.Second
		}
		require.NoError(t, history.Generator{Interval: part.every, Only: series}.WriteBlocks(t.Context(), directory, now.Add(-part.from), now.Add(-part.to)))
	}
	prometheus, err := embedded.Start(embedded.Options{Address: "127.0.0.1:0", Data: directory, Retention: 90 * 24 * time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, prometheus.Close()) })
	return prometheus.URL
}

// look lets a detector follow and scan once.
func (d *gapDetector) look(t *testing.T, client apiClient, bound, now time.Time) {
	t.Helper()
	require.NoError(t, d.follow(t.Context(), client, now))
	require.NoError(t, d.scan(t.Context(), client, bound.UnixMilli(), now))
}

// TestGapDetector_StartOfWhatIsContiguous runs the detector on real servers. What it finds must
// be the same without a reported oldest sample, and after many short looks instead of one.
func TestGapDetector_StartOfWhatIsContiguous(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	a, abc := []string{"a"}, []string{"a", "b", "c"}
	up := func(from, to time.Duration, jobs ...string) wrote {
		return wrote{stretch: stretch{from, to}, jobs: jobs}
	}
	every := func(interval, from, to time.Duration, jobs ...string) wrote {
		return wrote{stretch: stretch{from, to}, jobs: jobs, every: interval}
	}
	const hour, minute, second = time.Hour, time.Minute, time.Second
	for name, test := range map[string]struct {
		world []wrote
		start time.Duration // before now
	}{
		"no gap":                             {[]wrote{up(6*hour, ahead, abc...)}, 6 * hour},
		"weeks":                              {[]wrote{every(minute, 40*24*hour, ahead, abc...)}, 40 * 24 * hour},
		"a gap weeks ago":                    {[]wrote{every(minute, 40*24*hour, 30*24*hour, a...), every(minute, 30*24*hour-5*minute, ahead, a...)}, 30*24*hour - 5*minute},
		"a gap of ten minutes":               {[]wrote{up(6*hour, 2*hour, abc...), up(110*minute, ahead, abc...)}, 110 * minute},
		"a gap of two minutes":               {[]wrote{up(6*hour, 62*minute, abc...), up(hour, ahead, abc...)}, hour},
		"a restart within a scrape":          {[]wrote{up(6*hour, hour+30*second, abc...), up(hour, ahead, abc...)}, 6 * hour},
		"two gaps: the last one counts":      {[]wrote{up(6*hour, 4*hour, a...), up(3*hour, 2*hour, a...), up(hour, ahead, a...)}, hour},
		"a gap that has just ended":          {[]wrote{up(6*hour, 30*minute, a...), up(3*minute, ahead, a...)}, 3 * minute},
		"the interval got shorter":           {[]wrote{every(minute, 6*hour, 4*minute, abc...), every(15*second, 4*minute, ahead, abc...)}, 6 * hour},
		"the interval got longer":            {[]wrote{every(15*second, 6*hour, 10*minute, abc...), every(minute, 10*minute, ahead, abc...)}, 6 * hour},
		"the interval changed often":         {[]wrote{every(minute, 6*hour, 4*hour, a...), every(15*second, 4*hour, 3*hour, a...), every(2*minute, 3*hour, hour, a...), every(30*second, hour, ahead, a...)}, 6 * hour},
		"a gap before a shorter interval":    {[]wrote{every(minute, 6*hour, 4*hour, a...), every(15*second, 4*hour, 3*hour, a...), every(15*second, 3*hour-7*minute, hour, a...), every(minute, hour, ahead, a...)}, 3*hour - 7*minute},
		"a gap at a changed interval":        {[]wrote{every(minute, 6*hour, 2*hour, a...), every(15*second, 110*minute, ahead, a...)}, 110 * minute},
		"jobs with their own intervals":      {[]wrote{every(15*second, 6*hour, ahead, "fast"), every(4*minute, 6*hour, ahead, "slow", "slower")}, 6 * hour},
		"a gap that slow jobs do not show":   {[]wrote{every(15*second, 6*hour, 2*hour, "fast"), every(15*second, 2*hour-100*second, ahead, "fast"), every(4*minute, 6*hour, ahead, "slow")}, 2*hour - 100*second},
		"a target that was gone for a while": {[]wrote{up(6*hour, 2*hour, "a"), up(hour, ahead, "a"), up(6*hour, ahead, "b", "c")}, 6 * hour},
		"each target gone at its time":       {[]wrote{up(6*hour, 3*hour, "a"), up(2*hour, ahead, "a"), up(6*hour, 2*hour, "b"), up(hour, ahead, "b")}, 6 * hour},
		"every target replaced":              {[]wrote{up(6*hour, 3*hour, "a", "b"), up(3*hour, hour, "c", "d"), up(hour, ahead, "e", "f")}, 6 * hour},
		"every target replaced after a gap":  {[]wrote{up(6*hour, 3*hour, "a", "b"), up(3*hour-10*minute, ahead, "c", "d")}, 3*hour - 10*minute},
		"an old block, with a hole behind":   {[]wrote{up(20*24*hour, 19*24*hour, abc...), up(6*hour, ahead, abc...)}, 6 * hour},
		"an old block of other series":       {[]wrote{{stretch: stretch{20 * 24 * hour, hour}, jobs: a, metric: "recorded"}, up(6*hour, ahead, abc...)}, 6 * hour},
		"no series named up":                 {[]wrote{{stretch: stretch{6 * hour, ahead}, jobs: abc, metric: "load"}}, 6 * hour},
		"a gap, and no series named up":      {[]wrote{{stretch: stretch{6 * hour, 2 * hour}, jobs: a, metric: "load"}, {stretch: stretch{hour, ahead}, jobs: a, metric: "load"}}, hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := asking(t, worldOf(t, now, test.world...))
			bound := now.Add(-test.world[0].from)
			check := func(d *gapDetector) {
				t.Helper()
				require.True(t, d.complete)
				start, expected := time.UnixMilli(d.start), now.Add(-test.start)
				require.False(t, start.Before(expected), "%s is before %s", start, expected)
				// The first sample of every series comes within an interval.
				require.WithinDuration(t, expected, start, 5*time.Minute)
			}
			var reported, unreported, followed gapDetector
			reported.look(t, asked, bound, now)
			check(&reported)
			require.Equal(t, test.start != test.world[0].from, reported.ended)
			unreported.look(t, asked, time.UnixMilli(0), now)
			check(&unreported)
			for ago := 12 * time.Minute; ago >= 0; ago -= 40 * time.Second {
				followed.look(t, asked, bound, now.Add(-ago))
			}
			check(&followed)
		})
	}
}
