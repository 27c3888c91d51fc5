//go:build e2e

package oracle

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// incomparable returns the address of a server in front of cold that never says which samples it
// has, and answers everything else.
func incomparable(t *testing.T, cold string) string {
	t.Helper()
	target, err := url.Parse(cold)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if strings.Contains(request.UserAgent(), "probe") && request.URL.Query().Get("max_source_resolution") != "" {
			<-request.Context().Done()
			return
		}
		proxy.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestOracle_ColdIsNotComparedYet asks while it is not known what cold has, and some metrics are
// younger in hot. No answer may be wrong without a warning. A warning may be there only if hot lacks
// something.
func TestOracle_ColdIsNotComparedYet(t *testing.T) {
	w := shopWorld(t)
	w.generate()
	younger := []stretch{{metrics: []string{"node_load1", "http_requests_total", "sparse"}, from: always, to: 25 * minute}}
	from, to := w.now.Add(-400*hour), w.now.Add(future)
	w.write(t, "whole", w.series, from, to, labelsInCold)
	w.write(t, "hot", without(w.series, w.now, younger), w.boundary, to, nil)
	cold, hot := w.prometheus(t, "whole", "whole", nil), w.prometheus(t, "hot", "hot", hotLabels)
	edges := []time.Time{w.now.Add(-25 * minute), w.now.Add(-hour), w.now}
	questions := append(w.ranges(seed(t)+70, max(count(t)/40, 20), 0, edges, nil, ofDashboards), w.fresh(seed(t)+71, max(count(t)/10, 60), edges)...)
	questions = slices.DeleteFunc(questions, func(asked question) bool { return !strings.HasPrefix(asked.endpoint, "query") })
	g := w.gateway(t, hot.URL, incomparable(t, cold.URL), func(settings *config.Config) {
		settings.Cold.ReplicaLabels, settings.Routing.Threshold, settings.Hot.Complete = []string{"replica"}, config.Duration(hour), true
	})
	// All that hot lacks may be in cold, and is.
	unknown := lacking{hot: younger, cold: []stretch{{from: always, to: -hour}}}
	result := w.judgeAll(t, g.URL, cold.URL, unknown, questions)
	t.Log(result)
	require.Empty(t, strings.Join(result.silent[:min(len(result.silent), 5)], "\n\n"), "%d answers are wrong without a warning", len(result.silent))
	if len(result.needless) > 0 {
		// On a loaded machine, a query may wait in vain for what the gateway asks hot. The next time, it is known.
		result = w.judgeAll(t, g.URL, cold.URL, unknown, questions)
		t.Log(result)
	}
	require.Empty(t, strings.Join(result.needless[:min(len(result.needless), 5)], "\n\n"), "%d answers have a warning for nothing", len(result.needless))
	require.NotZero(t, result.reasons["hot "+string(tier.ReasonBelowThreshold)], "hot answers what it has from the beginning")
	require.NotZero(t, result.warned)
}
