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
		HotLabels: lab, HotLabelsKnown: true, InjectedLabels: lab, Distinct: lab, SourcesKnown: true,
		Sources: []map[string]string{
			lab, {"cluster": "lab", "prometheus": "users"}, {"cluster": "other", "prometheus": "k8s"}, {"tenant": "x"},
		},
	}
	if change != nil {
		change(&evidence)
	}
	return NewSeriesEvidence(evidence)
}

// namesInTiers are the metric names of all tiers.
var namesInTiers = []string{"both", "late", "node_load1", "node_load5", "shop", "up"}

// evidenceOf is what is known of them. Nobody has asked for late yet.
func evidenceOf(name string) NameEvidence {
	switch name {
	case "up", "both":
		return NameEvidence{Hot: Present, Elsewhere: Present}
	case "node_load1", "node_load5":
		return NameEvidence{Hot: Present, Elsewhere: Absent}
	case "shop":
		return NameEvidence{Hot: Absent, Elsewhere: Present}
	case "late":
		return NameEvidence{}
	}
	return NameEvidence{Hot: Absent, Elsewhere: Absent}
}

// completenessOf returns the completeness of hot for selectors.
func completenessOf(t *testing.T, evidence *SeriesEvidence, texts ...string) (Completeness, string) {
	t.Helper()
	requirement := evidence.Requires(promql.KeyOf(texts...), func() ([]promql.Selector, error) { return selectorsOf(t, texts...), nil })
	require.True(t, requirement.Understood)
	is, why, _ := requirement.Expanded(t.Context(), namesInTiers, 3).Completeness(evidenceOf)
	return is, why.Detail
}

func oneSource(k *SeriesEvidence) { k.Sources = k.Sources[:1] }

func noTenant(k *SeriesEvidence) { k.Sources = k.Sources[:3] }

func onlyOthers(k *SeriesEvidence) {
	k.Sources = []map[string]string{lab, {"cluster": "other", "prometheus": "k8s"}, {"cluster": "third", "prometheus": "users"}}
}

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
		{"every series", nil, `{__name__!=""}`, Incomplete, "matches more than 3 metric names"},
		{"a name that is not known yet", nil, `late`, Incomplete, "not known yet whether another source has the metric late"},
		{"what is known counts first", nil, `{__name__=~"late|up"}`, Incomplete, "the metric up too"},
		{"an alternative of names that only hot has", nil, `{__name__=~"node_load1|node_load5"}`, Complete, ""},
		{"one of the alternative is elsewhere too", nil, `{__name__=~"node_load1|both"}`, Incomplete, "the metric both too"},
		{"the one that is elsewhere is excluded", nil, `{__name__=~"node_load1|both",__name__!="both"}`, Complete, ""},
		{"the alternative may be empty", nil, `{__name__=~"node_load1|",job="a"}`, Incomplete, ""},
		{"a pattern that only hot matches", nil, `{__name__=~"node_.*"}`, Complete, "only hot has these metrics"},
		{"a pattern that others match", nil, `{__name__=~".*o(p|th)"}`, Incomplete, "another source than hot has the metric"},
		{"a pattern that no name matches", nil, `{__name__=~"zzz.*"}`, Incomplete, "hot has no metric of such a name"},
		{"a negative pattern", nil, `{__name__!~"up|both|shop",job="a"}`, Incomplete, "names no metric"},
		{"all of hot's labels are named", nil, `up{cluster="lab",prometheus="k8s"}`, Complete, "names hot's own external labels"},
		{"a source that lacks the label may have it on its series", nil, `up{cluster="lab"}`, Incomplete, ""},
		{"a source that lacks the label may have it, the only other one", func(k *SeriesEvidence) { k.Sources = []map[string]string{lab, {"tenant": "x"}} }, `up{cluster="lab"}`, Incomplete, ""},
		{"labels that hot does not have pin nothing", nil, `up{a="",b=""}`, Incomplete, "another source than hot has the metric up too"},
		{"hot has no external labels", func(k *SeriesEvidence) { k.HotLabels, k.Distinct = map[string]string{}, nil }, `up`, Incomplete, "not known by which labels"},
		{"one label does not tell hot from the other source", noTenant, `up{cluster="lab"}`, Incomplete, ""},
		{"one label rules all others out", func(k *SeriesEvidence) { noTenant(k); k.Sources = append(k.Sources[:1:1], k.Sources[2]) }, `up{cluster="lab"}`, Complete, ""},
		{"a regular expression of one value names it", noTenant, `up{cluster=~"lab",prometheus=~"(?:k8s)"}`, Complete, "names hot's own external labels"},
		{"one of several values", noTenant, `up{cluster=~"lab|other",prometheus="k8s"}`, Incomplete, ""},
		{"any case of a value, and a source that lacks the label", nil, `up{cluster=~"(?i)lab",prometheus="k8s"}`, Incomplete, ""},
		{"a pattern that no value of another source matches", onlyOthers, `up{cluster=~"l.*"}`, Complete, "names hot's own external labels"},
		{"the values of all other sources are excluded", onlyOthers, `up{cluster!~"other|third"}`, Complete, ""},
		{"the value of one of the other sources is excluded", onlyOthers, `up{cluster!="other"}`, Incomplete, ""},
		{"two labels rule out one source each", onlyOthers, `up{cluster!="other",prometheus=~"k.*"}`, Complete, ""},
		{"a pattern that hot's value does not match", onlyOthers, `up{cluster=~"x.*"}`, Incomplete, ""},
		{"another value pins nothing", noTenant, `up{cluster="other",prometheus="k8s"}`, Incomplete, ""},
		{"hot is the only source", oneSource, `{job="a"}`, Complete, "hot is the only source"},
		{"hot is not among the sources", func(k *SeriesEvidence) { k.Sources = k.Sources[1:2] }, `up`, Incomplete, ""},
		{"cold cannot tell", cannotTell, `up`, Assumed, "cold cannot tell its sources"},
		{"cold cannot tell, no name", cannotTell, `{job="a"}`, Assumed, ""},
		{"cold cannot tell, but hot lacks it", cannotTell, `shop`, Incomplete, "hot has no metric shop"},
		{"cold cannot tell, and what hot has is not known yet", cannotTell, `late`, Assumed, ""},
		{"hot's labels are not known, and a source has none", func(k *SeriesEvidence) {
			k.HotLabelsKnown, k.HotLabels, k.Distinct, k.Sources = false, nil, nil, []map[string]string{{}}
		}, `up`, Incomplete, "not known by which labels"},
		{"hot's labels are not known", func(k *SeriesEvidence) { k.HotLabelsKnown, k.HotLabels, k.Distinct = false, nil, nil }, `up{cluster="lab",prometheus="k8s"}`, Incomplete, ""},
		{"declared", func(k *SeriesEvidence) { k.Declared = true }, `up`, Complete, "declares"},
	} {
		t.Run(test.name, func(t *testing.T) {
			evidence := known(test.change)
			for range 2 { // The second time it is remembered.
				is, why := completenessOf(t, evidence, test.selector)
				require.Equal(t, test.expected, is, why)
				require.Contains(t, why, test.why)
			}
		})
	}
}

func TestCompleteness_OfAllSelectors(t *testing.T) {
	for _, texts := range [][]string{{`node_load1`, `up`}, {`up`, `node_load1`}, {`node_load5`, `up`, `node_load1`}} {
		is, why := completenessOf(t, known(nil), texts...)
		require.Equal(t, Incomplete, is, "every selector counts")
		require.Contains(t, why, "the metric up too")
	}
	is, _ := completenessOf(t, known(nil))
	require.Equal(t, Complete, is, "nothing is read")
	is, why := completenessOf(t, nil, "x")
	require.Equal(t, Incomplete, is)
	require.Contains(t, why, "not known yet")
	unread := known(nil).Requires(promql.KeyOf("?"), func() ([]promql.Selector, error) { return nil, errors.New("no PromQL\nat all") })
	is, note, _ := unread.Completeness(evidenceOf)
	require.Equal(t, Incomplete, is)
	require.Equal(t, "the query is not understood here: no PromQL", note.Public)
	require.False(t, unread.Understood)
	require.True(t, known(oneSource).OnlySource())
	require.False(t, known(cannotTell).OnlySource())
	require.False(t, known(nil).OnlySource())
	require.False(t, (*SeriesEvidence)(nil).OnlySource())
}

func TestRequires_OnlyWhatDecides(t *testing.T) {
	of := func(evidence *SeriesEvidence, texts ...string) Requirement {
		return evidence.Requires(promql.KeyOf(texts...), func() ([]promql.Selector, error) { return selectorsOf(t, texts...), nil })
	}
	require.Equal(t, []string{"a", "b"}, of(known(nil), `b{x="y"}`, `a`, `b`).Names)
	require.True(t, of(known(nil), `a`).Elsewhere)
	require.False(t, of(known(cannotTell), `a`).Elsewhere, "what others have cannot be known")
	for name, test := range map[string]struct {
		evidence *SeriesEvidence
		texts    []string
	}{
		"all of hot's labels are named":    {known(nil), []string{`up{cluster="lab",prometheus="k8s"}`}},
		"hot is the only source":           {known(oneSource), []string{`up`}},
		"declared":                         {known(func(k *SeriesEvidence) { k.Declared = true }), []string{`up`}},
		"another selector names no metric": {known(nil), []string{`up`, `{job="a"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Empty(t, of(test.evidence, test.texts...).Names)
			require.Empty(t, of(test.evidence, test.texts...).Patterns)
		})
	}
}

func TestExpanded_ComparingAPatternEndsWithItsContext(t *testing.T) {
	names := make([]string, 99_000)
	for i := range names {
		names[i] = fmt.Sprintf("a_metric_of_some_length_%d_total", i)
	}
	requirement := known(nil).Requires(promql.KeyOf("slow"), func() ([]promql.Selector, error) { return selectorsOf(t, `{__name__=~"(a?.*){200}[QZ]"}`), nil })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	is, why, _ := requirement.Expanded(ctx, names, 10).Completeness(evidenceOf)
	require.Equal(t, Incomplete, is)
	require.Contains(t, why.Detail, "takes too long")
	is, why, _ = requirement.Expanded(t.Context(), names[:1], 10).Completeness(evidenceOf)
	require.Equal(t, Incomplete, is)
	require.Contains(t, why.Detail, "hot has no metric of such a name", "the time of a caller is not remembered")
}
