package gaps

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
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
	earliest := now.Add(-12 * time.Minute).UnixMilli()
	newest, found, err := asker{catalogtest.Asking(t, server.URL)}.searchNewest(t.Context(), "up", now, earliest)
	require.NoError(t, err)
	require.Equal(t, []any{earliest, false}, []any{newest, found})
	for i, back := range []time.Duration{0, 5 * time.Minute, 10 * time.Minute} {
		require.True(t, times[i].Equal(now.Add(-back)), "%s", times)
	}
	require.Len(t, times, 3)
}
