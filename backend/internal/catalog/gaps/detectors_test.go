package gaps

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// Several servers may answer at one address: each of them may have the gap.
func TestDetectors_TheLatestGapOfAllServersCounts(t *testing.T) {
	now := time.Now()
	var all Detectors
	for server, known := range map[string]detector{
		"a": {start: 1000, complete: true, ended: true}, "b": {start: 3000, complete: true, ended: true},
		"no gap": {start: 4000, complete: true}, "still scanning": {start: 5000, ended: true},
	} {
		*all.of(server, "", now) = known
		all.of(server, "", now)
	}
	require.Equal(t, int64(3000), all.ContiguousSince(now))
	require.Equal(t, int64(3000), all.ContiguousSince(now.Add(time.Hour)))
	all.of("a", "", now.Add(2*time.Hour))
	require.Equal(t, int64(1000), all.ContiguousSince(now.Add(2*time.Hour)), "b has not answered for hours")
	all.of("new", "", now.Add(2*time.Hour))
	require.Len(t, all, 2)
}

func TestDetectors_KeepsSomeOnly(t *testing.T) {
	now := time.Now()
	var all Detectors
	for i := range detectorsKept {
		all.of(strconv.Itoa(i), "", now)
	}
	require.Len(t, all, detectorsKept)
	require.Same(t, all.of("0", "", now), all.of("0", "", now.Add(time.Hour)))
	all.of("one more", "", now.Add(time.Hour))
	require.Len(t, all, 1, "each of them may be of a server that is no more")
}

func TestDetectors_CountsServersAndNotTheirScopesOrStarts(t *testing.T) {
	now := time.Now()
	var all Detectors
	for _, server := range []string{"hot-0 started at 1", "hot-0 started at 2", "hot-1 started at 1"} {
		all.of(server, `source="x"`, now)
		all.of(server, `source="y"`, now)
	}
	require.Equal(t, []int{2, 2, 0}, []int{all.Servers(now), all.Servers(now.Add(time.Hour)), all.Servers(now.Add(time.Hour + 1))})
	all.of("", "", now.Add(2*time.Hour))
	require.Equal(t, 1, all.Servers(now.Add(2*time.Hour)))
}

func TestDetectors_AreScanningUntilAllAreComplete(t *testing.T) {
	for name, test := range map[string]struct {
		known    []*detector
		expected bool
	}{
		"none":               {nil, false},
		"never followed":     {[]*detector{{}}, false},
		"complete":           {[]*detector{{start: 1, complete: true}}, false},
		"one is incomplete":  {[]*detector{{start: 1, complete: true}, {start: 1}}, true},
		"all are incomplete": {[]*detector{{start: 1}, {start: 1}}, true},
	} {
		all := Detectors{}
		for i, each := range test.known {
			all[strconv.Itoa(i)] = each
		}
		require.Equal(t, test.expected, all.AreScanning(), name)
	}
}

func TestFollowed_SummarizesItsSources(t *testing.T) {
	type summary struct {
		isUnchanged, isMeasured, isSparse bool
		newest, start                     int64
		interval, canaryInterval          time.Duration
	}
	whole := detector{isContinued: true, complete: true, start: 10, newest: 90, interval: time.Minute, canaries: []canary{{interval: 15_000}, {interval: 20_000}}}
	behind := detector{isContinued: true, complete: true, start: 20, newest: 80, interval: time.Second, canaries: []canary{{interval: 1000}}}
	for name, test := range map[string]struct {
		sources  []detector
		expected summary
	}{
		"none":             {nil, summary{isSparse: true}},
		"one":              {[]detector{whole}, summary{true, true, true, 90, 10, time.Minute, 15 * time.Second}},
		"one is behind":    {[]detector{whole, behind}, summary{true, true, true, 80, 20, time.Minute, 15 * time.Second}},
		"the first one is": {[]detector{behind, whole}, summary{true, true, true, 80, 20, time.Minute, 15 * time.Second}},
		"a gap":            {[]detector{whole, {complete: true, start: 30, newest: 90}}, summary{false, true, true, 90, 30, time.Minute, 15 * time.Second}},
		"not complete":     {[]detector{{isContinued: true, start: 30, newest: 90}}, summary{false, true, true, 90, 30, 0, 0}},
		"no series":        {[]detector{{}, whole}, summary{false, false, true, 90, 10, time.Minute, 15 * time.Second}},
		"no series, last":  {[]detector{whole, {}}, summary{false, false, true, 90, 10, time.Minute, 15 * time.Second}},
		"other series":     {[]detector{{}}, summary{}},
		"an empty server":  {[]detector{{empty: true}, {}}, summary{isSparse: true}},
	} {
		t.Run(name, func(t *testing.T) {
			var followed Followed
			for _, each := range test.sources {
				followed.detectors = append(followed.detectors, &each)
			}
			actual := summary{isUnchanged: followed.IsUnchanged(), newest: followed.Newest(), interval: followed.ScrapeInterval(), canaryInterval: followed.CanaryInterval()}
			actual.start, actual.isMeasured, actual.isSparse = followed.Start()
			require.Equal(t, test.expected, actual)
		})
	}
}

func TestDetectors_FollowAndScanEachSource(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	hour, ahead := time.Hour, catalogtest.Ahead
	tapped := tapOf(t, catalogtest.MemoryOf(t, now, catalogtest.Wrote{From: 6 * hour, To: ahead, Jobs: []string{"a"}}, catalogtest.Wrote{From: 2 * hour, To: ahead, Jobs: []string{"b"}}))
	var all Detectors
	look := func(oldest time.Time, now time.Time) (Followed, error) {
		followed, err := all.Follow(t.Context(), tapped.Client, "server", []string{`job="a"`, `job="b"`}, now)
		if err == nil {
			err = followed.Scan(t.Context(), oldest.UnixMilli(), now)
		}
		return followed, err
	}
	followed, err := look(now.Add(-6*hour), now)
	require.NoError(t, err)
	start, isMeasured, _ := followed.Start()
	require.True(t, isMeasured)
	require.WithinDuration(t, now.Add(-2*hour), time.UnixMilli(start), time.Minute)
	require.WithinDuration(t, now.Add(-2*hour), time.UnixMilli(all.ContiguousSince(now)), time.Minute)
	require.Len(t, all, 2)
	require.NotEmpty(t, tapped.requests(`up{job="a",job="b"}`))
	_, err = look(now.Add(-6*hour), now.Add(2*time.Minute))
	require.NoError(t, err)
	require.Len(t, tapped.requests(""), 2, "one for each source")
	_, err = look(time.UnixMilli(0), now.Add(4*time.Minute))
	require.NoError(t, err)
	tapped.requests("")
	_, err = look(time.UnixMilli(0), now.Add(6*time.Minute))
	require.NoError(t, err)
	require.Len(t, tapped.requests("query_range"), 2, "the oldest samples may be gone")
	for number, isReached := 1, true; isReached; number++ {
		all = nil
		tapped.fail(number, closed)
		_, err = look(now.Add(-6*hour), now)
		isReached = number <= len(tapped.requests(""))
		require.Equal(t, isReached, err != nil)
	}
	for number := range 6 {
		tapped.fail(number+1, closed)
		_, err = look(time.UnixMilli(0), now.Add(time.Duration(number+3)*2*time.Minute))
		require.Equal(t, number < len(tapped.requests("")), err != nil)
	}
}
