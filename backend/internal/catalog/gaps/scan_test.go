package gaps

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// TestScan_WhereCoverageStarts checks the start to the millisecond. Every series has its first sample within
// an interval.
func TestScan_WhereCoverageStarts(t *testing.T) {
	now := time.Now().Truncate(time.Hour)
	const day, hour, minute, second = 24 * time.Hour, time.Hour, time.Minute, time.Second
	wrote := func(every, from, to time.Duration, jobs ...string) catalogtest.Wrote {
		return catalogtest.Wrote{From: from, To: to, Jobs: jobs, Every: every}
	}
	load := func(from, to time.Duration, jobs ...string) catalogtest.Wrote {
		return catalogtest.Wrote{From: from, To: to, Jobs: jobs, Metric: "load"}
	}
	const ahead = catalogtest.Ahead
	gap := []catalogtest.Wrote{wrote(30*second, 6*hour, 2*hour, "a"), wrote(30*second, hour, ahead, "a")}
	for name, test := range map[string]struct {
		world        []catalogtest.Wrote
		bound, start time.Duration
		ended        bool
	}{
		"no gap":                              {[]catalogtest.Wrote{wrote(30*second, 6*hour, ahead, "a")}, 6 * hour, 6 * hour, false},
		"the first sample is a bit later":     {[]catalogtest.Wrote{wrote(30*second, 6*hour, ahead, "a")}, 6*hour + 75*second, 6*hour + 75*second, false},
		"the first sample is too late":        {[]catalogtest.Wrote{wrote(30*second, 6*hour, ahead, "a")}, 6*hour + 75*second + time.Millisecond, 6*hour - 30*second, true},
		"of the slower ones, it is not":       {[]catalogtest.Wrote{wrote(25*second, 6*hour-75*second, ahead, "a"), wrote(30*second, 6*hour-90*second, ahead, "b")}, 6 * hour, 6 * hour, false},
		"a gap":                               {gap, 6 * hour, hour - 30*second, true},
		"a gap, and slow jobs":                {append(gap, wrote(4*minute, hour, ahead, "b")), 6 * hour, hour - 4*minute, true},
		"replaced by others":                  {[]catalogtest.Wrote{wrote(30*second, 6*hour, 2*hour, "a"), wrote(30*second, 2*hour, ahead, "b")}, 6 * hour, 6 * hour, false},
		"replaced by faster ones":             {[]catalogtest.Wrote{wrote(4*minute, 6*hour, hour, "a"), wrote(15*second, hour, ahead, "b")}, 6 * hour, 6 * hour, false},
		"replaced, and not named up":          {[]catalogtest.Wrote{load(6*hour, 3*hour, "a"), load(3*hour, ahead, "b")}, 6 * hour, 6 * hour, false},
		"replaced between two queries, twice": {[]catalogtest.Wrote{wrote(2*minute, 9*day, 7*day, "a"), wrote(2*minute, 7*day, 5000*minute+2*minute, "b"), wrote(2*minute, 5000*minute+2*minute, ahead, "c")}, 9 * day, 9 * day, false},
		"hidden by a slow one":                {append([]catalogtest.Wrote{wrote(4*minute, 6*hour, ahead, "slow"), wrote(15*second, 6*hour, 2*hour, "a")}, wrote(15*second, 2*hour-3*minute, ahead, "a")), 6 * hour, 2*hour - 3*minute - 4*minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			world := catalogtest.MemoryOf(t, now, test.world...)
			for _, ahead := range []time.Duration{0, time.Second, 14 * time.Second, 29 * time.Second} { // The samples are the same.
				var d detector
				d.look(t, asker{catalogtest.Asking(t, world)}, now.Add(-test.bound), now.Add(ahead))
				require.Equal(t, []any{test.start, true, test.ended}, []any{now.Sub(time.UnixMilli(d.start)), d.complete, d.ended})
			}
		})
	}
}

// A window of a scan may end in the middle of a gap. Wherever it ends, the scan finds the gap.
func TestScan_FindsAGapAtTheEndOfAWindow(t *testing.T) {
	now := time.Now().Truncate(time.Hour)
	for _, gap := range []time.Duration{90 * time.Second, 2 * time.Minute, 150 * time.Second, 3 * time.Minute} {
		client := asker{catalogtest.Asking(t, catalogtest.MemoryOf(t, now,
			catalogtest.Wrote{From: 3 * time.Hour, To: time.Hour + gap - 30*time.Second, Jobs: []string{"a", "b"}},
			catalogtest.Wrote{From: time.Hour, To: catalogtest.Ahead, Jobs: []string{"a", "b"}}))}
		for ahead := time.Second; ahead < scanWindow; ahead += 29 * time.Second {
			var d detector
			d.look(t, client, now.Add(-3*time.Hour), now.Add(ahead))
			require.Equal(t, []any{time.Hour - 30*time.Second, true, true}, []any{now.Sub(time.UnixMilli(d.start)), d.complete, d.ended}, "%s, %s", gap, ahead)
		}
	}
}

// If older samples are reported later, a scan goes on where it was complete, but not behind a gap.
func TestScan_GoesOnToAnOlderBound(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	tapped := tapOf(t, catalogtest.MemoryOf(t, now, catalogtest.Wrote{From: 6 * time.Hour, To: catalogtest.Ahead, Jobs: []string{"a"}}))
	var d detector
	for _, test := range []struct {
		bound, start time.Duration
		counts       int // requests that count samples
	}{
		{2 * time.Hour, 2 * time.Hour, 1}, {2 * time.Hour, 2 * time.Hour, 0}, {time.Hour, 2 * time.Hour, 0}, {4 * time.Hour, 4 * time.Hour, 1},
		{7 * time.Hour, 6*time.Hour - 30*time.Second, 1}, {8 * time.Hour, 6*time.Hour - 30*time.Second, 0},
	} {
		d.look(t, tapped.asker, now.Add(-test.bound), now)
		require.Equal(t, test.start, now.Sub(time.UnixMilli(d.start)))
		require.Len(t, tapped.requests("query_range"), test.counts, "%s", test.bound)
	}
}

// Only where samples may be missing, a scan reads them, and a few hours of them at once.
func TestScan_ReadsSamplesWhereSomeAreMissing(t *testing.T) {
	now := time.Now().Truncate(time.Hour)
	wrote := func(from, to time.Duration) catalogtest.Wrote {
		return catalogtest.Wrote{From: from, To: to, Jobs: []string{"a"}}
	}
	one := []catalogtest.Wrote{wrote(13*time.Hour, 125*time.Minute), wrote(125*time.Minute-30*time.Second, catalogtest.Ahead)}
	two := []catalogtest.Wrote{wrote(13*time.Hour, 135*time.Minute), wrote(135*time.Minute-30*time.Second, 125*time.Minute), one[1]}
	var each []catalogtest.Wrote
	for from := 13 * time.Hour; from > 0; from -= 10 * time.Minute {
		each = append(each, wrote(from, from-5*time.Minute), wrote(from-5*time.Minute-30*time.Second, from-10*time.Minute))
	}
	for name, test := range map[string]struct {
		world    []catalogtest.Wrote
		expected []time.Duration
	}{
		"none":           {[]catalogtest.Wrote{wrote(13*time.Hour, catalogtest.Ahead)}, nil},
		"none, for days": {[]catalogtest.Wrote{{From: 9 * 24 * time.Hour, To: catalogtest.Ahead, Jobs: []string{"a"}, Every: 2 * time.Minute}}, nil},
		"of one window":  {one, []time.Duration{10 * time.Minute}},
		"of two windows": {two, []time.Duration{20 * time.Minute}},
		"of each window": {each, []time.Duration{6 * time.Hour, 6 * time.Hour, time.Hour - 30*time.Second}},
	} {
		tapped := tapOf(t, catalogtest.MemoryOf(t, now, test.world...))
		var d detector
		require.NoError(t, d.follow(t.Context(), tapped.asker, now.Add(time.Second)))
		tapped.requests("")
		bound := now.Add(-test.world[0].From).UnixMilli()
		require.NoError(t, d.scan(t.Context(), tapped.asker, bound, now.Add(time.Second)))
		require.Equal(t, bound, d.start)
		var read []time.Duration
		for _, request := range tapped.requests("") {
			if _, start, isCount := strings.Cut(request, "&start="); isCount {
				seconds, err := strconv.ParseFloat(strings.Split(start, "&")[0], 64)
				require.NoError(t, err)
				require.GreaterOrEqual(t, int64(seconds*1000), bound, "no samples are counted before it")
				continue
			}
			_, text, _ := strings.Cut(request, "}[")
			text, _, _ = strings.Cut(text, "]")
			length, err := model.ParseDuration(text)
			require.NoError(t, err)
			read = append(read, time.Duration(length)-2*examinedAround)
		}
		require.Equal(t, test.expected, read, name)
	}
}

func TestIsFull_SamplesAtBothEndsMayCount(t *testing.T) {
	for count, expected := range map[int64]bool{19: false, 20: true, 21: true, 22: false} {
		require.Equal(t, expected, isFull(count, 20))
	}
}

// A server that finds series, but not their samples, is not asked forever.
func TestScan_EndsIfAnswersMakeNoSense(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		data := catalogtest.EmptyMatrix
		seconds, _ := strconv.ParseFloat(request.FormValue("time"), 64)
		at := time.UnixMilli(int64(seconds * 1000))
		switch path := request.URL.Path; {
		case strings.HasSuffix(path, "/values"):
			data = `["j"]`
		case strings.HasSuffix(path, "/series"):
			data = `[{"__name__":"up"}]`
		case strings.HasSuffix(path, "/query") && !at.After(now):
			data = matrix(at, 70, 40, 10)
		}
		_, _ = fmt.Fprintf(w, `{"status":"success","data":%s}`, data)
	}))
	t.Cleanup(server.Close)
	var d detector
	d.look(t, asker{catalogtest.Asking(t, server.URL)}, now.Add(-6*time.Hour), now)
	require.Equal(t, []bool{true, true}, []bool{d.complete, d.ended})
	require.WithinDuration(t, now, time.UnixMilli(d.start), time.Minute)
}

func TestCheckStart_AsksOnceAMinute(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	world := catalogtest.MemoryOf(t, now, catalogtest.Wrote{From: 6 * time.Hour, To: catalogtest.Ahead, Jobs: []string{"a"}})
	scanned := func() (d detector) {
		d.look(t, asker{catalogtest.Asking(t, world)}, time.UnixMilli(0), now)
		return d
	}
	for name, test := range map[string]struct {
		change   func(*detector)
		after    time.Duration
		requests int
	}{
		"soon":              {func(*detector) {}, time.Minute - 1, 0},
		"after a minute":    {func(*detector) {}, time.Minute, 1},
		"without canaries":  {func(d *detector) { d.older = nil }, time.Minute, 0},
		"while a scan runs": {func(d *detector) { d.complete = false }, time.Minute, 0},
	} {
		tapped, d := tapOf(t, world), scanned()
		test.change(&d)
		require.NoError(t, d.checkStart(t.Context(), tapped.asker, now.Add(test.after)))
		require.Len(t, tapped.requests(""), test.requests, name)
		require.NoError(t, d.checkStart(t.Context(), tapped.asker, now.Add(test.after)))
		require.Empty(t, tapped.requests(""), name)
		require.Equal(t, scanned().start, d.start)
	}
}
