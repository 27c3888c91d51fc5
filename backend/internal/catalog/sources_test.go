package catalog

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

func TestLearn_LabelsOfHotsSeriesInCold(t *testing.T) {
	receive := []Store{{Kind: receiveStore, LabelSets: []map[string]string{{"tenant_id": "first", "replica": "0"}}}}
	sidecar := []Store{{Kind: "sidecar", LabelSets: []map[string]string{{"cluster": "b"}}}}
	hotLabels := map[string]string{"cluster": "a", "prometheus": "p0"}
	for name, test := range map[string]struct {
		stores             []Store
		cold               string // series of cold
		injected, distinct map[string]string
	}{
		"a receiver adds its tenant": {
			receive, `[{"__name__":"up","job":"x","cluster":"a","prometheus":"p0","tenant_id":"first","replica":"0"}]`,
			map[string]string{"cluster": "a", "prometheus": "p0", "tenant_id": "first"}, map[string]string{"cluster": "a", "prometheus": "p0", "tenant_id": "first"},
		},
		"two tenants have the series": {
			receive, `[{"__name__":"up","job":"x","cluster":"a","prometheus":"p0","tenant_id":"first"},{"__name__":"up","job":"x","cluster":"a","prometheus":"p0","tenant_id":"second"}]`, nil, nil,
		},
		"nothing of hot is in the receiver yet":   {receive, `[]`, nil, nil},
		"nothing of hot is in any cluster's data": {sidecar, `[]`, nil, hotLabels},
	} {
		t.Run(name, func(t *testing.T) {
			hot := catalogtest.NewScripted(t, append(catalogtest.Answers{{"label/__name__", `["other","up"]`}, {`"up"`, `[{"__name__":"up","job":"x"}]`}, {"/series", `[]`}}, hotTold...))
			cold := catalogtest.NewScripted(t, append(catalogtest.Answers{{"/series", test.cold}}, coldTold...))
			p := pairOf(t, hot, cold, Options{})
			p.options.Cold.status.Store(&Status{Available: true, Stores: test.stores})
			p.learn(t.Context())
			require.Empty(t, p.Snapshot().Error)
			known := p.Snapshot().Evidence
			require.True(t, known.SourcesKnown)
			require.Equal(t, []map[string]string{test.injected, test.distinct}, []map[string]string{known.InjectedLabels, known.Distinct})
			require.Contains(t, cold.Requests("/series")[0], "limit=")
		})
	}
}
