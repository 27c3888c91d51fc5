//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/panel"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// TestLifecycle_ManyRequestsLeaveNoFilesOpen asks through Perses, which opens a
// connection for every request and keeps it for 90 s if it can.
func TestLifecycle_ManyRequestsLeaveNoFilesOpen(t *testing.T) {
	const requests, users = 5000, 10
	s := newSite(t, stack.Perses{}, nil)
	s.login()
	s.apply(s.global("metrics", nil))
	c := call{base: s.perses.URL + "/proxy/globaldatasources/metrics", endpoint: "query_range", values: panel.RangeQuery("up", lastEnd(), 5*minute, minute)}
	ask := func(count int) {
		group, ctx := errgroup.WithContext(t.Context())
		for user := range users {
			group.Go(func() error {
				for i := user; i < count; i += users {
					// Both ways that the server takes, and both methods.
					asked := c
					if i%2 == 1 {
						asked.method = http.MethodPost
					}
					if got, err := asked.do(ctx); err != nil || got.status != http.StatusOK {
						return fmt.Errorf("request %d: status %d, %w", i, got.status, err)
					}
				}
				return nil
			})
		}
		require.NoError(t, group.Wait())
		http.DefaultClient.CloseIdleConnections()
	}
	// What stays for good, such as the pooled connections to the tiers, is open
	// after the first requests.
	ask(200)
	for _, server := range []*stack.Server{s.perses, s.tierproxy} {
		settle(t, server, 0)
	}
	persesBefore, tierproxyBefore := settle(t, s.perses, 0), settle(t, s.tierproxy, 0)
	ask(requests)
	persesAfter, tierproxyAfter := settle(t, s.perses, persesBefore+users), settle(t, s.tierproxy, tierproxyBefore+users)
	t.Logf("open files of Perses: %d before, %d after %d requests; of tierproxy: %d before, %d after", persesBefore, persesAfter, requests, tierproxyBefore, tierproxyAfter)
}

// settle returns how many files a server has open once that number stays the
// same, and, with a limit, is not above it.
func settle(t *testing.T, server *stack.Server, limit int) int {
	t.Helper()
	last, same := -1, 0
	require.Eventually(t, func() bool {
		count, err := server.OpenFiles()
		require.NoError(t, err)
		if count == last && (limit == 0 || count <= limit) {
			same++
		} else {
			same = 0
		}
		last = count
		return same >= 5
	}, 20*time.Second, 100*time.Millisecond, "open files stay at %d, above %d", last, limit)
	return last
}

// TestLifecycle_QueriesFinishBeforeTierproxyStops stops tierproxy while a query
// runs.
func TestLifecycle_QueriesFinishBeforeTierproxyStops(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if request.URL.Query().Get("query") == "slow" {
			_, _ = w.Write([]byte(`{"status":"success",`))
			_ = http.NewResponseController(w).Flush()
			close(asked)
			<-release
			_, _ = w.Write([]byte(`"data":{"resultType":"vector","result":[]}}`))
			return
		}
		_, _ = w.Write([]byte(`{"status":"success","data":{"resultType":"vector","result":[]}}`))
	}))
	t.Cleanup(slow.Close)
	s := newSite(t, stack.Perses{}, document{"hot": nil, "cold": document{"url": slow.URL}})
	s.login()
	s.apply(s.global("metrics", nil))

	type result struct {
		answer
		err error
	}
	results := make(chan result, 1)
	go func() {
		got, err := call{base: s.perses.URL + "/proxy/globaldatasources/metrics", endpoint: "query", values: url.Values{"query": {"slow"}}}.do(context.WithoutCancel(t.Context()))
		results <- result{got, err}
	}()
	<-asked
	require.NoError(t, s.tierproxy.Interrupt())
	// It takes no new requests from then on.
	require.Eventually(t, func() bool {
		_, _, err := stack.Get(t.Context(), s.tierproxy.URL+"/-/healthy", nil)
		return err != nil
	}, 5*time.Second, 20*time.Millisecond)
	select {
	case <-s.tierproxy.Done():
		t.Fatal("tierproxy stopped before the query was answered")
	case got := <-results:
		t.Fatalf("the query ended early: %v %s", got.err, got.body)
	default:
	}
	close(release)
	got := <-results
	require.NoError(t, got.err)
	require.Equal(t, http.StatusOK, got.status)
	require.JSONEq(t, `{"status":"success","data":{"resultType":"vector","result":[]}}`, string(got.body))
	require.NoError(t, s.tierproxy.Stop(), "a stop by SIGTERM is no failure")
}
