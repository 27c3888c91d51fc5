package gateway_test

import (
	"encoding/json"
	"math"
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
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// dashboardQueries are the queries of all panels of tierproxy's dashboard, by
// the titles of the panels.
func dashboardQueries(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../../deploy/monitoring/dashboard.json")
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

// TestDashboard_EveryPanelHasData lets the hot tier of a gateway scrape that
// gateway, and asks the gateway a little. Every query of the dashboard then has a
// value.
func TestDashboard_EveryPanelHasData(t *testing.T) {
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
	settings := running.TwoTiers(hot.URL, cold.URL)
	settings.Probe.Interval = config.Duration(200 * time.Millisecond)
	manager := running.Start(t, settings, nil, datasource.WithRegistry(registry))
	served := httptest.NewServer(gateway.New(manager))
	t.Cleanup(served.Close)
	require.NoError(t, hot.Scrape("tierproxy", strings.TrimPrefix(served.URL, "http://"), time.Second, embedded.Copy{To: cold}))

	// Lookups need a Perses, which the demo and the end-to-end tests have.
	missing := dashboardQueries(t)
	delete(missing, "Lookups of datasources in Perses")
	require.Eventually(t, func() bool {
		vector(t, served.URL, "up", time.Time{})
		for panel, queries := range missing {
			found := 0
			for _, promQL := range queries {
				if len(vector(t, hot.URL, promQL, time.Time{})) > 0 {
					found++
				}
			}
			if found == len(queries) {
				delete(missing, panel)
			}
		}
		return len(missing) == 0
	}, time.Minute, 200*time.Millisecond, "panels without data: %v", missing)
	require.NotEmpty(t, vector(t, cold.URL, "tierproxy_build_info", time.Time{}), "what hot scrapes reaches cold")
}

// vector returns the values of an instant query, of now if at is zero.
func vector(t *testing.T, server, promQL string, at time.Time) []float64 {
	t.Helper()
	parameters := url.Values{"query": {promQL}}
	if !at.IsZero() {
		parameters.Set("time", at.Format(time.RFC3339Nano))
	}
	response, err := http.Get(server + "/api/v1/query?" + parameters.Encode())
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Error string `json:"error"`
		Data  struct {
			Result []struct {
				Value model.SamplePair `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
	require.Empty(t, answer.Error, promQL)
	values := make([]float64, 0, len(answer.Data.Result))
	for _, each := range answer.Data.Result {
		values = append(values, float64(each.Value.Value))
	}
	return values
}

// While nobody asks, each query of the dashboard has a number to draw, from the
// first scrape on.
func TestDashboard_NumbersWhileNobodyAsks(t *testing.T) {
	t.Parallel() // It waits most of the time.
	for name, change := range map[string]func(settings *config.Config, tier string){
		"two tiers":                func(settings *config.Config, tier string) { settings.Hot.URL, settings.Cold.URL = tier, tier },
		"cold alone":               func(settings *config.Config, tier string) { settings.Hot.URL, settings.Cold.URL = "", tier },
		"tiers that do not answer": func(*config.Config, string) {},
		"tiers of datasources only": func(settings *config.Config, tier string) {
			settings.Hot.URL, settings.Cold.URL, settings.Perses.URL = "", "", tier
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scraper, err := embedded.Start(embedded.Options{Address: "127.0.0.1:0", Data: t.TempDir(), Retention: 24 * time.Hour})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, scraper.Close()) })
			registry := prometheus.NewRegistry()
			registry.MustRegister(versioncollector.NewCollector("tierproxy"), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
			tier := faketier.Start(t)
			settings := running.TwoTiers("http://127.0.0.1:1", "http://127.0.0.1:1")
			change(&settings, tier.URL)
			manager := running.Start(t, settings, nil, datasource.WithRegistry(registry))
			served := httptest.NewServer(gateway.New(manager))
			t.Cleanup(served.Close)
			require.NoError(t, scraper.Scrape("tierproxy", strings.TrimPrefix(served.URL, "http://"), 250*time.Millisecond))

			// Scrapes that take too long on a busy machine leave nothing: only the times of those that succeeded count.
			times := func(aggregation string) time.Time {
				found := vector(t, scraper.URL, aggregation+"(timestamp(process_open_fds)[5m:10ms])", time.Time{})
				require.Len(t, found, 1)
				return time.UnixMilli(int64(found[0] * 1000)).Add(time.Millisecond)
			}
			require.Eventually(t, func() bool {
				found := vector(t, scraper.URL, "count_over_time(process_open_fds[5m])", time.Time{})
				return len(found) > 0 && found[0] >= 4
			}, time.Minute, 20*time.Millisecond)
			states := map[string]time.Time{"after the first scrape": times("min_over_time"), "later": times("max_over_time")}
			for panel, queries := range dashboardQueries(t) {
				for _, promQL := range queries {
					for state, at := range states {
						values := vector(t, scraper.URL, promQL, at)
						require.NotEmpty(t, values, "%s, %s: %s", panel, state, promQL)
						for _, value := range values {
							require.False(t, math.IsNaN(value) || math.IsInf(value, 0), "%s, %s: %v of %s", panel, state, value, promQL)
						}
					}
				}
			}
		})
	}
}
