//go:build e2e

package oracle

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

// Grafana asks for every label name in the escaping of Prometheus, which Thanos
// does not know.
func TestOracle_LabelNamesInTheirEscaping(t *testing.T) {
	w := shopWorld(t)
	external := map[string]string{"cluster": "lab", "k8s.cluster.name": "east"}
	held := map[string]string{"app.version": "1", "app/name": "shop"}
	labelled := map[string]string{"cluster": "lab", "k8s.cluster.name": "east", "app.version": "1", "app/name": "shop"}
	series, yesterday := w.shop("", nil), w.boundary.Add(-20*hour)
	w.write(t, "hot", series, w.boundary, w.now.Add(future), held)
	w.write(t, "all", series, yesterday, w.now.Add(future), held)
	w.write(t, "labelled", series, yesterday, w.now.Add(future), labelled)
	whole := w.prometheus(t, "whole", "labelled", nil)
	hot := w.prometheus(t, "hot", "hot", map[string]string{"cluster": "lab", "k8s.cluster.name": "east", "replica": "a"})
	cold := w.thanos(t, "cold", map[string][]string{"all": pairs(external, "replica", "a")})
	g := w.gateway(t, hot.URL, cold.Query.URL, nil)

	for _, test := range []struct {
		name   string
		values []any
	}{
		{"U__cluster", []any{"lab"}},
		{"cluster", []any{"lab"}},
		{"U__k8s_2e_cluster_2e_name", []any{"east"}},
		{"k8s.cluster.name", []any{"east"}},
		{"U__app_2e_version", []any{"1"}},
		{"app.version", []any{"1"}},
		{"U__job", nil},
		{"U______name____", nil},
		{"U__app_2f_name", []any{"shop"}},
		{"U__absent_2e_label", []any{}},
	} {
		for age, values := range map[string]url.Values{
			"recent": {"start": {seconds(w.now.Add(-10 * minute))}, "end": {seconds(w.now)}},
			"old":    {"start": {seconds(yesterday)}, "end": {seconds(w.now)}},
		} {
			t.Run(test.name+" "+age, func(t *testing.T) {
				asked := question{endpoint: "label/" + test.name + "/values", values: values}
				got, err := ask(t.Context(), g.URL, asked)
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, got.status, got.message)
				right, err := ask(t.Context(), whole.URL, asked)
				require.NoError(t, err)
				if test.values != nil {
					require.Equal(t, test.values, right.data)
				}
				if test.name == "U__app_2f_name" && got.tier == "cold" {
					require.Len(t, got.warnings, 1)
					require.Contains(t, got.warnings[0], "a label name with a slash cannot be asked of Thanos")
					return
				}
				require.Equal(t, right.data, got.data, "answered by %s", got.tier)
				require.Empty(t, got.warnings)
			})
		}
	}
}
