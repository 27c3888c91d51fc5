//go:build e2e

package oracle

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// TestExemplars_OfBothTiers lets hot and cold hold the same samples, and different
// exemplars of them: remote write leaves them out by default.
func TestExemplars_OfBothTiers(t *testing.T) {
	w := shopWorld(t)
	series := w.shop("", func(name string) bool { return name == "up" || name == "http_requests_total" })
	from, to := w.now.Add(-50*minute), w.now.Add(5*minute)
	receiver := func(name string, external, more map[string]string, exemplars ...int) *stack.Server {
		server, err := stack.Prometheus{
			Name: name, Dir: w.dir, Data: filepath.Join(w.dir, name), Retention: "10y",
			Global:    map[string]any{"scrape_interval": "30s", "evaluation_interval": "30s", "external_labels": external},
			Arguments: []string{"--web.enable-remote-write-receiver", "--enable-feature=exemplar-storage"},
		}.Start(t.Context(), w.prometheusPath)
		require.NoError(t, err)
		t.Cleanup(func() { _ = server.Stop() })
		list := samplesOf(series, more, from, to)
		for i := range list {
			for _, minutes := range exemplars {
				list[i].Exemplars = append(list[i].Exemplars, prompb.Exemplar{
					Labels: []prompb.Label{{Name: "trace_id", Value: fmt.Sprint(i, minutes)}}, Value: float64(minutes) / 8,
					Timestamp: w.now.Add(-time.Duration(minutes) * minute).UnixMilli(),
				})
			}
		}
		send(t, server.URL, list)
		return server
	}
	whole := receiver("whole", nil, labelsInCold, 40, 30, 20, 10, 1)
	hot := receiver("hot", labelsInCold, nil, 20, 10, 1)
	for name, exemplars := range map[string][]int{"none": nil, "older": {40, 30, 20}} {
		t.Run("cold has "+name, func(t *testing.T) {
			cold := receiver("cold-"+name, nil, labelsInCold, exemplars...)
			g := w.gateway(t, hot.URL, cold.URL, nil)
			for _, span := range []time.Duration{5 * minute, 25 * minute, 45 * minute} {
				if name == "none" && span > 25*minute {
					continue // Nobody has those.
				}
				for _, query := range []string{"http_requests_total", `sum(rate(http_requests_total{cluster="lab"}[5m]))`, `up{cluster="other"} or http_requests_total`} {
					asked := question{endpoint: "query_exemplars", values: url.Values{
						"query": {query}, "start": {seconds(w.now.Add(-span))}, "end": {seconds(w.now)},
					}}
					expected, err := ask(t.Context(), whole.URL, asked)
					require.NoError(t, err)
					require.NotEmpty(t, expected.data)
					got, err := ask(t.Context(), g.URL, asked)
					require.NoError(t, err)
					require.Equal(t, []any{http.StatusOK, "hot,cold"}, []any{got.status, got.tier}, "%s: %s %v", asked, got.message, got.warnings)
					require.Empty(t, difference(expected, got), "%s", asked)
					require.Empty(t, got.warnings)
				}
			}
		})
	}
}
