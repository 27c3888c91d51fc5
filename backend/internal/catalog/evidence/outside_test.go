package evidence

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

type set = map[string]string

func TestGroupOutside_ExcludesAllSources(t *testing.T) {
	var pairs, combinations []set
	for i := range 20 {
		pairs = append(pairs, set{"cluster": fmt.Sprint("c", i), "prometheus": fmt.Sprint("p", i)})
	}
	for _, cluster := range []string{"a", "b"} {
		for _, shard := range []string{"0", "1"} {
			combinations = append(combinations, set{"cluster": cluster, "shard": shard})
		}
	}
	for name, test := range map[string]struct {
		sources, others []set
		expected        string
		ok              bool
	}{
		"one source":                    {[]set{{"cluster": "a"}}, nil, `cluster!="a"`, true},
		"one label":                     {[]set{{"cluster": "a.b"}, {"cluster": "c"}}, nil, `cluster!~"a\\.b|c"`, true},
		"a label that all share":        {[]set{{"cluster": "a", "tenant": "x"}, {"cluster": "b", "tenant": "x"}}, nil, "tenant!=\"x\"\ntenant=\"x\",cluster!~\"a|b\"", true},
		"all combinations":              {combinations, nil, "cluster!~\"a|b\"\ncluster=~\"a|b\",shard!~\"0|1\"", true},
		"two pairs":                     {pairs[:2], nil, "cluster!~\"c0|c1\"\ncluster=\"c0\",prometheus!=\"p0\"\ncluster=\"c1\",prometheus!=\"p1\"", true},
		"one label tells all others":    {pairs[:9], []set{{"cluster": "x", "prometheus": "p0"}}, `cluster!~"c0|c1|c2|c3|c4|c5|c6|c7|c8"`, true},
		"no label tells all others":     {pairs[:9], []set{{"cluster": "c0", "prometheus": "p1"}}, "", false},
		"an other one lacks the label":  {pairs[:9], []set{{"tenant": "x"}}, "", false},
		"different labels":              {[]set{{"cluster": "a"}, {"tenant": "x"}}, nil, `cluster!="a",tenant!="x"`, true},
		"a source without labels":       {[]set{{}, {"cluster": "a"}}, nil, "", false},
		"a name that has to be quoted":  {[]set{{"k8s.cluster": "a"}}, nil, `"k8s.cluster"!="a"`, true},
		"one is a part of another one":  {[]set{{"cluster": "a"}, {"cluster": "a", "shard": "1"}}, nil, `cluster!="a"`, true},
		"more than fits into a request": {[]set{{"cluster": strings.Repeat("x", mostMatcherBytes)}}, nil, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			group, ok := GroupOutside(test.sources, test.others)
			require.Equal(t, []any{Group(test.expected), test.ok}, []any{group, ok})
		})
	}
}

// TestGroupOutside_MatchesWhatNoSourceHas compares groups with the definition, for random sources.
func TestGroupOutside_MatchesWhatNoSourceHas(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	names := []string{"a", "b", "c"}
	pick := func() set {
		made := set{}
		for _, name := range names {
			if value := random.Intn(4); value > 0 {
				made[name] = fmt.Sprint(value)
			}
		}
		return made
	}
	expressible := 0
	for range 2000 {
		var sources []set
		for range 1 + random.Intn(4) {
			if source := pick(); len(source) > 0 {
				sources = append(sources, source)
			}
		}
		group, ok := GroupOutside(sources, []set{{}})
		if !ok {
			continue
		}
		expressible++
		for range 20 {
			series := pick()
			belongs := false
			for _, source := range sources {
				isOf := true
				for name, value := range source {
					isOf = isOf && series[name] == value
				}
				belongs = belongs || isOf
			}
			require.Equal(t, !belongs, matchesAny(t, group, series), "%v %s %v", sources, group, series)
		}
	}
	require.Greater(t, expressible, 1000)
}

func matchesAny(t *testing.T, group Group, series set) bool {
	t.Helper()
	for _, text := range group.Selectors([]string{"up"}) {
		selector, err := promql.ParseSelector(text)
		require.NoError(t, err)
		matches := true
		for _, matcher := range selector {
			matches = matches && (matcher.Name == model.MetricNameLabel || matcher.Matches(series[matcher.Name]))
		}
		if matches {
			return true
		}
	}
	return false
}
