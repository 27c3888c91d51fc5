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
		{"vector(1)", emptyVector}, {"count_over_time", emptyVector}, {"timestamp(up", emptyVector}, {"/series", `[]`}, {"/values", `[]`},
		{"/blocks", fmt.Sprintf(`{"blocks":[{"minTime":%d,"maxTime":%d}]}`, now.Add(-time.Hour).UnixMilli(), now.UnixMilli())}, {"runtimeinfo", `{"startTime":"2020-01-01T00:00:00Z","storageRetention":"30m"}`},
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
