package gateway_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
)

// TestConfined_ReadingNothingAsksNoTier asks for series of another namespace
// only.
func TestConfined_ReadingNothingAsksNoTier(t *testing.T) {
	g := newGateway(t, func(settings *config.Config) { settings.DefaultDatasource.Namespaces = []string{"shop"} })
	bank := url.QueryEscape(`last_over_time({namespace="bank"}[1h])`)
	selector := url.QueryEscape(`{namespace="bank"}`)
	for _, test := range []struct{ method, target, body, data string }{
		{"GET", "/api/v1/query?query=" + bank, "", `{"resultType":"vector","result":[]}`},
		{"GET", "/api/v1/query_range?start=0&end=60&step=15&query=" + bank, "", `{"resultType":"matrix","result":[]}`},
		{"GET", "/api/v1/query_exemplars?start=0&end=60&query=" + bank, "", `[]`},
		{"POST", "/api/v1/metrics/query", `{"query":"sum(up{namespace=\"bank\"})"}`, `{"resultType":"vector","result":[]}`},
		{"GET", "/api/v1/series?match[]=" + selector, "", `[]`},
		{"GET", "/api/v1/labels?match[]=" + selector, "", `[]`},
		{"GET", "/api/v1/label/job/values?match[]=" + selector, "", `[]`},
	} {
		before := len(g.hot.Requests()) + len(g.cold.Requests())
		response, body := g.ask(t, test.method, test.target, test.body)
		require.Equal(t, http.StatusOK, response.StatusCode, body)
		require.JSONEq(t, `{"status":"success","data":`+test.data+`}`, body, test.target)
		require.Len(t, append(g.hot.Requests(), g.cold.Requests()...), before, test.target)
		require.Empty(t, response.Header.Values("X-Tier"))
		require.Equal(t, "confined", response.Header.Get("X-Tier-Reason"))
	}

	t.Run("what a tier may refuse goes to the tier", func(t *testing.T) {
		for _, target := range []string{
			"/api/v1/query_range?start=0&end=11000&step=1&query=" + bank,
			"/api/v1/query?stats=all&query=" + bank,
		} {
			response, _ := g.ask(t, http.MethodGet, target, "")
			require.NotEmpty(t, response.Header.Get("X-Tier"), target)
		}
	})
	t.Run("explain", func(t *testing.T) {
		response, body := g.ask(t, http.MethodGet, "/api/v1/datasources/explain?query="+bank, "")
		require.Equal(t, http.StatusOK, response.StatusCode, body)
		require.Contains(t, body, `"reason":"confined"`)
		require.Contains(t, body, `"tier":""`)
		require.Contains(t, body, "tierproxy answers without a tier")
	})
	t.Run("library", func(t *testing.T) {
		result, err := g.manager.Router().ExecuteQuery(t.Context(), &datasource.MetricQuery{Query: `up{namespace="bank"}`})
		require.NoError(t, err)
		require.Equal(t, model.Vector{}, result.Value)
		require.Equal(t, "confined", result.Reason)
		result, err = g.manager.Router().ExecuteQuery(t.Context(), &datasource.MetricQuery{Query: `up{namespace="bank"}`,
			Start: time.Unix(0, 0), End: time.Unix(60, 0), Step: 15 * time.Second})
		require.NoError(t, err)
		require.Equal(t, model.Matrix{}, result.Value)
		require.Empty(t, result.Tier)
	})
}
