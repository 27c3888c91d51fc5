package comparison

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

func TestSampleInterval_IsTheUsualOneOfTheSlowestSeries(t *testing.T) {
	matrix := func(seconds ...int) string {
		var values []string
		for _, at := range seconds {
			values = append(values, fmt.Sprintf(`[%d,"1"]`, at))
		}
		return fmt.Sprintf(`{"resultType":"matrix","result":[{"metric":{},"values":[%s]}]}`, strings.Join(values, ","))
	}
	server := httptest.NewServer(catalogtest.Answers{
		{"slow", matrix(0, 60, 120)}, {"restarted", matrix(0, 5, 35, 65, 300)}, {"new", matrix(0)}, {"none", catalogtest.EmptyMatrix}, {"fails", ""},
	})
	t.Cleanup(server.Close)
	asked := catalogtest.Asking(t, server.URL)
	for _, test := range []struct {
		series   []string
		expected time.Duration
	}{
		{[]string{"slow", "restarted"}, time.Minute}, {[]string{"restarted"}, 30 * time.Second},
		{[]string{"restarted", "slow", "new"}, time.Minute}, {[]string{"new", "none"}, 0}, {nil, 0},
	} {
		found, err := sampleInterval(t.Context(), asked, test.series, time.Now())
		require.NoError(t, err)
		require.Equal(t, test.expected, found, test.series)
	}
	_, err := sampleInterval(t.Context(), asked, []string{"slow", "fails"}, time.Now())
	require.Error(t, err)
}

// A tier that does not let its series be listed has no canaries, which is no
// failure.
func TestUpSeries_WhereTheyCannotBeListed(t *testing.T) {
	server := httptest.NewServer(catalogtest.Answers{{"x", ""}})
	t.Cleanup(server.Close)
	found, err := upSeries(t.Context(), catalogtest.Asking(t, server.URL), "up", time.Now(), time.Now(), 1)
	require.NoError(t, err)
	require.Empty(t, found)
	_, err = upSeries(t.Context(), catalogtest.Asking(t, server.URL), "x", time.Now(), time.Now(), 1)
	require.Error(t, err)
}
