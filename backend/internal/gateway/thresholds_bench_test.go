package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// manyRules is an answer of the rules endpoint with so many alerting rules, and so many
// different expressions among them, as Kubernetes' mixins have them.
func manyRules(rules, expressions int) string {
	var groups strings.Builder
	for i := range rules {
		if i%20 == 0 {
			if i > 0 {
				groups.WriteString(`]},`)
			}
			fmt.Fprintf(&groups, `{"name":"group-%d","file":"/etc/prometheus/rules/rules-%d.yaml","interval":30,"rules":[`, i/20, i/20)
		} else {
			groups.WriteByte(',')
		}
		fmt.Fprintf(&groups, `{"state":"inactive","name":"KubePodCrashLooping%d","query":%q,"duration":900,"keepFiringFor":0,"labels":{"severity":"warning","namespace":"shop","prometheus":"monitoring/k8s"},`+
			`"annotations":{"description":"Pod {{ $labels.namespace }}/{{ $labels.pod }} ({{ $labels.container }}) is restarting %d times.","summary":"Pod is crash looping."},`+
			`"alerts":[],"health":"ok","evaluationTime":0.0012,"lastEvaluation":"2026-11-30T10:00:00.000Z","type":"alerting"}`,
			i, fmt.Sprintf(`sum by (namespace, pod) (rate(kube_pod_container_status_restarts_total_%d{job="kube-state-metrics"}[10m])) * 60 * 5 > 0.%d and on (namespace) kube_namespace_labels{label_team!=""} == 1`, i%expressions, i%expressions), i)
	}
	return `{"status":"success","data":{"groups":[` + groups.String() + `]}]}}`
}

// BenchmarkThresholds answers alert_thresholds from rules of one tier, which is in the same
// process.
func BenchmarkThresholds(b *testing.B) {
	for _, size := range []struct{ rules, expressions int }{{100, 100}, {10_000, 500}, {10_000, 10_000}} {
		tier := faketier.New()
		b.Cleanup(tier.Close)
		answer := []byte(manyRules(size.rules, size.expressions))
		probe := tier.Config.Handler
		tier.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.URL.Path, "/api/v1/rules") {
				probe.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(answer)
		})
		server := httptest.NewServer(gateway.New(benchmarkedGateway(b, tier.URL)))
		b.Cleanup(server.Close)
		for name, parameters := range map[string]string{"all": "", "one": "?alert=KubePodCrashLooping7", "metric": "?metric=kube_pod_container_status_restarts_total_7"} {
			b.Run(fmt.Sprintf("rules=%d/expressions=%d/ask=%s", size.rules, size.expressions, name), func(b *testing.B) {
				b.SetBytes(int64(len(answer)))
				b.ReportAllocs()
				for b.Loop() {
					request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, server.URL+thresholds+parameters, http.NoBody)
					require.NoError(b, err)
					request.Header.Set("X-Tier-Choice", "hot")
					response, err := http.DefaultClient.Do(request)
					require.NoError(b, err)
					_, err = io.Copy(io.Discard, response.Body)
					require.NoError(b, err)
					require.NoError(b, response.Body.Close())
					require.Equal(b, http.StatusOK, response.StatusCode)
				}
			})
		}
	}
}
