package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

func client(t *testing.T, address string, access *Access) *Client {
	t.Helper()
	base, err := url.Parse(address)
	require.NoError(t, err)
	made, err := NewClient(ClientOptions{URL: base, Access: access, PoolSize: 4, Header: http.Header{"X-Scope-Orgid": {"tenant"}}})
	require.NoError(t, err)
	t.Cleanup(made.Close)
	return made
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
		answer = faketier.Vector(formatSeconds(time.Now()))
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

func TestCoverageOfHot(t *testing.T) {
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
		"an empty head":                          {sources{"", "", `{"minTime":9223372036854775807,"numSeries":0}`, ""}, tier.NothingCovered, 0, errNoCoverage.Error()},
		"nothing stored":                         {sources{"9.223372036854776e+15", `{"minTime":9500}`, head, "10GiB"}, tier.NothingCovered, 0, ""},
		"not a number":                           {sources{"NaN", `{"minTime":9500}`, head, ""}, tier.NothingCovered, 0, ""},
		"only a retention, which proves nothing": {sources{"none", "", "", "15d"}, tier.NothingCovered, 15 * 24 * time.Hour, errNoCoverage.Error()},
		"nothing at all":                         {sources{}, tier.NothingCovered, 0, errNoCoverage.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.sources)
			t.Cleanup(server.Close)
			status := client(t, server.URL, nil).measure(t.Context(), tier.Hot)
			require.True(t, status.Available)
			require.Equal(t, []any{test.oldest, test.retention, test.err}, []any{status.Oldest, status.Retention, status.Error})
			require.Positive(t, status.Latency)
		})
	}
}

func TestColdIsNotAskedForCoverage(t *testing.T) {
	server := httptest.NewServer(sources{})
	t.Cleanup(server.Close)
	status := client(t, server.URL, nil).measure(t.Context(), tier.Cold)
	require.True(t, status.Available)
	require.Empty(t, status.Error)
}

func TestStateIsBoundByEveryRetention(t *testing.T) {
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
		hot := NewTier(TierOptions{Name: tier.Hot, Retention: test.configured, Lag: time.Second})
		hot.status.Store(&Status{Available: true, Oldest: test.oldest, Retention: test.tells})
		require.Equal(t, tier.State{Configured: true, Available: true, Oldest: test.expected, Newest: 99_999_000}, hot.State(now))
	}
}

func TestATierThatComesAndGoes(t *testing.T) {
	fake := faketier.New()
	t.Cleanup(fake.Close)
	probed := make(chan Status, 16)
	watched := NewTier(TierOptions{
		Name: tier.Hot, Client: client(t, fake.URL, nil), ProbeInterval: time.Hour,
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
	watched.ReportFailure(&StatusError{Status: 503})
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

func TestRequestsToTheTier(t *testing.T) {
	fake := faketier.New()
	t.Cleanup(fake.Close)
	made := client(t, fake.URL+"/prefix/", nil)
	request := &promapi.Request{
		Method: http.MethodPost, Path: "/api/v1/label/a%2Fb/values", RawQuery: "dedup=true&x=1", Body: []byte("query=up"),
		Header:     http.Header{"Content-Type": {"text/plain"}, "Accept": {"a", "b"}},
		Parameters: url.Values{"dedup": {"true"}, "x": {"1"}, "query": {"up"}},
	}
	response, err := made.Do(t.Context(), request, &CallOptions{Without: []string{"dedup"}})
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	seen := fake.Requests()[0]
	require.Equal(t, "/prefix/api/v1/label/a%2Fb/values", seen.Path)
	require.Equal(t, url.Values{"x": {"1"}, "query": {"up"}}, seen.Parameters)
	require.Equal(t, "query=up", seen.Body)
	seen.Header.Del("Content-Length")
	require.Equal(t, http.Header{
		"Content-Type": {"text/plain"}, "Accept": {"a", "b"}, "User-Agent": {"tierproxy"}, "X-Scope-Orgid": {"tenant"},
	}, seen.Header, "nothing else, not even what makes Go's client try again")
	require.NotContains(t, request.Header, "X-Scope-Orgid", "the request is shared by both tries")
}

// What is said of a failed tier is read by callers: no address, no query.
func TestDescribeNamesNoAddress(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(faketier.Hang))
	t.Cleanup(plain.Close)
	closed := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	t.Cleanup(closed.Close)
	refused, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refusedURL := "http://" + refused.Addr().String()
	require.NoError(t, refused.Close())
	ask := func(ctx context.Context, address string) error {
		_, err := client(t, address, nil).get(ctx, "/secret", url.Values{"query": {"secret"}})
		require.Error(t, err)
		return err
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	cancelled, cancelNow := context.WithCancel(t.Context())
	cancelNow()
	for expected, err := range map[string]error{
		"it refused the connection":            ask(t.Context(), refusedURL),
		"it closed the connection":             ask(t.Context(), closed.URL),
		"it did not answer in time":            ask(short, plain.URL),
		"the request was cancelled":            ask(cancelled, plain.URL),
		"it does not speak TLS on this port":   ask(t.Context(), strings.Replace(closed.URL, "http:", "https:", 1)),
		"its host name was not found":          &net.DNSError{Err: "no such host", Name: "secret", IsNotFound: true},
		"it could not be reached":              errors.New("secret"),
		"answered with status 404 (Not Found)": &StatusError{Status: 404},
	} {
		require.Equal(t, expected, Describe(err), "%v", err)
		require.NotContains(t, Describe(err), "secret")
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	elsewhere := faketier.New()
	t.Cleanup(elsewhere.Close)
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	t.Cleanup(server.Close)
	_, err := client(t, server.URL, nil).get(t.Context(), "/api/v1/query", nil)
	require.Equal(t, "answered with status 307 (Temporary Redirect)", Describe(err))
	require.Empty(t, elsewhere.Requests())
}
