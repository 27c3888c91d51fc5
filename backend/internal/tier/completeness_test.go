package tier

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

func selectorsOf(t *testing.T, texts ...string) []promql.Selector {
	t.Helper()
	var list []promql.Selector
	for _, text := range texts {
		selector, err := promql.ParseSelector(text)
		require.NoError(t, err)
		list = append(list, selector)
	}
	return list
}

// lab are the external labels of hot.
var lab = map[string]string{"cluster": "lab", "prometheus": "k8s"}

// known returns evidence of hot and three other sources, changed for a test.
func known(change func(*SeriesEvidence)) *SeriesEvidence {
	evidence := SeriesEvidence{
		HotLabels: lab, HotLabelsKnown: true, InjectedLabels: lab, SourcesKnown: true,
		Sources: []map[string]string{
			lab, {"cluster": "lab", "prometheus": "users"}, {"cluster": "other", "prometheus": "k8s"}, {"tenant": "x"},
		},
		HotNames:   NewNameSet([]string{"up", "node_load1", "node_load5", "both"}),
		OtherNames: NewNameSet([]string{"up", "both", "shop"}),
	}
	if change != nil {
		change(&evidence)
	}
	return NewSeriesEvidence(evidence)
}

func oneSource(k *SeriesEvidence) { k.Sources = k.Sources[:1] }

func noTenant(k *SeriesEvidence) { k.Sources = k.Sources[:3] }

func cannotTell(k *SeriesEvidence) { k.SourcesKnown, k.Sources = false, nil }

func TestCompleteness_OfOneSelector(t *testing.T) {
	for _, test := range []struct {
		name     string
		change   func(*SeriesEvidence)
		selector string
		expected Completeness
		why      string
	}{
		{"a name that only hot has", nil, `node_load1`, Complete, "only hot has these metrics"},
		{"a name that another source has too", nil, `up`, Incomplete, "another source than hot has the metric up too"},
		{"a name that hot lacks", nil, `shop`, Incomplete, "hot has no metric shop"},
		{"a name that no source has", nil, `missing`, Incomplete, "hot has no metric missing"},
		{"no name", nil, `{job="a"}`, Incomplete, "names no metric"},
		{"every series", nil, `{__name__!=""}`, Incomplete, "another source than hot has the metric"},
		{"an alternative of names that only hot has", nil, `{__name__=~"node_load1|node_load5"}`, Complete, ""},
		{"one of the alternative is elsewhere too", nil, `{__name__=~"node_load1|both"}`, Incomplete, "the metric both too"},
		{"the one that is elsewhere is excluded", nil, `{__name__=~"node_load1|both",__name__!="both"}`, Complete, ""},
		{"the alternative may be empty", nil, `{__name__=~"node_load1|",job="a"}`, Incomplete, ""},
		{"a pattern that only hot matches", nil, `{__name__=~"node_.*"}`, Complete, "only hot has metrics of such names"},
		{"a pattern that others match", nil, `{__name__=~".*o.*"}`, Incomplete, "another source than hot has the metric"},
		{"a pattern that no name matches", nil, `{__name__=~"zzz.*"}`, Incomplete, "hot has no metric of such a name"},
		{"a negative pattern", nil, `{__name__!~"up|both|shop",job="a"}`, Incomplete, "names no metric"},
		{"all of hot's labels are named", nil, `up{cluster="lab",prometheus="k8s"}`, Complete, "names hot's own external labels"},
		{"a source that lacks the label may have it on its series", nil, `up{cluster="lab"}`, Incomplete, ""},
		{"a source that lacks the label may have it, the only other one", func(k *SeriesEvidence) { k.Sources = []map[string]string{lab, {"tenant": "x"}} }, `up{cluster="lab"}`, Incomplete, ""},
		{"labels that hot does not have pin nothing", nil, `up{a="",b=""}`, Incomplete, "another source than hot has the metric up too"},
		{"hot has no external labels", func(k *SeriesEvidence) { k.HotLabels = map[string]string{} }, `up`, Incomplete, "another source than hot has the metric up too"},
		{"one label does not tell hot from the other source", noTenant, `up{cluster="lab"}`, Incomplete, ""},
		{"one label rules all others out", func(k *SeriesEvidence) { noTenant(k); k.Sources = append(k.Sources[:1:1], k.Sources[2]) }, `up{cluster="lab"}`, Complete, ""},
		{"a regular expression pins nothing", noTenant, `up{cluster=~"lab",prometheus=~"k8s"}`, Incomplete, ""},
		{"another value pins nothing", noTenant, `up{cluster="other",prometheus="k8s"}`, Incomplete, ""},
		{"hot is the only source", oneSource, `{job="a"}`, Complete, "hot is the only source"},
		{"hot is not among the sources", func(k *SeriesEvidence) { k.Sources = k.Sources[1:2] }, `up`, Incomplete, ""},
		{"cold cannot tell", cannotTell, `up`, Assumed, "cold cannot tell its sources"},
		{"cold cannot tell, no name", cannotTell, `{job="a"}`, Assumed, ""},
		{"cold cannot tell, but hot lacks it", cannotTell, `shop`, Incomplete, "hot has no metric shop"},
		{"cold cannot tell, and neither can hot", func(k *SeriesEvidence) { cannotTell(k); k.HotNames = nil }, `shop`, Assumed, ""},
		{"names of others are not known", func(k *SeriesEvidence) { k.OtherNames = nil }, `node_load1`, Incomplete, "it is not known which metrics they hold"},
		{"names of hot are not known", func(k *SeriesEvidence) { k.HotNames = nil }, `node_load1`, Incomplete, "it is not known which metrics they hold"},
		{"hot's labels are not known, and a source has none", func(k *SeriesEvidence) {
			k.HotLabelsKnown, k.HotLabels, k.Sources = false, nil, []map[string]string{{}}
		}, `up`, Incomplete, "another source"},
		{"hot's labels are not known", func(k *SeriesEvidence) { k.HotLabelsKnown, k.HotLabels, k.OtherNames = false, nil, nil }, `up{cluster="lab",prometheus="k8s"}`, Incomplete, ""},
		{"declared", func(k *SeriesEvidence) { k.Declared = true }, `up`, Complete, "declares"},
	} {
		t.Run(test.name, func(t *testing.T) {
			evidence := known(test.change)
			for range 2 { // The second time it is remembered.
				is, why, understood := evidence.Completeness(t.Context(), promql.KeyOf(test.selector), func() ([]promql.Selector, error) { return selectorsOf(t, test.selector), nil })
				require.True(t, understood)
				require.Equal(t, test.expected, is, why)
				require.Contains(t, why.Detail, test.why)
			}
		})
	}
}

func TestCompleteness_OfAllSelectors(t *testing.T) {
	of := func(k *SeriesEvidence, texts ...string) (Completeness, string) {
		is, why, _ := k.Completeness(t.Context(), promql.KeyOf(texts...), func() ([]promql.Selector, error) { return selectorsOf(t, texts...), nil })
		return is, why.Detail
	}
	for _, texts := range [][]string{{`node_load1`, `up`}, {`up`, `node_load1`}, {`node_load5`, `up`, `node_load1`}} {
		is, why := of(known(nil), texts...)
		require.Equal(t, Incomplete, is, "every selector counts")
		require.Contains(t, why, "the metric up too")
	}
	is, _ := of(known(nil))
	require.Equal(t, Complete, is, "nothing is read")
	is, why := of(nil, "x")
	require.Equal(t, Incomplete, is)
	require.Contains(t, why, "not known yet")
	is, note, understood := known(nil).Completeness(t.Context(), promql.KeyOf("?"), func() ([]promql.Selector, error) { return nil, errors.New("no PromQL\nat all") })
	require.Equal(t, Incomplete, is)
	require.Equal(t, "the query is not understood here: no PromQL", note.Public)
	require.False(t, understood)
	require.True(t, known(oneSource).OnlySource())
	require.False(t, known(cannotTell).OnlySource())
	require.False(t, known(nil).OnlySource())
	require.False(t, (*SeriesEvidence)(nil).OnlySource())
}

// 99,000 names against a pattern that takes some ms for each are more than
// anyone may ask for.
func TestSeriesEvidence_ComparingAPatternEndsWithItsContext(t *testing.T) {
	names := make([]string, 99_000)
	for i := range names {
		names[i] = fmt.Sprintf("a_metric_of_some_length_%d_total", i)
	}
	evidence := NewSeriesEvidence(SeriesEvidence{
		SourcesKnown: true, Sources: []map[string]string{{"cluster": "lab"}, {"cluster": "other"}}, HotLabelsKnown: true, HotLabels: map[string]string{"cluster": "lab"},
		HotNames: NewNameSet(names), OtherNames: NewNameSet(names[:10]),
	})
	selectors := func() ([]promql.Selector, error) { return selectorsOf(t, `{__name__=~"(a?.*){200}[QZ]"}`), nil }
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	is, why, _ := evidence.Completeness(ctx, promql.KeyOf("slow"), selectors)
	require.Equal(t, Incomplete, is)
	require.Contains(t, why.Detail, "takes too long")
	is, why, _ = evidence.Completeness(t.Context(), promql.KeyOf("slow"), func() ([]promql.Selector, error) { panic("it is remembered") })
	require.Equal(t, Incomplete, is)
	require.Contains(t, why.Detail, "takes too long")

	gone, leave := context.WithCancel(t.Context())
	leave()
	_, _, _ = evidence.Completeness(gone, promql.KeyOf("quick"), func() ([]promql.Selector, error) { return selectorsOf(t, `{__name__=~"a_metric_of.*"}`), nil })
	is, why, _ = evidence.Completeness(t.Context(), promql.KeyOf("quick"), func() ([]promql.Selector, error) { return selectorsOf(t, `{__name__=~"zzz.*"}`), nil })
	require.Equal(t, Incomplete, is)
	require.Contains(t, why.Detail, "hot has no metric of such a name", "what ended with its caller is not remembered")
}
