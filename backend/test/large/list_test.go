//go:build e2e

package large

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// list returns an answer with so many elements of a pattern, which gets a number from first
// on.
func list(pattern string, first, count int) writes {
	return func(w io.Writer, _ url.Values) {
		_, _ = io.WriteString(w, `{"status":"success","data":[`)
		for number := first; number < first+count; number++ {
			separator := ","
			if number == first {
				separator = ""
			}
			if _, err := fmt.Fprintf(w, separator+pattern, number); err != nil {
				return
			}
		}
		_, _ = io.WriteString(w, `]}`)
	}
}

// between asks for what there was between some hours ago.
func between(from, to time.Duration) url.Values {
	now := time.Now()
	return url.Values{"match[]": {"big"}, "start": {fmt.Sprint(now.Add(-from).Unix())}, "end": {fmt.Sprint(now.Add(-to).Unix())}}
}

// TestLists_LargeAnswersStream asks for E2E_ENTRIES values, series and names of one tier and
// of both, which share a half. With the default limits, the series of hot that are compared
// take too much memory beyond about 500,000.
func TestLists_LargeAnswersStream(t *testing.T) {
	count := sized(t, "E2E_ENTRIES", 300_000)
	const value, name = `"pod-%07d.example.org"`, `"name_%07d"`
	const series, labelled = `{"__name__":"big","instance":"10.0.0.7:9100","pod":"pod-%07d"}`, `{"__name__":"big","cluster":"lab","instance":"10.0.0.7:9100","pod":"pod-%07d"}`
	recent, old, both := between(10*time.Minute, 0), between(60*time.Hour, 50*time.Hour), between(60*time.Hour, 0)
	lag := nested{"cold": nested{"lag": "2h"}}
	for _, test := range []struct {
		name, path, tier string
		parameters       url.Values
		settings         nested
		hot, cold        writes
		expected         writes // nil: too many to be the same
		most             int64
	}{
		{"values of hot", "label/pod/values", "hot", recent, nil, list(value, 0, count), nil, list(value, 0, count), 64},
		{"values of cold", "label/pod/values", "cold", old, nil, nil, list(value, 0, count), list(value, 0, count), 160},
		{"values of both", "label/pod/values", "hot,cold", both, lag, list(value, 0, count), list(value, count/2, count), list(value, 0, count+count/2), 192},
		{"series of hot", "series", "hot", recent, nil, list(series, 0, count), nil, list(labelled, 0, count), 192},
		{"series of cold", "series", "cold", old, nil, nil, list(labelled, 0, count), list(labelled, 0, count), 160},
		{"series of both", "series", "hot,cold", both, lag, list(series, 0, count), list(labelled, count/2, count), list(labelled, 0, count+count/2), 192},
		{"names of cold", "labels", "cold", old, nil, nil, list(name, 0, count), list(name, 0, count), 160},
		{"names of both", "labels", "hot,cold", both, lag, list(name, 0, count), list(name, count/2, count), nil, 192},
	} {
		t.Run(test.name, func(t *testing.T) {
			hot, cold := startHot(t, test.hot), startCold(t, test.cold)
			g := startGateway(t, hot, cold, test.settings)
			got := g.ask(t, "/api/v1/"+test.path, test.parameters)
			require.Equal(t, []any{http.StatusOK, test.tier}, []any{got.status, got.header.Get("X-Tier")}, got.tail)
			switch {
			case test.expected == nil:
				require.Equal(t, int64(len(`,"cluster"`)), got.length-expect(t, list(name, 0, count+count/2), nil).length)
			case strings.Contains(got.tail, `"warnings":["there are too many series to compare the tiers: some may be listed twice"]`):
				require.Greater(t, count, 400_000)
			case test.path == "series":
				require.Equal(t, expect(t, test.expected, nil).length, got.length)
			default:
				require.Equal(t, expect(t, test.expected, nil), answered{hash: got.hash, length: got.length, tail: got.tail})
			}
			g.report(t, got, test.most)
		})
	}
}
