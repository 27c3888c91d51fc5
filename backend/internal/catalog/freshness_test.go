package catalog

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

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
	fresh := catalogtest.Answers{
		{"vector(1)", catalogtest.EmptyVector}, {"count_over_time", catalogtest.EmptyVector}, {"timestamp(up", catalogtest.EmptyVector}, {"/series", `[]`}, {"/values", `[]`},
		{"/blocks", fmt.Sprintf(`{"blocks":[{"minTime":%d,"maxTime":%d}]}`, now.Add(-time.Hour).UnixMilli(), now.UnixMilli())}, {"runtimeinfo", `{"startTime":"2020-01-01T00:00:00Z","storageRetention":"30m"}`},
		{"buildinfo", `{"version":"3.1.4"}`}, {"status/flags", `{"query.lookback-delta":"7m"}`},
	}
	look := func(answered http.Handler) Inspection {
		server := httptest.NewServer(answered)
		t.Cleanup(server.Close)
		return NewTier(TierOptions{Name: tier.Hot, Client: catalogtest.Client(t, server.URL), ProbeInterval: time.Hour}).Inspect(t.Context())
	}
	found := look(fresh)
	require.True(t, found.Available, found.Error)
	require.Equal(t, []any{upstream.Failure(""), "3.1.4", 7 * time.Minute}, []any{found.Failure, found.Server.Version, found.Settings.LookbackDelta})
	require.WithinDuration(t, now.Add(-30*time.Minute), time.UnixMilli(found.CoverageStart), time.Minute, "the retention bounds what may be asked")

	for name, wrong := range map[string]string{"a success of something else": `[]`, "a value that nobody asked for": `{"resultType":"matrix","result":[]}`} {
		found = look(catalogtest.Answers{{"vector(1)", wrong}})
		require.False(t, found.Available, name)
		require.Equal(t, upstream.FailureOf(upstream.ErrNotPrometheus), found.Failure, name)
		require.Zero(t, found.CoverageStart, name)
	}
	found = look(catalogtest.Answers{{"vector(1)", ""}})
	require.Equal(t, upstream.FailureOf(&upstream.StatusError{Status: http.StatusInternalServerError}), found.Failure)
}

// TestProbe_HotWithoutAnySeriesToFollow covers what counts if nothing can be measured.
func TestProbe_HotWithoutAnySeriesToFollow(t *testing.T) {
	now := time.Now()
	started := now.Add(-time.Hour).Truncate(time.Second)
	blocks := struct{ Key, Data string }{"/blocks", fmt.Sprintf(`{"blocks":[{"minTime":%d,"maxTime":%d}]}`, now.Add(-5*time.Hour).UnixMilli(), now.UnixMilli())}
	runtime := struct{ Key, Data string }{"/runtimeinfo", fmt.Sprintf(`{"startTime":%q,"storageRetention":"15d"}`, started.Format(time.RFC3339))}
	yearOne := struct{ Key, Data string }{"/runtimeinfo", `{"startTime":"0001-01-01T00:00:00Z"}`}
	empty := struct{ Key, Data string }{"/values", `[]`}
	const nothing = time.Duration(-1)
	for name, test := range map[string]struct {
		answers   catalogtest.Answers
		retention time.Duration
		covered   time.Duration
		declared  bool
		problem   string
	}{
		"it reports its blocks and its start":   {answers: catalogtest.Answers{blocks, runtime}, covered: time.Hour},
		"its start is unknown":                  {answers: catalogtest.Answers{blocks}, covered: nothing, problem: noStart},
		"its start is the year 1":               {answers: catalogtest.Answers{blocks, yearOne}, covered: nothing, problem: noStart},
		"it reports a retention, and no blocks": {answers: catalogtest.Answers{runtime}, covered: nothing, problem: noCoverage},
		"it reports nothing":                    {answers: catalogtest.Answers{}, covered: nothing, problem: noCoverage},
		// After a restart with an empty disk, a server without a start would still have the retention.
		"a retention, and an unknown start":       {answers: catalogtest.Answers{}, retention: 6 * time.Hour, covered: nothing, problem: noCoverage},
		"a retention, and a start in the year 1":  {answers: catalogtest.Answers{yearOne}, retention: 6 * time.Hour, covered: nothing, problem: noCoverage},
		"a longer retention, and a known start":   {answers: catalogtest.Answers{runtime}, retention: 6 * time.Hour, covered: time.Hour, declared: true},
		"a shorter retention, and a known start":  {answers: catalogtest.Answers{runtime}, retention: 20 * time.Minute, covered: 20 * time.Minute, declared: true},
		"a retention, and blocks without a start": {answers: catalogtest.Answers{blocks, yearOne}, retention: 6 * time.Hour, covered: nothing, problem: noStart},
		"a retention of an empty storage":         {answers: catalogtest.Answers{empty, runtime}, retention: 6 * time.Hour, covered: nothing, problem: noCoverage},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(append(catalogtest.Answers{{"vector(1)", catalogtest.EmptyVector}}, test.answers...))
			t.Cleanup(server.Close)
			hot := NewTier(TierOptions{Name: tier.Hot, Client: catalogtest.Client(t, server.URL), ProbeInterval: time.Hour, TierSettings: TierSettings{Retention: test.retention}})
			hot.probe(t.Context())
			status, state := hot.Status(), hot.State(now)
			require.True(t, status.Available, status.Error)
			require.Equal(t, []any{test.declared, test.problem}, []any{status.Declared, status.Error})
			if test.covered == nothing {
				require.Equal(t, tier.NothingCovered, state.Oldest)
				return
			}
			require.WithinDuration(t, now.Add(-test.covered), time.UnixMilli(state.Oldest), 2*time.Second)
			require.False(t, hot.With(TierSettings{}).Status().Declared, "a declaration is that of one datasource")
		})
	}
}

func TestProbe_HotWhoseQueriesFailIsUnavailable(t *testing.T) {
	for _, failing := range []string{"count_over_time", "timestamp(up"} {
		server := httptest.NewServer(catalogtest.Answers{{"vector(1)", catalogtest.EmptyVector}, {failing, ""}})
		t.Cleanup(server.Close)
		hot := NewTier(TierOptions{Name: tier.Hot, Client: catalogtest.Client(t, server.URL), ProbeInterval: time.Hour})
		hot.probe(t.Context())
		require.False(t, hot.Status().Available)
		require.Contains(t, hot.Status().Error, "its newest sample could not be measured")
	}
}

func TestProbe_HotThatNoLongerIngestsIsUnavailable(t *testing.T) {
	now := time.Now()
	for age, available := range map[time.Duration]bool{-10 * time.Minute: true, 3 * time.Minute: false, 2 * time.Hour: false} {
		asked := catalogtest.Asking(t, catalogtest.WorldOf(t, now, catalogtest.Wrote{From: 6 * time.Hour, To: age, Jobs: []string{"a", "b"}}))
		hot := NewTier(TierOptions{Name: tier.Hot, Client: asked.Client, ProbeInterval: time.Hour})
		hot.probe(t.Context())
		require.Equal(t, available, hot.Status().Available, "samples end %s ago: %s", age, hot.Status().Error)
		if !available {
			require.Contains(t, hot.Status().Error, "no samples come in")
		}
	}
}
