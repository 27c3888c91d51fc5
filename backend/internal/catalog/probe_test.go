package catalog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// sources is what a Prometheus reports of its oldest sample and of itself; an empty text stands
// for an endpoint that it does not serve.
type sources struct{ blocks, runtime string }

func (s sources) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	answer, status := "", http.StatusNotFound
	switch path := request.URL.Path; {
	case request.URL.Query().Get("query") == "vector(1)":
		answer = faketier.Vector("1")
	case strings.HasSuffix(path, "/blocks") && s.blocks != "":
		answer = `{"status":"success","data":{"blocks":[` + strings.TrimSpace(s.blocks) + `]}}`
	case strings.HasSuffix(path, "/runtimeinfo") && s.runtime != "":
		answer = `{"status":"success","data":` + s.runtime + `}`
	}
	if answer != "" {
		status = http.StatusOK
	}
	w.WriteHeader(status)
	_, _ = fmt.Fprint(w, answer)
}

// noBlocks is the list of blocks of a new Prometheus.
const noBlocks = " "

func TestMeasure_OldestSampleOfHot(t *testing.T) {
	const hour, start = int64(3_600_000), int64(1_700_000_000_000)
	block := func(from, to int64) string { return fmt.Sprintf(`{"minTime":%d,"maxTime":%d}`, from, to) }
	nothing := tier.NothingCovered
	for name, test := range map[string]struct {
		sources
		oldest    int64
		retention time.Duration
	}{
		"blocks":                                 {sources{block(start, start+hour) + "," + block(start+hour, start+2*hour), ""}, start, 0},
		"blocks in any order":                    {sources{block(start+hour, start+2*hour) + "," + block(start, start+hour), ""}, start, 0},
		"overlapping blocks":                     {sources{block(start, start+9*hour) + "," + block(start+hour, start+8*hour) + "," + block(start+9*hour, start+10*hour), ""}, start, 0},
		"an old block, with a hole behind":       {sources{block(start-900*hour, start-800*hour) + "," + block(start, start+hour), ""}, start, 0},
		"an old block that is a part of another": {sources{block(start, start+9*hour) + "," + block(start+hour, start+2*hour) + "," + block(start+11*hour, start+12*hour), ""}, start, 0},
		"a block of 1970":                        {sources{block(0, hour) + "," + block(start, start+hour), ""}, start, 0},
		"a block that reaches back to 1970":      {sources{block(0, start) + "," + block(start, start+hour), ""}, start, 0},
		"no block yet":                           {sources{noBlocks, `{"storageRetention":"15d or 10GiB"}`}, nothing, 15 * 24 * time.Hour},
		"only blocks of 1970":                    {sources{block(0, hour), `{"storageRetention":"10GiB"}`}, nothing, 0},
		"a block that starts before all time":    {sources{block(math.MinInt64, start), ""}, nothing, 0},
		"only a retention":                       {sources{"", `{"storageRetention":"15d"}`}, nothing, 15 * 24 * time.Hour},
		"nothing at all":                         {sources{}, nothing, 0},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.sources)
			t.Cleanup(server.Close)
			status := Status{Available: true, Oldest: tier.NothingCovered}
			measureLatency(t.Context(), catalogtest.Asking(t, server.URL), &status)
			measureCoverage(t.Context(), catalogtest.Asking(t, server.URL), &status)
			require.True(t, status.Available)
			require.Equal(t, []any{test.oldest, test.retention}, []any{status.Oldest, status.Retention})
			require.Equal(t, test.oldest != nothing, status.reported)
			require.Positive(t, status.Latency)
		})
	}
}

func TestMeasure_ColdIsNotAskedForItsOldestSample(t *testing.T) {
	server := httptest.NewServer(sources{})
	t.Cleanup(server.Close)
	cold := NewTier(TierOptions{Name: tier.Cold, Client: catalogtest.Client(t, server.URL), ProbeInterval: time.Hour})
	cold.probe(t.Context())
	require.True(t, cold.Status().Available)
	require.Empty(t, cold.Status().Error)
}

func TestState_EveryRetentionBoundsTheCoverage(t *testing.T) {
	now := time.UnixMilli(100_000_000)
	for _, test := range []struct {
		oldest            int64
		configured, tells time.Duration
		expected          int64
	}{
		{1000, 0, 0, 1000},
		{1000, time.Hour, 0, 100_000_000 - 3_600_000},
		{1000, 0, time.Minute, 100_000_000 - 60_000},
		{1000, time.Hour, time.Minute, 100_000_000 - 60_000},
		{99_999_999, time.Hour, time.Hour, 99_999_999},
		{tier.NothingCovered, time.Hour, time.Hour, tier.NothingCovered},
	} {
		hot := NewTier(TierOptions{Name: tier.Hot, TierSettings: TierSettings{Retention: test.configured, Lag: time.Second}})
		hot.status.Store(&Status{Available: true, Oldest: test.oldest, Retention: test.tells})
		require.Equal(t, tier.State{Configured: true, Available: true, Oldest: test.expected, Newest: 99_999_000}, hot.State(now))
	}
}

func TestRun_FollowsATierThatComesAndGoes(t *testing.T) {
	fake := faketier.New()
	t.Cleanup(fake.Close)
	probed := make(chan Status, 16)
	watched := NewTier(TierOptions{
		Name: tier.Hot, Client: catalogtest.Client(t, fake.URL), ProbeInterval: time.Hour,
		OnProbe: func(status Status) { probed <- status },
	})
	require.False(t, watched.Status().Available, "not before the first probe")
	expired, cancelExpired := context.WithCancel(t.Context())
	cancelExpired()
	watched.Wait(expired) // Returns although no probe is done.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { watched.Run(ctx); close(done) }()
	watched.Wait(t.Context())
	up := <-probed
	require.True(t, up.Available, up.Error)
	require.Equal(t, up.CheckedAt, up.Since)

	// A failed call is a reason to look at once, long before the next interval.
	fake.HandleProbes(faketier.Status(503, "down"))
	watched.ReportFailure(&upstream.StatusError{Status: 503})
	require.False(t, watched.Status().Available)
	down := <-probed
	require.False(t, down.Available)
	require.Equal(t, "answered with status 503 (Service Unavailable)", down.Error)
	require.True(t, down.Since.Before(down.CheckedAt), "it has been down since the call failed")

	fake.HandleProbes(func(w http.ResponseWriter, request *http.Request) {
		sources{`{"minTime":1700000000000,"maxTime":1800000000000}`, `{"startTime":"2020-01-01T00:00:00Z"}`}.ServeHTTP(w, request)
	})
	watched.ReportFailure(errors.New("still"))
	up = <-probed
	require.True(t, up.Available, up.Error)
	require.Equal(t, int64(1_700_000_000_000), up.Oldest)

	cancel()
	<-done
	require.True(t, watched.Status().Available, "a gateway that stops says nothing about its tiers")
}
