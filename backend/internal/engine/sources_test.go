package engine

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
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

// twoClusters are two hot tiers of clusters a and b, without cold.
func twoClusters(t *testing.T, request *promapi.Request) (a, b *faketier.Tier, engine *Engine, query Query) {
	t.Helper()
	r := newReplicated(t, 5*time.Second)
	r.query.Request = request
	engine, query = r.query.made()
	query.Datasource.Detailed = true
	query.Datasource.Sources = func() []Source {
		return []Source{{Labels: []map[string]string{{"cluster": "a"}}, Servers: []int{0}}, {Labels: []map[string]string{{"cluster": "b"}}, Servers: []int{1}}}
	}
	return r.first, r.second, engine, query
}

func TestSources_WithoutCold(t *testing.T) {
	const incomplete = "the hot tier answered, which may not have every series that matches: several sources of hot may have series that match"
	for text, expected := range map[string]struct{ source, hotQuery, warning string }{
		`up{cluster="b"}`:                        {`{cluster="b"}`, `label_replace(up, "cluster", "b", "", "")`, ""},
		`sum(up{cluster="a"})`:                   {`{cluster="a"}`, `sum(up)`, ""},
		`sum(up)`:                                {`{cluster="a"}`, `sum(up)`, incomplete},
		`up{cluster=~"a|b"}`:                     {`{cluster="a"}`, ``, incomplete},
		`up{cluster="a"} or up{cluster="b"}`:     {`{cluster="a"}`, ``, incomplete},
		`sum(up{cluster="a"}) / sum(x{job="j"})`: {`{cluster="a"}`, ``, incomplete},
	} {
		t.Run(text, func(t *testing.T) {
			a, b, engine, query := twoClusters(t, request(t, url.Values{"query": {text}}))
			a.Handle(faketier.Success)
			b.Handle(faketier.Success)
			response, err := engine.Do(t.Context(), query)
			require.NoError(t, err)
			require.Equal(t, []any{tier.Hot, expected.source}, []any{response.Tier, response.Source})
			answer := body(t, response)
			if expected.warning == "" {
				require.NotContains(t, answer, "warnings")
			} else {
				require.Contains(t, answer, expected.warning)
			}
			if asked := append(a.Requests(), b.Requests()...); expected.hotQuery != "" {
				require.Equal(t, expected.hotQuery, asked[0].Parameters.Get("query"))
			}
		})
	}
}

// TestSources_UnionIsOfAllThatMatch asks for label names, which are joined.
func TestSources_UnionIsOfAllThatMatch(t *testing.T) {
	labelsOf := func(match string) *promapi.Request {
		made, err := promapi.NewRequest(promapi.Labels, "/api/v1/labels", url.Values{"match[]": {match}}, time.Now())
		require.NoError(t, err)
		return made
	}
	names := func(list string) http.HandlerFunc {
		return faketier.Status(200, `{"status":"success","data":`+list+`}`)
	}
	for name, test := range map[string]struct {
		match          string
		a, b           http.HandlerFunc
		answer, source string
	}{
		"both":   {`up`, names(`["x"]`), names(`["y"]`), `{"status":"success","data":["cluster","x","y"]}`, `{cluster="a"}, {cluster="b"}`},
		"one":    {`up{cluster="b"}`, nil, names(`["y"]`), `{"status":"success","data":["cluster","y"]}`, `{cluster="b"}`},
		"b down": {`up`, names(`["x"]`), faketier.Status(503, ""), `{"status":"success","data":["cluster","x"],"warnings":["the source {cluster=\"b\"} of the hot tier failed: what only that one holds is missing"]}`, `{cluster="a"}, {cluster="b"}`},
		"a bad":  {`up`, names(`[1]`), names(`["y"]`), `{"status":"success","data":["cluster","y"],"warnings":["the source {cluster=\"a\"} of the hot tier failed: what only that one holds is missing"]}`, `{cluster="a"}, {cluster="b"}`},
	} {
		t.Run(name, func(t *testing.T) {
			a, b, engine, query := twoClusters(t, labelsOf(test.match))
			a.Handle(test.a)
			b.Handle(test.b)
			response, err := engine.Do(t.Context(), query)
			require.NoError(t, err)
			require.JSONEq(t, test.answer, body(t, response))
			require.Equal(t, test.source, response.Source)
		})
	}
}
