package catalog

import (
	"fmt"
	"strings"
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
			receive, `[{"__name__":"up","job":"x","cluster":"a","prometheus":"p0","tenant_id":"first"},{"__name__":"up","job":"x","cluster":"a","prometheus":"p0","tenant_id":"second"}]`, hotLabels, nil,
		},
		"nothing of hot is in the receiver yet":   {receive, `[]`, hotLabels, nil},
		"nothing of hot is in any cluster's data": {sidecar, `[]`, hotLabels, hotLabels},
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

// Cold lists no stores, as a Prometheus or a VictoriaMetrics.
func TestLearn_ColdLacksValuesOfHotsLabels(t *testing.T) {
	hotLabels := map[string]string{"cluster": "a", "prometheus": "p0"}
	for name, test := range map[string]struct {
		cold    catalogtest.Answers
		isKnown bool
	}{
		"it has other clusters only":               {catalogtest.Answers{{"label/cluster", `["b"]`}, {"label/prometheus", `[]`}, {"/series", `[]`}}, true},
		"it has nothing":                           {catalogtest.Answers{{"label/", `[]`}, {"/series", `[]`}}, true},
		"remote write removes both labels":         {catalogtest.Answers{{"label/", `[]`}, {`cluster="", job="x", prometheus=""`, `[{"__name__":"up","job":"x"}]`}, {"/series", `[]`}}, false},
		"remote write removes one of them":         {catalogtest.Answers{{"label/cluster", `["a"]`}, {"label/", `[]`}, {`cluster="a", job="x", prometheus=""`, `[{"__name__":"up","job":"x"}]`}, {"/series", `[]`}}, false},
		"it answers no question about series":      {catalogtest.Answers{{"label/", `[]`}, {"/series", "404"}}, false},
		"it has both, and more than can be listed": {catalogtest.Answers{{"label/cluster", manyValues}, {"label/", `["p0"]`}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			hot := catalogtest.NewScripted(t, append(catalogtest.Answers{{"label/__name__", `["other","up"]`}, {`"up"`, `[{"__name__":"up","job":"x"}]`}, {"/series", `[]`}}, hotTold...))
			p := pairOf(t, hot, catalogtest.NewScripted(t, append(test.cold, coldTold...)), Options{})
			p.learn(t.Context())
			require.Empty(t, p.Snapshot().Error)
			known := p.Snapshot().Evidence
			require.Equal(t, test.isKnown, known.SourcesKnown)
			if !test.isKnown {
				require.Nil(t, known.InjectedLabels, "hot's series have no such labels in cold")
				return
			}
			require.Equal(t, []map[string]string{hotLabels, hotLabels}, []map[string]string{known.InjectedLabels, known.Distinct})
		})
	}
}

// manyValues are as many values of a label as are listed.
var manyValues = `["b"` + strings.Repeat(`,"b"`, mostSources-1) + `]`

// Hot is of the first tenant. Its label is one of hot's external labels, or a receiver adds it.
func TestLearn_LabelsThatColdEnforces(t *testing.T) {
	labelsOf := func(tenant string) map[string]string {
		return map[string]string{"cluster": "a", "prometheus": "p0", "tenant_id": tenant}
	}
	all := []map[string]string{labelsOf("first"), labelsOf("second"), {"cluster": "a", "prometheus": "p0"}}
	ofFirst := `[{"__name__":"up","job":"x","cluster":"a","prometheus":"p0","tenant_id":"first"}]`
	ofSecond := `[{"__name__":"up","job":"x","cluster":"a","prometheus":"p0","tenant_id":"second"}]`
	values := func(list string) catalogtest.Answers { return catalogtest.Answers{{"label/tenant_id", list}} }
	for name, test := range map[string]struct {
		cold     catalogtest.Answers
		enforces bool
		requests int // for values of the label
	}{
		"the tenant is enforced":            {append(catalogtest.Answers{{`"up",tenant_id!="first"`, ofFirst}}, values(`["first"]`)...), true, 1},
		"it is, and cold has no up":         {append(catalogtest.Answers{{`"up",tenant_id!="first"`, `[]`}, {`"other",tenant_id!="first"`, ofFirst}}, values(`["first"]`)...), true, 1},
		"two tenants are":                   {append(catalogtest.Answers{{`tenant_id!="first"`, ofFirst}}, values(`["first","second"]`)...), false, 1},
		"all tenants are visible":           {append(catalogtest.Answers{{`tenant_id!="first"`, ofSecond}}, values(`["first"]`)...), false, 0},
		"cold does not answer":              {append(catalogtest.Answers{{`tenant_id!="first"`, ""}}, values(`["first"]`)...), false, 0},
		"no other tenant has such a metric": {append(catalogtest.Answers{{`tenant_id!="first"`, `[]`}}, values(`["first"]`)...), false, 0},
	} {
		for _, isHots := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, hot has the label: %t", name, isHots), func(t *testing.T) {
				hotIs := catalogtest.Answers{{"label/__name__", `["other"]`}, {`"up"`, `[{"__name__":"up","job":"x"}]`}}
				cold := catalogtest.NewScripted(t, append(append(test.cold, catalogtest.Answers{{`cluster!=`, `[]`}, {`prometheus!=`, `[]`}, {"/series", ofFirst}}...), coldTold...))
				options := Options{ExternalLabels: map[string]string{"cluster": "a", "prometheus": "p0"}}
				if isHots {
					options.ExternalLabels = labelsOf("first")
				}
				p := pairOf(t, catalogtest.NewScripted(t, append(hotIs, hotTold...)), cold, options)
				p.options.Cold.status.Store(&Status{Available: true, Stores: []Store{{LabelSets: all[:2]}, {LabelSets: all[2:]}}})
				if !isHots {
					p.options.Cold.status.Store(&Status{Available: true, Stores: []Store{{LabelSets: all[:2]}}})
				}
				p.learn(t.Context())
				require.Empty(t, p.Snapshot().Error)
				known := p.Snapshot().Evidence
				distinct, sources := labelsOf("first"), p.options.Cold.Status().Stores
				if test.enforces {
					delete(distinct, "tenant_id")
				}
				require.Equal(t, []map[string]string{labelsOf("first"), distinct}, []map[string]string{known.InjectedLabels, known.Distinct})
				require.Equal(t, test.enforces, len(known.Sources) < len(SourcesOf(sources, nil)), "sources of other tenants are not visible")
				require.False(t, p.hasNewSource())
				require.Len(t, cold.Requests("label/tenant_id"), test.requests)
				for _, asked := range cold.Requests("%21%3D") {
					require.Contains(t, asked, "limit=1&")
				}
			})
		}
	}
}
