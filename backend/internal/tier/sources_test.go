package tier

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// fanOut returns evidence of a hot tier with two sources, and two others, changed for a test.
func fanOut(change func(*SeriesEvidence)) *SeriesEvidence {
	evidence := SeriesEvidence{
		HotSources: []map[string]string{{"cluster": "a"}, {"cluster": "b"}}, SourcesKnown: true,
		Sources: []map[string]string{{"cluster": "a"}, {"cluster": "b"}, {"cluster": "c"}, {"cluster": "d", "ruler": "x"}},
	}
	if change != nil {
		change(&evidence)
	}
	return NewSeriesEvidence(evidence)
}

func TestCompleteness_HotWithSeveralSources(t *testing.T) {
	withTenant := func(k *SeriesEvidence) { k.Sources = append(k.Sources, map[string]string{"tenant": "x"}) }
	refused := func(k *SeriesEvidence) { k.Refusal, k.Declared = PublicNote("it is refused"), true }
	unlike := func(k *SeriesEvidence) {
		k.Unlike, k.UnlikeBecause = k.HotSources[:1], PublicNote("only one tier deduplicates")
	}
	for _, test := range []struct {
		name     string
		change   func(*SeriesEvidence)
		selector string
		expected Completeness
		why      string
	}{
		{"one of them", nil, `up{cluster="a"}`, Complete, "names hot's own external labels"},
		{"both", nil, `up{cluster=~"a|b"}`, Complete, "names hot's own external labels"},
		{"the others are excluded", nil, `up{cluster!~"c|d"}`, Complete, "names hot's own external labels"},
		{"one of hot and another one", nil, `up{cluster=~"a|c"}`, Incomplete, "another source than hot has the metric up too"},
		{"one that hot does not have", nil, `up{cluster="c"}`, Incomplete, "the metric up too"},
		{"one that does not exist", nil, `up{cluster="z"}`, Incomplete, "the metric up too"},
		{"a name that only hot has", nil, `node_load1`, Complete, "only hot has these metrics"},
		{"a name that another source has, too", nil, `up`, Incomplete, "the metric up too"},
		{"a source that lacks the label may have it", withTenant, `up{cluster=~"a|b"}`, Incomplete, "the metric up too"},
		{"one value pins, even so", withTenant, `up{cluster="b"}`, Complete, "names hot's own external labels"},
		{"a source has the same label, and one more", func(k *SeriesEvidence) { k.Sources[3]["cluster"] = "a" }, `up{cluster="a"}`, Incomplete, "the metric up too"},
		{"all sources are hot's", func(k *SeriesEvidence) { k.Sources = k.Sources[:2] }, `{job="x"}`, Complete, "hot is the only source"},
		{"selectors cannot tell the others", func(k *SeriesEvidence) { k.Inseparable = "they look alike" }, `node_load1`, Incomplete, "they look alike"},
		{"they cannot, but the selector does", func(k *SeriesEvidence) { k.Inseparable = "they look alike" }, `up{cluster="a"}`, Complete, ""},
		{"hot is refused, even if it is declared", refused, `up{cluster="a"}`, Incomplete, "it is refused"},
		{"the series of a source differ", unlike, `up{cluster="a"}`, Incomplete, "only one tier deduplicates"},
		{"the series of another source differ", unlike, `up{cluster="b"}`, Complete, ""},
		{"the selector may match it", unlike, `node_load1`, Incomplete, "only one tier deduplicates"},
		{"a source without labels names nothing", func(k *SeriesEvidence) { k.HotSources = []map[string]string{{}} }, `up{cluster="z"}`, Incomplete, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			is, why := completenessOf(t, fanOut(test.change), test.selector)
			require.Equal(t, test.expected, is, why)
			require.Contains(t, why, test.why)
		})
	}
	require.Len(t, fanOut(nil).Others(), 2)
	is, _ := completenessOf(t, fanOut(refused))
	require.Equal(t, Complete, is, "no series is read")
}

// A source with all of hot's labels and one more may match what names hot's labels.
func TestCompleteness_ASourceWithMoreLabelsThanHot(t *testing.T) {
	ruler := func(k *SeriesEvidence) {
		k.Sources = append(k.Sources, map[string]string{"cluster": "lab", "prometheus": "k8s", "ruler": "x"})
	}
	is, why := completenessOf(t, known(ruler), `up{cluster="lab",prometheus="k8s"}`)
	require.Equal(t, Incomplete, is, why)
	is, why = completenessOf(t, known(ruler), `up{cluster="lab",prometheus="k8s",ruler=""}`)
	require.Equal(t, Incomplete, is, "the tenant x may have such series: "+why)
}

func TestUnused_SaysWhyHotGetsNoQueries(t *testing.T) {
	differ := PublicNote("they differ")
	for name, test := range map[string]struct {
		evidence *SeriesEvidence
		why      Note
		isAll    bool
	}{
		"nothing is known":     {nil, Note{}, false},
		"hot is used":          {fanOut(nil), Note{}, false},
		"it is refused":        {fanOut(func(k *SeriesEvidence) { k.Refusal = differ }), differ, true},
		"one source differs":   {fanOut(func(k *SeriesEvidence) { k.Unlike, k.UnlikeBecause = k.HotSources[:1], differ }), differ, false},
		"all sources differ":   {fanOut(func(k *SeriesEvidence) { k.Unlike, k.UnlikeBecause = k.HotSources, differ }), differ, true},
		"a Prometheus is used": {known(nil), Note{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			why, isAll := test.evidence.Unused()
			require.Equal(t, []any{test.why, test.isAll}, []any{why, isAll})
		})
	}
}

func TestMayMatch_ASourceThatLacksALabelMayHaveIt(t *testing.T) {
	for selector, expected := range map[string]bool{`up{cluster="a"}`: true, `up{cluster="b"}`: false, `up{shard="1"}`: true, `up{cluster!="b"}`: true} {
		parsed, err := promql.ParseSelector(selector)
		require.NoError(t, err)
		require.Equal(t, expected, MayMatch(parsed, map[string]string{"cluster": "a"}), selector)
	}
}
