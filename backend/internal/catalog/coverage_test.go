package catalog

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// client returns a client of a fake tier.
func client(t *testing.T, address string) *upstream.Client {
	t.Helper()
	return boundedClient(t, address, 0)
}

// boundedClient returns a client that reads answers to probes up to a size.
func boundedClient(t *testing.T, address string, probeBytes int64) *upstream.Client {
	t.Helper()
	base, err := url.Parse(address)
	require.NoError(t, err)
	made, err := upstream.NewClient(upstream.ClientOptions{URL: base, PoolSize: 4, ProbeBytes: probeBytes})
	require.NoError(t, err)
	t.Cleanup(made.Close)
	return made
}

// asking returns what asks a fake tier for what probes need.
func asking(t *testing.T, address string) apiClient {
	t.Helper()
	return apiClient{Client: client(t, address)}
}

// sources is what a Prometheus says of its oldest sample; an empty text stands
// for an endpoint that fails.
type sources struct{ metric, blocks, head, retention string }

func (s sources) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	answer, status := "", http.StatusNotFound
	switch query := request.URL.Query().Get("query"); {
	case query == "vector(1)":
		answer = faketier.Vector("1")
	case query == "max(timestamp(up))":
		answer = faketier.Vector(promapi.FormatTime(time.Now()))
	case query != "" && s.metric != "":
		answer = faketier.Vector(s.metric)
		if s.metric == "none" {
			answer = `{"status":"success","data":{"resultType":"vector","result":[]}}`
		}
	case strings.HasSuffix(request.URL.Path, "/blocks") && s.blocks != "":
		answer = `{"status":"success","data":{"blocks":[` + s.blocks + `]}}`
	case strings.HasSuffix(request.URL.Path, "/tsdb") && s.head != "":
		answer = `{"status":"success","data":{"headStats":` + s.head + `}}`
	case strings.HasSuffix(request.URL.Path, "/runtimeinfo") && s.retention != "":
		answer = `{"status":"success","data":{"storageRetention":"` + s.retention + `"}}`
	}
	if answer != "" {
		status = http.StatusOK
	}
	w.WriteHeader(status)
	_, _ = fmt.Fprint(w, answer)
}

func TestMeasure_OldestSampleOfHot(t *testing.T) {
	const head = `{"minTime":9000,"numSeries":3,"chunkCount":3}`
	for name, test := range map[string]struct {
		sources
		oldest    int64
		retention time.Duration
		err       string
	}{
		"metric and blocks: the later one":       {sources{"5", `{"minTime":4000},{"minTime":7000}`, head, ""}, 5000, 0, ""},
		"blocks later than the metric":           {sources{"3", `{"minTime":4000},{"minTime":7000}`, head, "15d"}, 4000, 15 * 24 * time.Hour, ""},
		"the metric alone":                       {sources{"5", "", "", ""}, 5000, 0, ""},
		"a fraction of a second counts up":       {sources{"5.25", "", "", ""}, 6000, 0, ""},
		"blocks alone":                           {sources{"", `{"minTime":4000}`, head, ""}, 4000, 0, ""},
		"no block yet":                           {sources{"none", `{"minTime":9500}`, head, "15d or 10GiB"}, 9000, 15 * 24 * time.Hour, ""},
		"an empty head":                          {sources{"", "", `{"minTime":9223372036854775807,"numSeries":0}`, ""}, tier.NothingCovered, 0, noCoverage},
		"nothing stored":                         {sources{"9.223372036854776e+15", `{"minTime":9500}`, head, "10GiB"}, tier.NothingCovered, 0, ""},
		"not a number":                           {sources{"NaN", `{"minTime":9500}`, head, ""}, tier.NothingCovered, 0, ""},
		"only a retention, which proves nothing": {sources{"none", "", "", "15d"}, tier.NothingCovered, 15 * 24 * time.Hour, noCoverage},
		"nothing at all":                         {sources{}, tier.NothingCovered, 0, noCoverage},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.sources)
			t.Cleanup(server.Close)
			status := asking(t, server.URL).measure(t.Context(), tier.Hot)
			require.True(t, status.Available)
			require.Equal(t, []any{test.oldest, test.retention, test.err}, []any{status.Oldest, status.Retention, status.Error})
			require.Positive(t, status.Latency)
		})
	}
}

func TestMeasure_ColdIsNotAskedForItsOldestSample(t *testing.T) {
	server := httptest.NewServer(sources{})
	t.Cleanup(server.Close)
	status := asking(t, server.URL).measure(t.Context(), tier.Cold)
	require.True(t, status.Available)
	require.Empty(t, status.Error)
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
		Name: tier.Hot, Client: client(t, fake.URL), ProbeInterval: time.Hour,
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
	require.True(t, up.Available)
	require.Equal(t, up.CheckedAt, up.Since)

	// A failed call is a reason to look at once, long before the next interval.
	fake.HandleProbes(faketier.Status(503, "down"))
	watched.ReportFailure(&upstream.StatusError{Status: 503})
	require.False(t, watched.Status().Available)
	down := <-probed
	require.False(t, down.Available)
	require.Equal(t, "answered with status 503 (Service Unavailable)", down.Error)
	require.True(t, down.Since.Before(down.CheckedAt), "it has been down since the call failed")

	fake.HandleProbes(func(w http.ResponseWriter, request *http.Request) { sources{"5", "", "", ""}.ServeHTTP(w, request) })
	watched.ReportFailure(errors.New("still"))
	up = <-probed
	require.True(t, up.Available)
	require.Equal(t, int64(5000), up.Oldest)

	cancel()
	<-done
	require.True(t, watched.Status().Available, "a gateway that stops says nothing about its tiers")
}
