package catalog

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// answers says what a fake tier answers: the data for the first of its keys that
// the path and the query together contain. What has no key is not found, and an
// empty text fails.
type answers []struct{ key, data string }

const (
	emptyVector = `{"resultType":"vector","result":[]}`
	emptyMatrix = `{"resultType":"matrix","result":[]}`
)

func vectorOf(at time.Time) string {
	return fmt.Sprintf(`{"resultType":"vector","result":[{"metric":{},"value":[1,"%d.%03d"]}]}`, at.Unix(), at.UnixMilli()%1000)
}

func (a answers) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	query, _ := url.QueryUnescape(request.URL.RawQuery)
	for _, each := range a {
		if !strings.Contains(request.URL.Path+"?"+query, each.key) {
			continue
		}
		if each.data == "" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprintf(w, `{"status":"success","data":%s}`, each.data)
		return
	}
	w.WriteHeader(http.StatusNotFound)
}

func TestCheckFreshness_NewestSampleAndGaps(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	ago := func(age time.Duration) string { return vectorOf(now.Add(-age)) }
	const newest, oldestMillis = "max(timestamp(up))", int64(1000)
	noSeries := struct{ key, data string }{"/series", `[]`}
	started := now.Add(-time.Hour)
	for name, test := range map[string]struct {
		answers    answers
		head       time.Duration // age of the newest sample of the head; zero where it does not tell
		configured time.Duration
		available  bool
		oldest     int64
		problem    string
		failed     bool
	}{
		"fresh":                      {answers: answers{{newest, ago(time.Minute)}, noSeries}, available: true},
		"the newest sample is old":   {answers: answers{{newest, ago(2*time.Minute + 6*time.Second)}, noSeries}, problem: "no samples come in"},
		"up to two intervals":        {answers: answers{{newest, ago(2*time.Minute + 4*time.Second)}, noSeries}, available: true},
		"a longer interval":          {answers: answers{{newest, ago(9 * time.Minute)}, noSeries}, configured: 5 * time.Minute, available: true},
		"only the head is fresh":     {answers: answers{{newest, ago(4 * time.Minute)}, noSeries}, head: time.Minute, available: true},
		"only the metric is fresh":   {answers: answers{{newest, ago(time.Minute)}, noSeries}, head: time.Hour, available: true},
		"no series named up":         {answers: answers{{newest, emptyVector}, noSeries}, head: time.Minute, available: true},
		"nothing tells":              {answers: answers{{newest, emptyVector}, noSeries}, available: true},
		"both are old":               {answers: answers{{newest, emptyVector}, noSeries}, head: time.Hour, problem: "no samples come in"},
		"the newest sample fails":    {answers: answers{{newest, ""}, noSeries}, problem: "its newest sample could not be measured", failed: true},
		"looking for gaps fails":     {answers: answers{{newest, ago(time.Minute)}, {"/series", ""}}, available: true, oldest: tier.NothingCovered, problem: "gaps in its data could not be looked for"},
		"what it answers is no time": {answers: answers{{newest, `{"resultType":"vector","result":[{"metric":{},"value":[1,"NaN"]}]}`}, noSeries}, available: true},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.answers)
			t.Cleanup(server.Close)
			hot := NewTier(TierOptions{Name: tier.Hot, Client: client(t, server.URL), ProbeInterval: time.Hour, TierSettings: TierSettings{ScrapeInterval: test.configured}})
			status := Status{Available: true, Oldest: oldestMillis, started: started}
			if test.head != 0 {
				status.newestInHead = now.Add(-test.head).UnixMilli()
			}
			hot.checkFreshness(t.Context(), &status, now)
			require.Equal(t, test.available, status.Available, status.Error)
			require.Equal(t, test.problem == "", status.Error == "", status.Error)
			require.Contains(t, status.Error, test.problem)
			require.Equal(t, test.failed, status.failure != nil)
			if test.oldest == 0 {
				test.oldest = oldestMillis
			}
			require.Equal(t, test.oldest, status.Oldest)
			if test.problem == "" {
				require.Equal(t, started.UnixMilli(), status.ContiguousSince, "nothing reports whether the start left a gap")
			}
		})
	}
}

func TestCheckFreshness_LeavesAloneWhatIsDownOrCoversNothing(t *testing.T) {
	asked := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was asked") }))
	t.Cleanup(asked.Close)
	for _, status := range []Status{{Oldest: 1000}, {Available: true, Oldest: tier.NothingCovered}} {
		hot := NewTier(TierOptions{Name: tier.Hot, Client: client(t, asked.URL), ProbeInterval: time.Hour})
		examined := status
		hot.checkFreshness(t.Context(), &examined, time.Now())
		require.Equal(t, status, examined)
	}
}

func TestCheckFreshness_AGapCountsForAsLongAsItIsKnown(t *testing.T) {
	now := time.Now()
	server := httptest.NewServer(answers{{"max(timestamp(up))", vectorOf(now)}, {"/series", `[]`}})
	t.Cleanup(server.Close)
	hot := NewTier(TierOptions{Name: tier.Hot, Client: client(t, server.URL), ProbeInterval: time.Hour})
	hot.gaps.contiguousSince = now.Add(-time.Minute).UnixMilli()
	status := Status{Available: true, Oldest: 1000, started: now.Add(-time.Hour)}
	hot.checkFreshness(t.Context(), &status, now)
	require.Equal(t, now.Add(-time.Minute).UnixMilli(), status.ContiguousSince)
}

// A gap that was found bounds what is asked of hot.
func TestState_CoverageBeginsBehindTheGap(t *testing.T) {
	hot := NewTier(TierOptions{Name: tier.Hot, TierSettings: TierSettings{Lag: time.Second}})
	notes := []tier.Note{tier.PublicNote("something is missing")}
	hot.status.Store(&Status{Available: true, Oldest: 1000, ContiguousSince: 5000, Notes: notes})
	state := hot.State(time.UnixMilli(100_000))
	require.Equal(t, tier.State{Configured: true, Available: true, Oldest: 5000, Newest: 99_000, Notes: notes}, state)
}

func TestInspect_StatusVersionAndSettings(t *testing.T) {
	now := time.Now()
	fresh := answers{
		{"vector(1)", `{"resultType":"vector","result":[]}`}, {"max(timestamp(up))", vectorOf(now)}, {"/series", `[]`},
		{"lowest_timestamp", vectorOf(now.Add(-time.Hour))}, {"runtimeinfo", `{"startTime":"2020-01-01T00:00:00Z","storageRetention":"30m"}`},
		{"buildinfo", `{"version":"3.1.4"}`}, {"status/flags", `{"query.lookback-delta":"7m"}`},
	}
	look := func(answered http.Handler) Inspection {
		server := httptest.NewServer(answered)
		t.Cleanup(server.Close)
		return NewTier(TierOptions{Name: tier.Hot, Client: client(t, server.URL), ProbeInterval: time.Hour}).Inspect(t.Context())
	}
	found := look(fresh)
	require.True(t, found.Available, found.Error)
	require.Equal(t, []any{upstream.Failure(""), "3.1.4", 7 * time.Minute}, []any{found.Failure, found.Version, found.Settings.LookbackDelta})
	require.WithinDuration(t, now.Add(-30*time.Minute), time.UnixMilli(found.CoverageStart), time.Minute, "the retention bounds what may be asked")

	for name, wrong := range map[string]string{"a success of something else": `[]`, "a value that nobody asked for": `{"resultType":"matrix","result":[]}`} {
		found = look(answers{{"vector(1)", wrong}})
		require.False(t, found.Available, name)
		require.Equal(t, upstream.FailureOf(upstream.ErrNotPrometheus), found.Failure, name)
		require.Zero(t, found.CoverageStart, name)
	}
	found = look(answers{{"vector(1)", ""}})
	require.Equal(t, upstream.FailureOf(&upstream.StatusError{Status: http.StatusInternalServerError}), found.Failure)
}
