//go:build e2e

package hostile

import (
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
)

// extremeRequests is how many requests with extreme numbers are made.
const extremeRequests = 2000

// extremes are numbers, times and durations at the ends of what servers read, and
// some that only look like one.
var extremes = []string{
	"0", "-0", "+0", "1", "-1", "+1", "00", "007", "0.0", ".5", "5.", "-.5", ".", "-", "+", "1.5", "1,5", "1_000", "1__0", "_1", "1e3", "1E3", "1e+3", "1e-3", "1e", "e1", "1e400", "-1e400", "1e308", "-1e308",
	"1e-400", "4.9e-324", "1e18", "1e19", "-1e19", "1e15", "1e12", "-1e12", "0x10", "0X1p4", "0x1p-2", "0x", "0b11", "0o17", "1p4", "NaN", "nan", "-NaN", "Inf", "inf", "+Inf", "-Inf", "infinity", "Infinity", "-infinity",
	"9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616", "9223372036.854775807", "9223372036854.775", "9223372036855", "-9223372036855",
	"9007199254740993", "2147483647", "2147483648", "-2147483648", "4294967295", "4294967296", "1099511627776", "0.1e-9", "0.000000001", "0.0000000001", "1e-9", "253402300800", "-62135596801",
	"99999999999999999999999999999999999999", "0." + strings.Repeat("0", 400) + "1", strings.Repeat("9", 400), strings.Repeat("0", 4000) + "1", "1" + strings.Repeat("0", 4000),
	"true", "null", "undefined", "{}", "[1]", "1 2", " 1", "1 ", "\t1", "1\n", "1\x00", "１２３", "١٢٣", "²", "½", "−1", "1\u00a0", "1\ufeff", "1;2", "1%", "$1", "'1'", `"1"`, "1s", "1S", "1m", "1h", "1d", "1w", "1y", "1ms", "1us", "1ns", "0s", "-1s", "+1s",
	"1h30m", "30m1h", "1h1h", "1.5h", "1h 30m", "1d12h", "292y", "293y", "300y", "106751d", "106752d", "9223372036854775807ms", "9223372036854775808ms", "9223372036s", "9223372037s", "99999999999y", "1e3s", "h", "ms", "1x",
	"2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01t00:00:00z", "2026-01-01 00:00:00Z", "2026-01-01T00:00:00", "2026-01-01T00:00:00+14:00", "2026-01-01T00:00:00-23:59", "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00.999999999Z",
	"2026-01-01T00:00:00.9999999999999Z", "2026-01-01T00:00:00,5Z", "2026-01-01T24:00:00Z", "2026-01-01T23:59:60Z", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-00T00:00:00Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
	"10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "1582-10-10T00:00:00Z", "2026-1-1T0:0:0Z", "26-01-01T00:00:00Z", "20260101T000000Z", "2026-W01-1T00:00:00Z",
	"-292273086-05-16T16:47:06Z", "+292277025-08-18T07:12:54.999999999Z", "292277025-08-18T07:12:54.999999999Z", "-292273086-05-16T16:47:05Z", "now", "now-1h", "tomorrow",
}

// extreme returns a number that nothing was written for.
func extreme(random *rand.Rand) string {
	switch random.IntN(6) {
	case 0:
		return strconv.FormatFloat(math.Float64frombits(random.Uint64()), "eEfgGx"[random.IntN(6)], -1, 64)
	case 1:
		return strconv.FormatInt(int64(random.Uint64()), 10)
	case 2:
		return strconv.FormatUint(random.Uint64(), 10) + [...]string{"ms", "s", "m", "h", "d", "w", "y", ""}[random.IntN(8)]
	case 3:
		return strconv.FormatFloat((random.Float64()-0.5)*math.Pow(10, float64(random.IntN(40)-10)), 'f', -1, 64)
	case 4:
		return time.Unix(random.Int64N(1<<40)-1<<39, random.Int64N(1e9)).In(time.FixedZone("", random.IntN(48*3600)-24*3600)).Format(time.RFC3339Nano)
	default:
		first, second := extremes[random.IntN(len(extremes))], extremes[random.IntN(len(extremes))]
		return first[:min(len(first), 10)] + second[:min(len(second), 10)]
	}
}

// numbered are the endpoints with their numbers.
var numbered = []struct {
	endpoint, parameters string
	numbers              []string
}{
	{"query", "query=up", []string{"time", "timeout", "lookback_delta", "limit"}},
	{"query_range", "query=up", []string{"start", "end", "step", "timeout", "lookback_delta", "limit"}},
	{"series", "match[]=up", []string{"start", "end", "limit"}},
	{"labels", "", []string{"start", "end", "limit"}},
	{"label/job/values", "", []string{"start", "end", "limit"}},
	{"query_exemplars", "query=up", []string{"start", "end"}},
}

// TestGateway_ExtremeNumbers asks the gateway and a Prometheus for the same and
// compares the statuses. The gateway has two tiers, so that it reckons with the
// numbers; it may refuse what Prometheus makes something of, and nothing else.
func TestGateway_ExtremeNumbers(t *testing.T) {
	now := time.Now()
	start := func(name string, reach time.Duration) *embedded.Prometheus {
		data := filepath.Join(t.TempDir(), name)
		require.NoError(t, history.Generator{Interval: time.Minute}.WriteBlocks(t.Context(), data, now.Add(-reach), now))
		started, err := embedded.Start(embedded.Options{Address: "127.0.0.1:0", Data: data, Retention: 30 * 24 * time.Hour})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, started.Close()) })
		return started
	}
	hot, cold := start("hot", 2*time.Hour), start("cold", 12*time.Hour)
	g := startGateway(t, "numbers", map[string]any{"hot": map[string]any{"url": hot.URL}, "cold": map[string]any{"url": cold.URL}})
	g.setBaseline(t)
	random := rand.New(rand.NewPCG(1, 2)) // The same requests in every run.
	statusCounts := map[int]int{}
	for i := range extremeRequests {
		asked := numbered[random.IntN(len(numbered))]
		values, err := url.ParseQuery(asked.parameters)
		require.NoError(t, err)
		values.Set("start", strconv.FormatInt(now.Add(-3*time.Hour).Unix(), 10))
		values.Set("end", strconv.FormatInt(now.Unix(), 10))
		if asked.endpoint == "query_range" {
			values.Set("step", "60")
		}
		// Each of the list once or more, then what nothing was written for.
		for range 1 + random.IntN(2) {
			value := extremes[i%len(extremes)]
			if i >= extremeRequests/2 {
				value = extreme(random)
			}
			values.Set(asked.numbers[random.IntN(len(asked.numbers))], value)
		}
		target := "/api/v1/" + asked.endpoint + "?" + values.Encode()
		expected, got := status(t, cold.URL+target), status(t, g.URL+target)
		statusCounts[got]++
		if got != expected && (got != http.StatusBadRequest || !hasNoMeaning(values)) && !timesOut(values, got, expected) {
			t.Errorf("%s: the gateway answers %d, Prometheus %d", target, got, expected)
		}
	}
	t.Logf("the gateway's statuses are %v", statusCounts)
	require.Greater(t, statusCounts[http.StatusOK], extremeRequests/10)
	require.Greater(t, statusCounts[http.StatusBadRequest], extremeRequests/10)
	g.requireBaseline(t)
}

// hasNoMeaning reports whether a request has a time that is no number, or an end
// before its start.
func hasNoMeaning(values url.Values) bool {
	var seconds []float64
	for _, name := range []string{"start", "end", "time"} {
		text := values.Get(name)
		number, err := strconv.ParseFloat(text, 64)
		if parsed, isDate := time.Parse(time.RFC3339Nano, text); isDate == nil {
			number, err = float64(parsed.Unix()), nil
		}
		switch {
		case strings.HasPrefix(text, "292277025-"): // The end of all time, which Prometheus reads by itself.
			seconds = append(seconds, math.MaxFloat64)
		case err == nil && (math.IsNaN(number) || math.IsInf(number, 0)):
			return true
		case name != "time" && err == nil:
			seconds = append(seconds, number)
		}
	}
	return !slices.IsSorted(seconds)
}

// timesOut reports whether a timeout of the request ended it at one server, which
// the other may have been ahead of.
func timesOut(values url.Values, statuses ...int) bool {
	return values.Get("timeout") != "" && slices.Contains(statuses, http.StatusServiceUnavailable)
}

// status asks and returns the status of the answer, which has an end.
func status(t *testing.T, target string) int {
	t.Helper()
	response, err := http.Get(target)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	readAll(t, response.Body)
	return response.StatusCode
}
