package targets

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lookAt looks at a time, since the first scrape.
func lookAt(t *testing.T, f *Follower, s *server, at time.Duration) {
	t.Helper()
	require.NoError(t, f.Look(t.Context(), s.ask, Window{Now: epoch.Add(at), Covered: epoch.UnixMilli(), Interval: scrapeInterval}))
}

// between returns a hole of a target, by the times of its ends.
func between(i int, from, to time.Duration) Hole {
	hole := Hole{targetOf(i), epoch.Add(from).UnixMilli() + int64(i), End}
	if to > 0 {
		hole.To = epoch.Add(to).UnixMilli() + int64(i)
	}
	return hole
}

const minute = time.Minute

func TestLook_FindsWhatWasDownOrMissing(t *testing.T) {
	for name, isMissing := range map[string]bool{"down": false, "missing": true} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, 20, 3*time.Hour, func(i int, at time.Duration) (bool, bool) {
				isDown := (i == 3 && isBetween(at, 30*minute, 50*minute)) || (i == 4 && isBetween(at, 100*minute, 110*minute))
				return !isDown || !isMissing, !isDown
			})
			var f Follower
			lookAt(t, &f, s, time.Hour)
			require.Equal(t, []Hole{between(3, 30*minute, 50*minute+scrapeInterval)}, f.Holes())
			for at := time.Hour; at <= 150*minute; at += minute {
				lookAt(t, &f, s, at)
			}
			require.Equal(t, []Hole{between(4, 100*minute, 110*minute+scrapeInterval), between(3, 30*minute, 50*minute+scrapeInterval)}, f.Holes())
		})
	}
}

func TestLook_AShortOutageIsSeenBetweenLooks(t *testing.T) {
	s := newServer(t, 5, 3*time.Hour, func(i int, at time.Duration) (bool, bool) { return true, i != 2 || at != 70*minute+scrapeInterval })
	var f Follower
	for at := time.Hour; at <= 80*minute; at += minute {
		lookAt(t, &f, s, at)
	}
	require.Equal(t, []Hole{between(2, 70*minute, 70*minute+2*scrapeInterval)}, f.Holes())
}

func TestLook_ATargetThatIsDownIsReadOnce(t *testing.T) {
	s := newServer(t, 5, 3*time.Hour, func(i int, at time.Duration) (bool, bool) { return true, i != 2 || at <= 70*minute || at > 100*minute })
	var f Follower
	lookAt(t, &f, s, time.Hour)
	for at := 75 * minute; at <= 100*minute; at += minute {
		lookAt(t, &f, s, at)
		require.Equal(t, []Hole{between(2, 70*minute, 0)}, f.Holes())
	}
	require.LessOrEqual(t, s.requests("up{"), 3, "it was seen, and it was seen to be down all the time")
	lookAt(t, &f, s, 101*minute)
	lookAt(t, &f, s, 102*minute)
	require.Equal(t, []Hole{between(2, 70*minute, 100*minute+scrapeInterval)}, f.Holes())
}

func TestLook_NewTargetsAndThoseThatLeaveAreNoHoles(t *testing.T) {
	s := newServer(t, 400, 2*time.Hour, func(i int, at time.Duration) (bool, bool) {
		born := time.Duration(i) * 10 * time.Second
		return at >= born && at < born+30*minute, true
	})
	var f Follower
	for at := 10 * minute; at <= 80*minute; at += minute {
		lookAt(t, &f, s, at)
	}
	require.Empty(t, f.Holes())
}

func TestLook_TooManyTargets(t *testing.T) {
	const count = 1200
	s := newServer(t, count, 100*minute, func(_ int, at time.Duration) (bool, bool) { return true, !isBetween(at, 70*minute, 75*minute) })
	var f Follower
	lookAt(t, &f, s, 65*minute)
	require.Empty(t, f.Holes())
	s.requests("")
	lookAt(t, &f, s, 72*minute)
	require.Equal(t, []Hole{{From: epoch.Add(70 * minute).UnixMilli(), To: End}, {From: epoch.Add(65 * minute).UnixMilli(), To: epoch.Add(70 * minute).UnixMilli()}}, f.Holes())
	require.Zero(t, s.requests("up{"), "no target is read by itself")
	for at := 73 * minute; at <= 90*minute; at += minute {
		lookAt(t, &f, s, at)
	}
	for _, hole := range f.Holes() {
		require.Nil(t, hole.Target)
		require.LessOrEqual(t, hole.To, epoch.Add(78*minute).UnixMilli())
	}
}

func TestLook_ManyNewTargetsAreNotTooMany(t *testing.T) {
	const count = 1200
	s := newServer(t, count, 100*minute, func(i int, at time.Duration) (bool, bool) {
		return i == 0 || at > 70*minute, i != 0 || !isBetween(at, 65*minute, 68*minute)
	})
	var f Follower
	for at := time.Hour; at <= 80*minute; at += minute {
		lookAt(t, &f, s, at)
	}
	require.Equal(t, []Hole{between(0, 65*minute, 68*minute+scrapeInterval)}, f.Holes())
}

// Nothing from before hot's coverage is a hole of a target: then the server itself had stopped.
func TestLook_BeginsWithTheCoverage(t *testing.T) {
	s := newServer(t, 1200, time.Hour, func(_ int, at time.Duration) (bool, bool) { return !isBetween(at, 30*minute, 50*minute), true })
	var f Follower
	require.NoError(t, f.Look(t.Context(), s.ask, Window{Now: epoch.Add(time.Hour), Covered: epoch.Add(51 * minute).UnixMilli(), Interval: scrapeInterval}))
	require.Empty(t, f.Holes())
}

func TestLook_FailureIsRepeated(t *testing.T) {
	s := newServer(t, 3, 2*time.Hour, func(i int, at time.Duration) (bool, bool) {
		return true, i != 2 || !isBetween(at, 61*minute, 62*minute)
	})
	var f Follower
	lookAt(t, &f, s, time.Hour)
	s.fails = errors.New("it does not answer")
	require.ErrorIs(t, f.Look(t.Context(), s.ask, Window{Now: epoch.Add(65 * minute), Interval: scrapeInterval}), s.fails)
	s.fails = nil
	lookAt(t, &f, s, 70*minute)
	require.Equal(t, []Hole{between(2, 61*minute, 62*minute+scrapeInterval)}, f.Holes())
}

func TestLook_ForgetsWhatIsFromBeforeTheCoverage(t *testing.T) {
	s := newServer(t, 3, 2*time.Hour, func(i int, at time.Duration) (bool, bool) {
		return true, i != 2 || !isBetween(at, 30*minute, 31*minute)
	})
	var f Follower
	lookAt(t, &f, s, 40*minute)
	require.Len(t, f.Holes(), 1)
	require.NoError(t, f.Look(t.Context(), s.ask, Window{Now: epoch.Add(41 * minute), Covered: epoch.Add(35 * minute).UnixMilli(), Interval: scrapeInterval}))
	require.Empty(t, f.Holes())
}

// A sample may appear some seconds after its time, and so after a look.
func TestLook_SeesWhatAppearsLate(t *testing.T) {
	now := 60 * minute
	s := newServer(t, 3, 2*time.Hour, func(i int, at time.Duration) (bool, bool) { return true, i != 2 || at != now-scrapeInterval })
	var f Follower
	without := func(ctx context.Context, query string, at time.Time) ([]Series, error) {
		return s.ask(ctx, query, at.Add(-30*time.Second))
	}
	require.NoError(t, f.Look(t.Context(), without, Window{Now: epoch.Add(now), Covered: epoch.UnixMilli(), Interval: scrapeInterval}))
	require.Empty(t, f.Holes())
	lookAt(t, &f, s, now+minute)
	require.Equal(t, []Hole{between(2, now-2*scrapeInterval, now)}, f.Holes())
}

func TestLook_ATargetThatWasDownAndIsGone(t *testing.T) {
	s := newServer(t, 5, 3*time.Hour, func(i int, at time.Duration) (bool, bool) {
		return i != 2 || at <= 80*minute, i != 2 || at <= 70*minute
	})
	var f Follower
	for at := time.Hour; at <= 100*minute; at += minute {
		lookAt(t, &f, s, at)
	}
	require.Len(t, f.Holes(), 1)
	require.Equal(t, between(2, 70*minute, 0).From, f.Holes()[0].From)
	require.LessOrEqual(t, f.Holes()[0].To, epoch.Add(90*minute).UnixMilli(), "there is nothing to scrape any more")
}
