//go:build e2e

package e2e

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/livestream"
)

// liveClient follows a live query of a datasource, step by step of a second.
type liveClient struct {
	*livestream.Stream
	t     *testing.T
	name  string
	ended chan error

	mutex  sync.Mutex
	delays []time.Duration
}

// followLive follows a live query below a base URL until the end of the test.
func followLive(t *testing.T, name, base string, client *http.Client, header http.Header) *liveClient {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &liveClient{t: t, name: name, ended: make(chan error, 1)}
	c.Stream = &livestream.Stream{
		Base: func(int) string { return base }, Client: client, Header: header, StaysEnded: true, Range: time.Minute,
		Values: url.Values{"query": {"sum by (job) (up)"}, "step": {"1s"}, "range": {"1m"}},
		OnAppend: func(delay time.Duration, _ bool) {
			c.mutex.Lock()
			defer c.mutex.Unlock()
			c.delays = append(c.delays, delay)
		},
	}
	go func() { c.ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-c.ended, name)
	})
	return c
}

// awaitAppends waits until there were so many appends in all, and returns the median of the delays.
func (c *liveClient) awaitAppends(count int) time.Duration {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return c.Seen().Appends >= count }, 30*time.Second, 20*time.Millisecond, "%s: %+v", c.name, c.Seen())
	c.mutex.Lock()
	defer c.mutex.Unlock()
	sorted := slices.Sorted(slices.Values(c.delays))
	return sorted[len(sorted)/2]
}

// awaitEnd waits for the event end, and returns its reason.
func (c *liveClient) awaitEnd() string {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return len(c.Seen().Ends) > 0 }, 30*time.Second, 20*time.Millisecond, "%s: %+v", c.name, c.Seen())
	return c.Seen().Ends[0]
}

// frontFollows follows live queries through Perses and through nginx. Neither keeps what it has got,
// and a changed datasource gets another snapshot on the same connection.
func frontFollows(t *testing.T, s *site, f *front, editor, bearer http.Header) {
	const global, ofShop = "/proxy/globaldatasources/metrics", "/proxy/projects/shop/datasources/metrics"
	browser := editor.Clone()
	browser.Set("Accept-Encoding", chromium) // Perses compresses what it may.
	followed := []*liveClient{
		followLive(t, "through Perses, by cookies", s.perses.URL+global, http.DefaultClient, editor),
		followLive(t, "through Perses, by a token, in a project", s.perses.URL+ofShop, http.DefaultClient, bearer),
		followLive(t, "through Perses, for a browser", s.perses.URL+global, http.DefaultClient, browser),
		followLive(t, "through nginx", f.URL()+global, f.client, editor),
	}
	for _, each := range followed {
		delay := each.awaitAppends(4)
		t.Logf("%s: %s after the step", each.name, delay)
		require.Less(t, delay, 3*time.Second, each.name) // Within a second, where the machine has nothing else to do.
	}
	s.login("--username", "admin", "--password", password)
	s.apply(s.global("metrics", document{"threshold": "1h"}), s.project("shop", "metrics", document{"threshold": "1h"}))
	for _, each := range followed {
		require.Eventually(t, func() bool {
			for _, path := range []string{global, ofShop} { // A query that finds the new spec.
				status, _, body := f.ask(http.MethodGet, path+"/api/v1/query?query=1", editor)
				require.Equal(t, http.StatusOK, status, body)
			}
			return each.Seen().Snapshots == 2
		}, 30*time.Second, 100*time.Millisecond, "%s: %+v", each.name, each.Seen())
		each.awaitAppends(each.Seen().Appends + 1)
		require.Equal(t, 1, each.Seen().Connections, each.name)
		require.Empty(t, each.Seen().Ends, each.name)
	}
}

// frontEndsStreams ends the streams of a user who may not read a datasource any more when its spec
// changes, and those of others when tierproxy stops.
func frontEndsStreams(t *testing.T, s *site, f *front, revoked []*liveClient) {
	const global = "/proxy/globaldatasources/metrics"
	admin := header(nil, s.session("admin"))
	others := []*liveClient{
		followLive(t, "admin, through Perses", s.perses.URL+global, http.DefaultClient, admin),
		followLive(t, "admin, through nginx", f.URL()+global, f.client, admin),
	}
	for _, each := range others {
		each.awaitAppends(1)
	}
	s.login("--username", "admin", "--password", password)
	s.apply(s.global("metrics", document{"threshold": "2h"}))
	for _, each := range others {
		require.Eventually(t, func() bool {
			status, _, body := f.ask(http.MethodGet, global+"/api/v1/query?query=1", admin)
			require.Equal(t, http.StatusOK, status, body)
			return each.Seen().Snapshots == 2
		}, 30*time.Second, 100*time.Millisecond, "%s: %+v", each.name, each.Seen())
	}
	for _, each := range revoked {
		require.Equal(t, "permission", each.awaitEnd(), each.name)
	}
	for _, each := range others {
		require.Empty(t, each.Seen().Ends, each.name)
	}
	require.NoError(t, s.tierproxy.Stop())
	for _, each := range others {
		require.Equal(t, "shutdown", each.awaitEnd(), each.name)
	}
}
