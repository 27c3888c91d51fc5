package engine

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// TestPlan_MetricsThatAreNotComparedYet plans requests while cold does not answer what it has of a
// metric, and hot has it or not.
func TestPlan_MetricsThatAreNotComparedYet(t *testing.T) {
	begun, notBegun := maps.Clone(toldByHot), maps.Clone(toldByHot)
	begun["/series"], notBegun["/series"] = `[{"__name__":"node_load1"}]`, `[]`
	for name, test := range map[string]struct {
		hot                 told
		isTargets           bool
		query               string
		change              func(*asking)
		unmeasured, younger string
	}{
		"hot has it":                        {hot: begun, query: "node_load1", unmeasured: "node_load1"},
		"hot does not have it yet":          {hot: notBegun, query: "node_load1", unmeasured: "node_load1", younger: "node_load1"},
		"no samples are read":               {hot: notBegun, query: "vector(1)"},
		"another source has it":             {hot: begun, query: "up"},
		"the request names the tier":        {hot: notBegun, query: "node_load1", change: func(a *asking) { a.Forced = tier.Hot }},
		"the request has cold's parameters": {hot: notBegun, query: "node_load1", change: func(a *asking) { a.Request.Parameters.Set("dedup", "true") }},
		"it is no PromQL":                   {hot: notBegun, query: "node_load1{"},
		"each server tells of its own":      {hot: notBegun, isTargets: true},
	} {
		t.Run(name, func(t *testing.T) {
			p, both := learnedTiers(t, test.hot, toldByThanos)
			answers := toldByThanos.handler()
			p.cold.HandleProbes(func(w http.ResponseWriter, request *http.Request) {
				if strings.HasSuffix(request.URL.Path, "/series") && !strings.Contains(request.URL.Query().Get("match[]"), "!=") {
					w.WriteHeader(http.StatusInternalServerError)
					return
				}
				answers(w, request)
			})
			endpoint, path := promapi.Query, "/api/v1/query"
			if test.isTargets {
				endpoint, path = promapi.Targets, "/api/v1/targets"
			}
			request, err := promapi.NewRequest(endpoint, path, url.Values{"query": {test.query}}, time.Now())
			require.NoError(t, err)
			query := asking{Request: request, Hot: p.hotClient, Cold: p.coldClient, Catalog: both, Threshold: 15 * time.Minute, Timeout: 5 * time.Second}
			if test.change != nil {
				test.change(&query)
			}
			made, err := plan(t.Context(), query)
			require.NoError(t, err)
			require.Equal(t, []string{test.unmeasured, test.younger}, []string{made.Input.Unmeasured, made.Input.Younger})
			require.Equal(t, test.unmeasured != "", made.comparedUntil == 0 && made.Input.MeasuringFailed)
		})
	}
}

func TestShownMetric_NamesWhatMayBeSeen(t *testing.T) {
	require.Equal(t, "x", shownMetric("x"))
	require.Equal(t, "a metric of such a name", shownMetric(""))
}
