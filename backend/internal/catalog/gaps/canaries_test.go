package gaps

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

func TestSearchNewest_LooksBackToTheGivenTime(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	var times []time.Time
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		seconds, _ := strconv.ParseFloat(request.FormValue("time"), 64)
		times = append(times, time.UnixMilli(int64(seconds*1000)))
		_, _ = fmt.Fprintf(w, `{"status":"success","data":%s}`, catalogtest.EmptyVector)
	}))
	t.Cleanup(server.Close)
	newest, err := asker{catalogtest.Asking(t, server.URL)}.searchNewest(t.Context(), "up", now, now.Add(-12*time.Minute))
	require.NoError(t, err)
	require.Zero(t, newest)
	for i, back := range []time.Duration{0, 5 * time.Minute, 10 * time.Minute} {
		require.True(t, times[i].Equal(now.Add(-back)), "%s", times)
	}
	require.Len(t, times, 3)
}

func TestSearchNewest_ReturnsATimestampAndNothingElse(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	for name, test := range map[string]struct {
		value    string
		expected int64
	}{
		"a timestamp": {"1000.0006", 1_000_001},
		"NaN":         {"NaN", 0},
	} {
		tier := catalogtest.NewScripted(t, catalogtest.Answers{{Key: "timestamp", Data: `{"resultType":"vector","result":[{"metric":{},"value":[1,"` + test.value + `"]}]}`}})
		newest, err := asker{catalogtest.Asking(t, tier.URL)}.searchNewest(t.Context(), "up", now, now)
		require.NoError(t, err)
		require.Equal(t, test.expected, newest, name)
		require.Len(t, tier.Requests(""), 1)
	}
}

func TestMeasureCanaries_TakesSeriesWithNewSamples(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_000)
	tier := catalogtest.NewScripted(t, catalogtest.Answers{
		{Key: "{new}", Data: matrix(at, 70, 40, 10)},
		{Key: "{just new}", Data: matrix(at, 140, 110, 80)}, // two and a half intervals, and the slack
		{Key: "{old}", Data: matrix(at, 140.001, 110.001, 80.001)},
		{Key: "{two samples}", Data: matrix(at, 4, 2)},
		{Key: "{slow}", Data: matrix(at, 1100, 800, 500)},
		{Key: "query", Data: catalogtest.EmptyMatrix},
	})
	client := asker{catalogtest.Asking(t, tier.URL)}
	alive, newest, err := client.measureCanaries(t.Context(), []string{"{none}", "{new}", "{just new}", "{old}", "{two samples}", "{slow}"}, at, 5*time.Second)
	require.NoError(t, err)
	now := at.UnixMilli()
	require.Equal(t, candidates{
		{"{new}", 30_000, now - 10_000, 0}, {"{just new}", 30_000, now - 80_000, 0}, {"{slow}", 300_000, now - 500_000, 1},
	}, alive)
	require.Equal(t, now-2000, newest, "even of a series that has too few samples")
	require.NotEmpty(t, tier.Requests("time=1699999999.999"), "a sample at that time is none before it")
	require.Equal(t, 300*time.Second, alive.slowest())
}

func TestFastest_OneOfEachGroupFirst(t *testing.T) {
	in := func(group int, interval int64) canary { return canary{group: group, interval: interval} }
	for name, test := range map[string]struct{ of, expected []canary }{
		"none":           {nil, nil},
		"few":            {[]canary{in(0, 15), in(0, 15)}, []canary{in(0, 15), in(0, 15)}},
		"slow ones":      {[]canary{in(0, 20), in(1, 31), in(2, 30), in(3, 60)}, []canary{in(0, 20), in(2, 30)}},
		"many":           {[]canary{in(0, 1), in(1, 1), in(2, 1), in(3, 1), in(4, 1), in(5, 1)}, []canary{in(0, 1), in(1, 1), in(2, 1), in(3, 1), in(4, 1)}},
		"many of groups": {[]canary{in(0, 10), in(0, 11), in(0, 12), in(1, 10), in(1, 11), in(2, 10)}, []canary{in(0, 10), in(1, 10), in(2, 10), in(0, 11), in(1, 11)}},
	} {
		require.Equal(t, test.expected, candidates(test.of).fastest(), name)
	}
}

// TestCanariesAt_AsksFewSeries scripts a server, and says which series are asked for their samples.
func TestCanariesAt_AsksFewSeries(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_000)
	list := func(format string, count int) string {
		var values []string
		for i := range count {
			values = append(values, fmt.Sprintf(format, i))
		}
		return "[" + strings.Join(values, ",") + "]"
	}
	alive, dead, series := matrix(at, 70, 40, 10), matrix(at, 1100, 1070, 1040), list(`{"__name__":"up","instance":"%d"}`, 4)
	ofNothing := `{"resultType":"vector","result":[{"value":[1,"1"]},{"metric":{"job":"z"},"value":[1,"1"]}]}`
	for name, test := range map[string]struct {
		answers     catalogtest.Answers
		lists, topk int // requests
		alive       int
		names       []string
		empty       bool
		newest      int64 // seconds before
	}{
		"three series of each of eight jobs": {answers: catalogtest.Answers{{"job/values", list(`"j%d"`, 9)}, {"/series", series}, {"query", alive}}, lists: 8, alive: 24},
		"a single job":                       {answers: catalogtest.Answers{{"job/values", `["j0"]`}, {"/series", series}, {"query", alive}}, lists: 1, alive: 3},
		"a failing topk is not needed":       {answers: catalogtest.Answers{{"job/values", `["j0"]`}, {"/series", series}, {"topk", ""}, {"query", alive}}, lists: 1, alive: 3},
		"no list of jobs":                    {answers: catalogtest.Answers{{"/series", series}, {"query", alive}}, lists: 1, alive: 3},
		"lists of other targets":             {answers: catalogtest.Answers{{"topk", ofNothing}, {"instance", dead}, {"job/values", `["j0"]`}, {"/series", series}, {"query", alive}}, lists: 1, topk: 1, alive: 2},
		"no list at all":                     {answers: catalogtest.Answers{{"topk", ofNothing}, {"query", alive}}, lists: 1, topk: 1, alive: 2},
		"other names":                        {answers: catalogtest.Answers{{"topk", catalogtest.EmptyVector}, {"job/values", `[]`}, {"__name__/values", `["a","b","c"]`}, {"match[]={__name__=", `[{"__name__":"a"}]`}, {"/series", `[]`}, {"query", alive}}, lists: 4, topk: 1, alive: 3, names: []string{"a", "b", "c"}},
		"many other names":                   {answers: catalogtest.Answers{{"topk", catalogtest.EmptyVector}, {"__name__/values", list(`"n%d"`, 240)}, {"match[]={__name__=", `[{"__name__":"a"}]`}, {"/series", `[]`}, {"query", alive}}, lists: 9, topk: 1, alive: 8, names: []string{"n0", "n25", "n50", "n75", "n100", "n125", "n150", "n175"}},
		"an empty server":                    {answers: catalogtest.Answers{{"topk", catalogtest.EmptyVector}, {"values", `[]`}, {"/series", `[]`}}, lists: 1, topk: 1, empty: true},
		"nothing is served":                  {lists: 1, topk: 1},
		"all targets are gone":               {answers: catalogtest.Answers{{"topk", catalogtest.EmptyVector}, {"values", `["a"]`}, {"match[]={__name__=", `[{"__name__":"a"}]`}, {"/series", series}, {`query={__name__="a"}`, matrix(at, 1190, 1160, 1130)}, {"query", dead}}, lists: 2, topk: 1, names: []string{"a"}, newest: 1040},
	} {
		t.Run(name, func(t *testing.T) {
			tier := catalogtest.NewScripted(t, test.answers)
			search, err := asker{catalogtest.Asking(t, tier.URL)}.canariesAt(t.Context(), "", at, 0)
			require.NoError(t, err)
			require.Equal(t, []any{test.lists, test.topk}, []any{len(tier.Requests("/series")), len(tier.Requests("topk"))})
			require.Equal(t, []any{test.alive, test.names, test.empty}, []any{len(search.alive), search.names, search.empty})
			if test.newest > 0 {
				require.Equal(t, at.Add(-time.Duration(test.newest)*time.Second).UnixMilli(), search.newest)
			}
		})
	}
}

func TestCanariesAt_KeepsToItsScope(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_000)
	for scope, expected := range map[string][]string{
		"":           {`up{}`, `up{job="j"}`, `up{}`, ``, `{__name__="load"}`},
		`source="x"`: {`up{source="x"}`, `up{job="j",source="x"}`, `up{source="x"}`, `{source="x"}`, `{__name__="load",source="x"}`},
	} {
		var selectors, times []string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			selector := request.FormValue("match[]")
			data := `["j"]`
			switch path := request.URL.Path; {
			case strings.HasSuffix(path, "/__name__/values"):
				data = `["load"]`
			case strings.HasSuffix(path, "/series"):
				data = `[]`
			case strings.HasSuffix(path, "/query"):
				data, selector = catalogtest.EmptyVector, strings.TrimSuffix(strings.TrimPrefix(request.FormValue("query"), "topk(10, count_over_time("), "[5m]))")
			}
			selectors = append(selectors, selector)
			times = append(times, request.FormValue("start")+request.FormValue("time")+"-"+request.FormValue("end"))
			_, _ = fmt.Fprintf(w, `{"status":"success","data":%s}`, data)
		}))
		t.Cleanup(server.Close)
		_, err := asker{catalogtest.Asking(t, server.URL)}.canariesAt(t.Context(), scope, at, 0)
		require.NoError(t, err)
		require.Equal(t, expected, selectors)
		recent := "1699999700.000-1700000000.000"
		require.Equal(t, []string{recent, recent, "1700000000.000-", recent, recent}, times)
	}
}
