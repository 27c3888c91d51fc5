package engine

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// What the gateway answers itself equals what Prometheus answers.
func TestDo_ParsesAndFormatsWithoutATierThatCan(t *testing.T) {
	prometheus, err := embedded.Start(embedded.Options{Address: "127.0.0.1:0", Data: t.TempDir(), Retention: time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, prometheus.Close()) })
	p := newTiers(t)
	p.hot.Handle(faketier.Status(404, "404 page not found"))
	p.cold.Handle(faketier.Status(404, "404 page not found"))
	for _, text := range []string{
		`up`, `1`, `"a"`, `-x`, `(x + 1) > bool 2`, `sum by (a) (rate(x{b=~"c.*"}[5m] offset 1h))`, `topk(3, x @ end())`, `quantile without (a) (0.5, x)`,
		`x / on (a) group_left (b) y`, `max_over_time(x[1h:5m] @ 100 offset -5m)`, `label_replace(x, "a", "$1", "b", "(.*)")`, `x[5m * 2]`,
		`x[1h:step() + 5s]`, `x offset (5m + 3)`, `rate(x[-(-5m)])`, `count_values("v", x)`, `x and on () y`, `sum(`, ``,
	} {
		for _, endpoint := range []promapi.Endpoint{promapi.FormatQuery, promapi.ParseQuery} {
			response, err := http.Get(prometheus.URL + "/api/v1/" + string(endpoint) + "?" + url.Values{"query": {text}}.Encode())
			require.NoError(t, err)
			expected, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			request, err := promapi.NewRequest(endpoint, "/api/v1/"+string(endpoint), url.Values{"query": {text}}, time.Now())
			require.NoError(t, err)
			query := p.query(t, up)
			query.Request = request
			got, err := do(t.Context(), query)
			require.NoError(t, err)
			require.Equal(t, response.StatusCode, got.Status, "%s %s", endpoint, text)
			require.True(t, json.Valid(expected))
			require.JSONEq(t, string(expected), body(t, got), "%s %s", endpoint, text)
		}
	}
}
