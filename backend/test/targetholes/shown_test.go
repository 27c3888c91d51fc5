package targetholes

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// data decodes the data of what a gateway answers.
func data(t *testing.T, method, address, body string, into any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(t, http.StatusOK, response.StatusCode)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}

// What explain, health and check say of a target that hot could not scrape.
func TestHole_IsShown(t *testing.T) {
	w := newWorld(t, 4*hour, fewInstances...)
	settings := running.TwoTiers(w.start(t, nil, down(false)), w.whole)
	settings.Hot.ExternalLabels, settings.Probe.Interval = external, config.Duration(200*time.Millisecond)
	server := httptest.NewServer(gateway.New(running.Manager(t, settings)))
	t.Cleanup(server.Close)
	const hole = `has no samples of the target {instance="7", job="node"} between `
	asked := strings.ReplaceAll(w.target("count(demo_temp)", 14*minute, 22*minute), "query_range", "datasources/explain")
	var explained struct {
		Data struct {
			Tier, Reason, Sentence string
			Hot                    struct{ Missing []string }
		}
	}
	require.Eventually(t, func() bool {
		data(t, http.MethodGet, server.URL+asked, "", &explained)
		return explained.Data.Reason == "older-than-hot"
	}, 30*time.Second, 10*time.Millisecond)
	require.Contains(t, explained.Data.Sentence, "cold answers: hot "+hole)
	require.Len(t, explained.Data.Hot.Missing, 1)
	var health struct {
		Tiers map[string]struct {
			TargetHoles []string `json:"target_holes"`
		}
	}
	data(t, http.MethodGet, server.URL+"/api/v1/datasources/health", "", &health)
	require.Len(t, health.Tiers["hot"].TargetHoles, 1)
	require.Contains(t, health.Tiers["hot"].TargetHoles[0], hole)
	require.Empty(t, health.Tiers["cold"].TargetHoles)
	var report struct {
		Data struct {
			Tiers map[string]struct{ Message string }
		}
	}
	data(t, http.MethodPost, server.URL+"/api/v1/datasources/check", `{"proxy":{"kind":"HTTPProxy","spec":{"url":"http://tierproxy:9190/proxy/globaldatasources/metrics"}}}`, &report)
	require.Equal(t, "it answers queries; outages of single targets in the last hour: 1", report.Data.Tiers["hot"].Message)
	require.Equal(t, "it answers queries", report.Data.Tiers["cold"].Message)
}

// While cold does not say whether it has a target, it counts as if it had.
func TestHole_ColdDoesNotSayWhatItHas(t *testing.T) {
	w := newWorld(t, 4*hour, fewInstances...)
	target, err := url.Parse(w.whole)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	silent := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if strings.Contains(request.URL.Query().Get("query"), "tierproxy_hole") {
			<-request.Context().Done()
			return
		}
		proxy.ServeHTTP(response, request)
	}))
	t.Cleanup(silent.Close)
	s := w.setup(t, silent.URL, w.start(t, nil, down(false)))
	got := s.ask(t, "count(demo_temp)", 14*minute, 22*minute)
	require.Equal(t, []string{"cold", "older-than-hot"}, []string{got.tier, got.reason})
	require.Equal(t, s.askWhole(t, "count(demo_temp)", 14*minute, 22*minute).data, got.data)
}
