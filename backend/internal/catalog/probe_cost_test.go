package catalog

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// TestProbe_AsksHotForLittle counts what probes ask a hot tier with many targets: every question
// names a metric and has a bound, and none reads all targets after the first probe.
func TestProbe_AsksHotForLittle(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	var jobs []string
	for i := range 100 {
		jobs = append(jobs, "job"+string(rune('a'+i%26))+strings.Repeat("x", i/26))
	}
	target, err := url.Parse(catalogtest.WorldOf(t, now, catalogtest.Wrote{From: 6 * time.Hour, To: catalogtest.Ahead, Jobs: jobs}))
	require.NoError(t, err)
	var mutex sync.Mutex
	var asked []url.Values
	forward := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		mutex.Lock()
		asked = append(asked, request.URL.Query())
		mutex.Unlock()
		forward.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	hot := NewTier(TierOptions{Name: tier.Hot, Client: catalogtest.Client(t, server.URL), ProbeInterval: time.Hour})
	hot.probe(t.Context())
	require.Empty(t, hot.Status().Error)
	require.Less(t, len(asked), 60, "the first probe")
	for _, each := range asked {
		if each.Has("match[]") {
			require.NotEmpty(t, each.Get("limit"), each)
			require.Contains(t, each.Get("match[]"), "up", each)
		}
		require.NotContains(t, each.Get("query"), "up{}", "it reads all targets")
	}
	asked = nil
	hot.probe(t.Context())
	asked = slices.DeleteFunc(asked, func(each url.Values) bool { return each.Get("query") == "" || each.Get("query") == "vector(1)" })
	require.Len(t, asked, 1)
	require.Regexp(t, `^\{__name__="up", instance="\w+:80", job="\w+"\}\[\d+ms\]$`, asked[0].Get("query"))
}
