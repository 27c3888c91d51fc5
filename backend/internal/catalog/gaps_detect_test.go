package catalog

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

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
