//go:build e2e

package victoriametrics

import ("testing";"time";"net/url";"strings";"encoding/json";"fmt"
"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream")

func TestProbe(t *testing.T) {
	for _, kinds := range [][2]upstream.ServerKind{{upstream.ServerVictoriaMetrics, upstream.ServerPrometheus}, {upstream.ServerPrometheus, upstream.ServerVictoriaMetrics}, {upstream.ServerVictoriaMetrics, upstream.ServerVictoriaMetrics}} {
		w := newWorld(t, kinds[0], kinds[1], func(c *datasource.Config){ c.Hot.Complete=false })
		for range 2 {
		for _, q := range []string{"sum(rate(orders_total[5m]))", "queue", `queue{job="shop"}`} {
			for _, l := range []time.Duration{5 * time.Minute, time.Hour, 6 * time.Hour} {
				got := w.ask(t, "/api/v1/query_range", w.over(q, l, time.Minute))
				var other []string
				for _, x := range got.Warnings { if !strings.HasPrefix(x, "VictoriaMetrics answered") { other=append(other, x) } }
				t.Log(q, l, got.status, got.Tier, got.Reason, len(got.language()), other, len(w.hot.queries()), len(w.cold.queries()))
			}
			got := w.ask(t, "/api/v1/query", url.Values{"query": {q}})
			t.Log(q, got.Tier, got.Reason, len(got.language()), len(got.Warnings))
		}
		time.Sleep(2*time.Second)
		}
		var h struct{ Status, Completeness string; Learning_error, Evidence_missing string; Tiers map[string]map[string]any }
		_, body := get(t, w.url+"/api/v1/datasources/health")
		json.Unmarshal([]byte(body), &h)
		for _, x := range []string{"hot","cold"} { delete(h.Tiers[x], "language") }
		t.Log(fmt.Sprint(h))
	}
}
