package datasource_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
)

// dashboardQueries are the queries of all panels of tierproxy's dashboard, by
// the titles of the panels.
func dashboardQueries(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/monitoring/dashboard.json")
	require.NoError(t, err)
	var dashboard struct {
		Spec struct {
			Panels map[string]struct {
				Spec struct {
					Display struct {
						Name string `json:"name"`
					} `json:"display"`
					Queries []struct {
						Spec struct {
							Plugin struct {
								Spec struct {
									Query string `json:"query"`
								} `json:"spec"`
							} `json:"plugin"`
						} `json:"spec"`
					} `json:"queries"`
				} `json:"spec"`
			} `json:"panels"`
		} `json:"spec"`
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	queries := map[string][]string{}
	for _, panel := range dashboard.Spec.Panels {
		for _, query := range panel.Spec.Queries {
			promQL := strings.NewReplacer("$__rate_interval", "10s", "$instance", ".+").Replace(query.Spec.Plugin.Spec.Query)
			queries[panel.Spec.Display.Name] = append(queries[panel.Spec.Display.Name], promQL)
		}
	}
	require.Greater(t, len(queries), 15)
	return queries
}

// Every query of the dashboard has something to draw, of a gateway that is
// scraped by its own hot tier and asked a little.
func TestEveryPanelOfTheDashboardHasData(t *testing.T) {
	// A storage takes no samples of the time that its blocks are of: these end now, unlike those of other tests.
	start := func() *embedded.Prometheus {
		started, err := embedded.Start(embedded.Options{Address: "127.0.0.1:0", Data: t.TempDir(), Retention: 24 * time.Hour})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, started.Close()) })
		return started
	}
	cold := start()
	hot := start() // Which is closed first, since it writes to cold.
	registry := prometheus.NewRegistry()
	registry.MustRegister(versioncollector.NewCollector("tierproxy"), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	logger, _ := test.NewNullLogger()
	config := twoTiers(hot.URL, cold.URL)
	config.Probe.Interval = datasource.Duration(200 * time.Millisecond)
	manager, err := datasource.NewManager(config, logger, datasource.WithRegistry(registry))
	require.NoError(t, err)
	require.NoError(t, manager.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, manager.Close()) })
	served := httptest.NewServer(manager.Handler())
	t.Cleanup(served.Close)
	require.NoError(t, hot.Scrape("tierproxy", strings.TrimPrefix(served.URL, "http://"), time.Second, cold))

	// Lookups need a Perses, which the demo and the end-to-end tests have.
	missing := dashboardQueries(t)
	delete(missing, "Lookups of datasources in Perses")
	samples := func(server, promQL string) int {
		response, err := http.Get(server + "/api/v1/query?" + url.Values{"query": {promQL}}.Encode())
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		var answer struct {
			Error string `json:"error"`
			Data  struct {
				Result []any `json:"result"`
			} `json:"data"`
		}
		require.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
		require.Empty(t, answer.Error, promQL)
		return len(answer.Data.Result)
	}
	require.Eventually(t, func() bool {
		samples(served.URL, "up")
		for panel, queries := range missing {
			found := 0
			for _, promQL := range queries {
				if samples(hot.URL, promQL) > 0 {
					found++
				}
			}
			if found == len(queries) {
				delete(missing, panel)
			}
		}
		return len(missing) == 0
	}, time.Minute, 200*time.Millisecond, "panels without data: %v", missing)
	require.Positive(t, samples(cold.URL, "tierproxy_build_info"), "what hot scrapes reaches cold")
}
