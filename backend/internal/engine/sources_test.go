package engine

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// clusters is a datasource with four servers of three sources: a has two replicas, and the labels
// of the last one are not known.
func clusters() *Datasource {
	made := &Datasource{Sources: func() []Source {
		return []Source{
			{Labels: []map[string]string{{"cluster": "a"}}, Servers: []int{0, 2}},
			{Labels: []map[string]string{{"cluster": "b", "region": "eu"}}, Servers: []int{1}},
			{Servers: []int{3}},
		}
	}}
	for range 4 {
		made.Hot = append(made.Hot, Replica{Hot: catalog.Unresolved(tier.Hot, "it is away")})
	}
	return made
}

func TestMatch_OneSourceHasToMatchAllSelectors(t *testing.T) {
	datasource := clusters()
	names := map[*catalog.Tier]string{datasource.Hot[0].Hot: "a", datasource.Hot[1].Hot: "b", datasource.Hot[3].Hot: "unknown"}
	texts := func(list []source) (texts []string) {
		for _, of := range list {
			texts = append(texts, names[of.replicas[0].Hot])
		}
		return texts
	}
	all := []string{"a", "b", "unknown"}
	for query, expected := range map[string]struct {
		candidates, read []string
		why              string
	}{
		`up{cluster="a"}`:                        {[]string{"a"}, []string{"a"}, ""},
		`up{cluster=~"a"}`:                       {[]string{"a"}, []string{"a"}, ""},
		`up{cluster="a"} / x{cluster=~"^(?:a)"}`: {[]string{"a"}, []string{"a"}, ""},
		`up{region="eu"}`:                        {nil, []string{"a", "b"}, mayReadSeveral}, // Series of a may have the label.
		`up{cluster="b",region="eu"}`:            {[]string{"b"}, []string{"b"}, ""},
		`up{cluster="b",region="us"}`:            {nil, nil, readsOthers},
		`up{cluster=~"a|b"}`:                     {nil, []string{"a", "b"}, mayReadSeveral},
		`up{cluster=~".+"}`:                      {nil, []string{"a", "b"}, mayReadSeveral},
		`up{cluster!="a"}`:                       {[]string{"b"}, []string{"b"}, ""},
		`up{cluster="c"}`:                        {nil, nil, readsOthers},
		`up{cluster="a"} / x{cluster="b"}`:       {nil, []string{"a", "b"}, readsSeveral},
		`up{cluster="a"} / x`:                    {[]string{"a"}, all, ""},
		`up{cluster="c"} or x`:                   {nil, all, readsOthers},
		`up`:                                     {all, all, ""},
		`up{job="a"}`:                            {all, all, ""},
		`1 + 1`:                                  {all, nil, ""},
		`up{`:                                    {all, nil, ""},
	} {
		request := &promapi.Request{Endpoint: promapi.Query, Parameters: url.Values{"query": {query}}}
		made := (&Query{Request: request, Datasource: datasource}).match()
		require.Equal(t, expected.candidates, texts(made.candidates), query)
		require.Equal(t, expected.read, texts(made.read), query)
		require.Equal(t, expected.why, made.why, query)
		require.Len(t, made.all, 3)
	}
}

func TestMatch_ReplicasOfOneSourceAreNoSourcesOfTheirOwn(t *testing.T) {
	datasource := clusters()
	datasource.Sources = nil
	request := &promapi.Request{Endpoint: promapi.Query, Parameters: url.Values{"query": {`up{cluster=~"a|b"}`}}}
	made := (&Query{Request: request, Datasource: datasource}).match()
	require.Len(t, made.candidates, 1)
	require.Len(t, made.candidates[0].replicas, 4)
	require.Empty(t, made.read)
}

// BenchmarkMatch_ManySources is what a query costs that may read one of 200 sources of hot.
func BenchmarkMatch_ManySources(b *testing.B) {
	datasource := &Datasource{}
	var sources []Source
	for i := range 200 {
		datasource.Hot = append(datasource.Hot, Replica{Hot: catalog.Unresolved(tier.Hot, "it is away")})
		sources = append(sources, Source{Labels: []map[string]string{{"cluster": time.Duration(i).String()}}, Servers: []int{i}})
	}
	datasource.Sources = func() []Source { return sources }
	request := &promapi.Request{Endpoint: promapi.Query, Parameters: url.Values{"query": {`sum(rate(x{cluster="7ns"}[5m])) / sum(y{cluster=~"7ns"})`}}}
	query := &Query{Request: request, Datasource: datasource}
	require.Equal(b, []map[string]string{{"cluster": "7ns"}}, query.match().candidates[0].labels)
	b.ReportAllocs()
	for b.Loop() {
		_ = query.match()
	}
}
