//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// TestDashboardsAsCode_FromNothingToAPanel runs the commands of
// docs/dashboards-as-code.md, from an empty directory to a panel that draws.
func TestDashboardsAsCode_FromNothingToAPanel(t *testing.T) {
	s := newSite(t, stack.Perses{}, nil)
	shell := newShell(t, s.perses.URL)
	output, err := shell.run(commands(t, "dashboards-as-code"))
	require.NoError(t, err, output)

	var kinds = map[string]int{
		"TieredPrometheusTimeSeriesQuery": 2, "TieredPrometheusLabelValuesVariable": 1,
		"TieredPrometheusLabelNamesVariable": 1, "TieredPrometheusPromQLVariable": 1,
	}
	for _, name := range []string{"shop", "shop-in-go"} {
		saved := s.saved("/api/v1/projects/dashboards-as-code/dashboards/" + name)
		for kind, count := range kinds {
			require.Equal(t, count, strings.Count(saved, `"kind":"`+kind+`"`), "%s of %s", kind, saved)
		}
	}
	require.Equal(t, expressions(t, s, "shop"), expressions(t, s, "shop-in-go"), "CUE and Go build the same queries")

	// What its reader changes: where the gateway is.
	output, err = shell.run(`cd dashboards
sed -i "s#http://tierproxy:9190#` + s.tierproxy.URL + `#" datasource.cue
percli dac build -f datasource.cue -m stdout -ojson | percli apply -f -`)
	require.NoError(t, err, output)
	require.Contains(t, s.saved("/api/v1/globaldatasources/metrics"), s.tierproxy.URL+"/proxy/globaldatasources/metrics")
	status, body, err := stack.Get(t.Context(), s.perses.URL+"/proxy/globaldatasources/metrics/api/v1/query?query=count(http_requests_total)", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, "%s", body)
	require.Contains(t, string(body), `"value":[`)

	// What is wrong shows at the build.
	for file, wrong := range map[string]struct{ script, expected string }{
		"shop.cue": {`cd dashboards; sed -i 's/"cold"/"warm"/' shop.cue; percli dac build -f shop.cue -m stdout`, "must be auto, hot or cold"},
		"main.go":  {`cd dashboards-in-go; sed -i 's/query.Cold/"warm"/' main.go; percli dac build -f main.go -m stdout`, "must be auto, hot or cold"},
	} {
		output, err = shell.run(wrong.script)
		require.Error(t, err, file)
		require.Contains(t, output, wrong.expected)
	}
}

// saved returns a resource as Perses keeps it.
func (s *site) saved(path string) string {
	s.t.Helper()
	status, body, err := stack.Get(s.t.Context(), s.perses.URL+path, nil)
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, status, "%s", body)
	return string(body)
}

// expressions are those of the queries of all panels.
func expressions(t *testing.T, s *site, dashboard string) []string {
	t.Helper()
	var read struct {
		Spec struct {
			Panels map[string]struct {
				Spec struct {
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
	require.NoError(t, json.Unmarshal([]byte(s.saved("/api/v1/projects/dashboards-as-code/dashboards/"+dashboard)), &read))
	var found []string
	for _, panel := range []string{"0_0", "0_1"} {
		for _, query := range read.Spec.Panels[panel].Spec.Queries {
			found = append(found, query.Spec.Plugin.Spec.Query)
		}
	}
	require.Len(t, found, 2)
	return found
}
