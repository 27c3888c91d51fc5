package tier

import (
	"fmt"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

func TestMetricsRead_NamesAndPatterns(t *testing.T) {
	named := func(is labels.MatchType, value string) promql.Selector {
		return promql.Selector{labels.MustNewMatcher(labels.MatchEqual, "job", "x"), labels.MustNewMatcher(is, "__name__", value)}
	}
	list := func() []string { return []string{"a1", "a2", "b"} }
	for name, test := range map[string]struct {
		selectors []promql.Selector
		expected  []MetricRead
	}{
		"a name":                 {[]promql.Selector{named(labels.MatchEqual, "x")}, []MetricRead{{"x", true}}},
		"a list of names":        {[]promql.Selector{named(labels.MatchRegexp, "x|a1")}, []MetricRead{{"a1", true}, {"x", true}}},
		"a pattern":              {[]promql.Selector{named(labels.MatchRegexp, "a.*")}, []MetricRead{{"a1", false}, {"a2", false}}},
		"a name and a pattern":   {[]promql.Selector{named(labels.MatchEqual, "a2"), named(labels.MatchRegexp, "a.*")}, []MetricRead{{"a1", false}, {"a2", true}}},
		"a pattern and a name":   {[]promql.Selector{named(labels.MatchRegexp, "a.*"), named(labels.MatchEqual, "a2")}, []MetricRead{{"a1", false}, {"a2", true}}},
		"all but a name":         {[]promql.Selector{named(labels.MatchNotEqual, "b")}, []MetricRead{{"a1", false}, {"a2", false}}},
		"no matcher for a name":  {[]promql.Selector{{labels.MustNewMatcher(labels.MatchEqual, "job", "x")}}, nil},
		"what no tier has is no": {[]promql.Selector{named(labels.MatchRegexp, "c.*")}, nil},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.expected, MetricsRead(test.selectors, list)) })
	}
	var many []string
	for i := range mostMetricsRead + 5 {
		many = append(many, fmt.Sprint("a", i))
	}
	require.Len(t, MetricsRead([]promql.Selector{named(labels.MatchRegexp, "a.*")}, func() []string { return many }), mostMetricsRead)
}
