package catalog

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
)

// wrote says which jobs a Prometheus scraped during a stretch.
type wrote struct {
	stretch
	jobs []string
}

// prometheusThatWrote runs a Prometheus with the series up of some jobs. It
// returns the address.
func prometheusThatWrote(t *testing.T, now time.Time, parts ...wrote) string {
	t.Helper()
	directory := t.TempDir()
	for _, part := range parts {
		var series []history.Series
		for _, job := range part.jobs {
			series = append(series, history.Series{Labels: labels.FromStrings("__name__", "up", "job", job), Value: func(int64) float64 { return 1 }})
		}
		require.NoError(t, history.Generator{Interval: 30 * time.Second, Only: series}.WriteBlocks(t.Context(), directory, now.Add(-part.from), now.Add(-part.to)))
	}
	prometheus, err := embedded.Start(embedded.Options{Address: "127.0.0.1:0", Data: directory, Retention: 24 * time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, prometheus.Close()) })
	return prometheus.URL
}

const ahead = -10 * time.Minute

func TestGapDetector_AnotherReplicaHasGapsOfItsOwn(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	oldest := now.Add(-3 * time.Hour).UnixMilli()
	whole := asking(t, prometheusThatWrote(t, now, wrote{stretch{3 * time.Hour, ahead}, []string{"a"}}))
	broken := asking(t, prometheusThatWrote(t, now, wrote{stretch{3 * time.Hour, 2 * time.Hour}, []string{"a"}}, wrote{stretch{time.Hour, ahead}, []string{"a"}}))
	var followed gapDetector
	require.NoError(t, followed.detect(t.Context(), whole, "whole", oldest, now))
	require.Zero(t, followed.contiguousSince)
	require.NoError(t, followed.detect(t.Context(), broken, "broken", oldest, now))
	found := followed.contiguousSince
	require.WithinDuration(t, now.Add(-time.Hour), time.UnixMilli(found), 2*time.Minute, "the gap lies before what was looked at in the other one")
	require.NoError(t, followed.detect(t.Context(), whole, "whole", oldest, now))
	require.Equal(t, found, followed.contiguousSince, "either of them may answer")
}

func TestGapDetector_WhileHotIsDownNothingIsCovered(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	asked := asking(t, prometheusThatWrote(t, now, wrote{stretch{3 * time.Hour, 30 * time.Minute}, []string{"a"}}, wrote{stretch{10 * time.Minute, ahead}, []string{"a"}}))
	var followed gapDetector
	follow := func(ago time.Duration) {
		require.NoError(t, followed.detect(t.Context(), asked, "a", now.Add(-3*time.Hour).UnixMilli(), now.Add(-ago)))
	}
	follow(40 * time.Minute)
	require.Zero(t, followed.contiguousSince)
	follow(20 * time.Minute)
	require.Equal(t, now.Add(-20*time.Minute).UnixMilli(), followed.contiguousSince, "the gap reaches to now")
	require.Equal(t, []string{`up{job="a"}`}, followed.canaries, "it is what comes back")
	follow(0)
	require.WithinDuration(t, now.Add(-10*time.Minute), time.UnixMilli(followed.contiguousSince), 2*time.Minute)
	require.GreaterOrEqual(t, followed.contiguousSince, now.Add(-10*time.Minute).UnixMilli())
}

// A gap ends when every series is there again, which takes one interval.
func TestGapDetector_TheFirstSampleAfterAGapIsNotThatOfEverySeries(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	before := wrote{stretch{3 * time.Hour, time.Hour}, []string{"a", "b"}}
	asked := asking(t, prometheusThatWrote(t, now, before, wrote{stretch{30 * time.Minute, ahead}, []string{"a"}}, wrote{stretch{30*time.Minute - 30*time.Second, ahead}, []string{"b"}}))
	var followed gapDetector
	require.NoError(t, followed.detect(t.Context(), asked, "a", now.Add(-3*time.Hour).UnixMilli(), now))
	require.GreaterOrEqual(t, followed.contiguousSince, now.Add(-30*time.Minute+30*time.Second).UnixMilli())
}

func TestGapDetector_CanariesThatGoAreReplaced(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	gone := wrote{stretch{3 * time.Hour, 30 * time.Minute}, []string{"a", "b", "c"}}
	for name, test := range map[string]struct {
		others          stretch
		contiguousSince int64
		series          []string
	}{
		"by others that were there before":                  {stretch{3 * time.Hour, ahead}, 0, []string{`up{job="d"}`}},
		"not by those that are new: hot may have been down": {stretch{25 * time.Minute, ahead}, now.UnixMilli(), []string{`up{job="a"}`, `up{job="b"}`, `up{job="c"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			address := prometheusThatWrote(t, now, gone, wrote{test.others, []string{"d"}})
			target, err := url.Parse(address)
			require.NoError(t, err)
			var fails atomic.Bool
			forward := httputil.NewSingleHostReverseProxy(target)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
				if fails.Load() && strings.HasSuffix(request.URL.Path, "/series") {
					w.WriteHeader(http.StatusInternalServerError)
					return
				}
				forward.ServeHTTP(w, request)
			}))
			t.Cleanup(server.Close)
			asked := asking(t, server.URL)
			oldest := now.Add(-3 * time.Hour).UnixMilli()
			var followed gapDetector
			require.NoError(t, followed.detect(t.Context(), asked, "a", oldest, now.Add(-40*time.Minute)))
			require.Equal(t, []string{`up{job="a"}`, `up{job="b"}`, `up{job="c"}`}, followed.canaries)
			fails.Store(true)
			require.Error(t, followed.detect(t.Context(), asked, "a", oldest, now))
			require.Len(t, followed.canaries, 3, "what was followed is followed on")
			require.Zero(t, followed.contiguousSince)
			fails.Store(false)
			require.NoError(t, followed.detect(t.Context(), asked, "a", oldest, now))
			require.Equal(t, []any{test.contiguousSince, test.series}, []any{followed.contiguousSince, followed.canaries})
		})
	}
}

// scans is a tier that has samples at all times, and notes what it is asked.
type scans struct {
	from, to, step []int64
	failing        int // the number of the query that fails
}

func (s *scans) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	millis := func(name string) int64 {
		value, _ := strconv.ParseFloat(request.FormValue(name), 64)
		return int64(value * 1000)
	}
	if len(s.from)+1 == s.failing {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	s.from, s.to, s.step = append(s.from, millis("start")), append(s.to, millis("end")), append(s.step, millis("step"))
	var points []string
	for at := millis("start"); at <= millis("end"); at += millis("step") {
		points = append(points, fmt.Sprintf(`[%d.%03d,"1"]`, at/1000, at%1000))
	}
	_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[%s]}]}}`, strings.Join(points, ","))
}

func TestScan_LooksAtEverythingInFewQueries(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	for _, past := range []time.Duration{time.Hour, 40 * 24 * time.Hour} {
		asked := &scans{}
		server := httptest.NewServer(asked)
		t.Cleanup(server.Close)
		followed := gapDetector{canaries: []string{"up"}, interval: 30 * time.Second, checkedUntil: now.Add(-past).UnixMilli()}
		first := followed.checkedUntil + 75_000
		missing, err := followed.scan(t.Context(), asking(t, server.URL), now)
		require.NoError(t, err)
		require.False(t, missing)
		require.Zero(t, followed.contiguousSince)
		require.Equal(t, first, asked.from[0], "the window of the first point lies within what is looked at")
		for i := range asked.from {
			if i > 0 {
				require.Equal(t, asked.to[i-1]+asked.step[i], asked.from[i], "nothing is left out")
			}
			require.LessOrEqual(t, (asked.to[i]-asked.from[i])/asked.step[i]+1, int64(pointsPerScan))
		}
		require.LessOrEqual(t, len(asked.from), scansAtOnce+1)
		last := len(asked.to) - 1
		require.Less(t, now.UnixMilli()-asked.to[last], asked.step[last])
	}
	// What was not looked at because a query failed is looked at the next time.
	asked := &scans{failing: 3}
	server := httptest.NewServer(asked)
	t.Cleanup(server.Close)
	followed := gapDetector{canaries: []string{"up"}, interval: 30 * time.Second, checkedUntil: now.Add(-20 * 24 * time.Hour).UnixMilli()}
	require.Error(t, followed.detect(t.Context(), asking(t, server.URL), "", followed.checkedUntil, now))
	require.LessOrEqual(t, followed.checkedUntil, asked.to[1])
}

func TestSampleInterval_IsTheUsualOneOfTheSlowestSeries(t *testing.T) {
	matrix := func(seconds ...int) string {
		var values []string
		for _, at := range seconds {
			values = append(values, fmt.Sprintf(`[%d,"1"]`, at))
		}
		return fmt.Sprintf(`{"resultType":"matrix","result":[{"metric":{},"values":[%s]}]}`, strings.Join(values, ","))
	}
	server := httptest.NewServer(answers{
		{"slow", matrix(0, 60, 120)}, {"restarted", matrix(0, 5, 35, 65, 300)}, {"new", matrix(0)}, {"none", emptyMatrix}, {"fails", ""},
	})
	t.Cleanup(server.Close)
	asked := asking(t, server.URL)
	for _, test := range []struct {
		series   []string
		expected time.Duration
	}{
		{[]string{"slow", "restarted"}, time.Minute}, {[]string{"restarted"}, 30 * time.Second},
		{[]string{"restarted", "slow", "new"}, time.Minute}, {[]string{"new", "none"}, 0}, {nil, 0},
	} {
		found, err := asked.sampleInterval(t.Context(), test.series, time.Now())
		require.NoError(t, err)
		require.Equal(t, test.expected, found, test.series)
	}
	_, err := asked.sampleInterval(t.Context(), []string{"slow", "fails"}, time.Now())
	require.Error(t, err)
}

func TestSearchNewest_LooksBackToTheGivenTime(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	var times []time.Time
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		seconds, _ := strconv.ParseFloat(request.FormValue("time"), 64)
		times = append(times, time.UnixMilli(int64(seconds*1000)))
		_, _ = fmt.Fprintf(w, `{"status":"success","data":%s}`, emptyVector)
	}))
	t.Cleanup(server.Close)
	earliest := now.Add(-12 * time.Minute).UnixMilli()
	newest, found, err := asking(t, server.URL).searchNewest(t.Context(), "up", now, earliest)
	require.NoError(t, err)
	require.Equal(t, []any{earliest, false}, []any{newest, found})
	for i, back := range []time.Duration{0, 5 * time.Minute, 10 * time.Minute} {
		require.True(t, times[i].Equal(now.Add(-back)), "%s", times)
	}
	require.Len(t, times, 3)
}

// A tier that does not let its series be listed has no canaries, which is no
// failure.
func TestUpSeries_WhereTheyCannotBeListed(t *testing.T) {
	server := httptest.NewServer(answers{{"x", ""}})
	t.Cleanup(server.Close)
	found, err := asking(t, server.URL).upSeries(t.Context(), "up", time.Now(), time.Now(), 1)
	require.NoError(t, err)
	require.Empty(t, found)
	_, err = asking(t, server.URL).upSeries(t.Context(), "x", time.Now(), time.Now(), 1)
	require.Error(t, err)
}
