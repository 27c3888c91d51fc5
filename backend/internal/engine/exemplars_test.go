package engine

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// exemplarsOf is an answer with exemplars of one series, each as "trace@time". labels are
// members of the JSON of the series' labels.
func exemplarsOf(labels string, exemplars ...string) http.HandlerFunc {
	list := ""
	for i, text := range exemplars {
		var trace string
		var at float64
		_, _ = fmt.Sscanf(text, "%1s@%g", &trace, &at)
		if i > 0 {
			list += ","
		}
		list += fmt.Sprintf(`{"labels":{"trace_id":%q},"value":"1","timestamp":%g}`, trace, at)
	}
	return faketier.Status(200, fmt.Sprintf(`{"status":"success","data":[{"seriesLabels":{%s},"exemplars":[%s]}]}`, labels, list))
}

func TestUnite_ExemplarsOfBothTiers(t *testing.T) {
	for name, test := range map[string]struct {
		query     string
		span, ago time.Duration
		reason    tier.Reason
	}{
		"hot's by its length":            {`node_load1{cluster="lab"}`, 5 * time.Minute, 0, tier.ReasonBelowThreshold},
		"cold's by its length":           {`rate(node_load1[5m])`, 30 * time.Minute, 0, tier.ReasonAtOrAboveThreshold},
		"older than hot's samples":       {`node_load1`, time.Hour, 30 * 24 * time.Hour, tier.ReasonOlderThanHot},
		"of which hot has not every one": {`up`, 30 * time.Minute, 0, tier.ReasonNotInHot},
	} {
		t.Run(name, func(t *testing.T) {
			p, both := learnedTiers(t, toldByHot, toldByThanos)
			p.hot.Handle(exemplarsOf(`"__name__":"a"`, "b@2", "c@3"))
			p.cold.Handle(exemplarsOf(`"__name__":"a","cluster":"lab"`, "a@1", "b@2", "d@4"))
			end := time.Now().Add(-test.ago)
			response, text := p.ask(t, both, promapi.QueryExemplars, "/api/v1/query_exemplars", url.Values{
				"query": {test.query}, "start": {promapi.FormatTime(end.Add(-test.span))}, "end": {promapi.FormatTime(end)},
			})
			require.Equal(t, []any{tier.Both, test.reason}, []any{response.Tier, response.Reason}, text)
			united, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
			require.NoError(t, err)
			recorder := &recorded{header: http.Header{}}
			exemplarsOf(`"__name__":"a","cluster":"lab"`, "a@1", "b@2", "c@3", "d@4")(recorder, united)
			require.JSONEq(t, recorder.text.String(), text)
		})
	}
}

func TestUnite_ExemplarsOfTheTierThatIsLeft(t *testing.T) {
	now := time.Now()
	parameters := url.Values{"query": {"node_load1"}, "start": {promapi.FormatTime(now.Add(-5 * time.Minute))}, "end": {promapi.FormatTime(now)}}
	ofHot, ofCold := exemplarsOf(`"__name__":"a"`, "a@1"), exemplarsOf(`"__name__":"a","cluster":"lab"`, "a@1")
	for name, test := range map[string]struct {
		hot, cold http.HandlerFunc
		warning   string
	}{
		"cold fails":                           {ofHot, faketier.Status(503, ""), `"warnings":["the cold tier failed: what only that one holds is missing"]`},
		"cold is limited":                      {ofHot, faketier.Status(429, ""), `"warnings":["the cold tier failed: what only that one holds is missing"]`},
		"hot fails":                            {faketier.Status(500, ""), ofCold, `"warnings":["the hot tier failed: what only that one holds is missing"]`},
		"cold does not know the endpoint":      {ofHot, faketier.Status(404, ""), ""},
		"hot has none, and may be without any": {faketier.Status(200, `{"status":"success","data":[]}`), ofCold, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, both := learnedTiers(t, toldByHot, toldByThanos)
			p.hot.Handle(test.hot)
			p.cold.Handle(test.cold)
			_, text := p.ask(t, both, promapi.QueryExemplars, "/api/v1/query_exemplars", parameters)
			require.Contains(t, text, `"seriesLabels":{"__name__":"a","cluster":"lab"},"exemplars":[{"labels":{"trace_id":"a"}`)
			if test.warning == "" {
				require.NotContains(t, text, "warnings")
			}
			require.Contains(t, text, test.warning)
		})
	}
}

// Hot is asked for those selectors that its series can match.
func TestPlan_ExemplarsAreSelectedByHotsLabels(t *testing.T) {
	now := time.Now()
	ask := func(t *testing.T, hot told, query string) (*Response, string, []string) {
		t.Helper()
		p, both := learnedTiers(t, hot, toldByThanos)
		for _, fake := range []*faketier.Tier{p.hot, p.cold} {
			fake.Handle(faketier.Status(200, `{"status":"success","data":[]}`))
		}
		response, text := p.ask(t, both, promapi.QueryExemplars, "/api/v1/query_exemplars", url.Values{
			"query": {query}, "start": {promapi.FormatTime(now.Add(-5 * time.Minute))}, "end": {promapi.FormatTime(now)},
		})
		require.Equal(t, query, p.cold.Requests()[0].Parameters.Get("query"))
		var asked []string
		for _, request := range p.hot.Requests() {
			asked = append(asked, request.Parameters.Get("query"))
		}
		return response, text, asked
	}
	for query, expected := range map[string][]string{
		`node_load1{cluster="lab"}`:                                           {`node_load1`},
		`node_load1{cluster=~"lab|other"}`:                                    {`node_load1`},
		`sum(rate(a{cluster="lab"}[5m])) / sum(rate(b{cluster="other"}[5m]))`: {`{__name__="a"}`},
		`a{cluster="lab",x="1"} / b{cluster="other"} / c`:                     {`{__name__="a",x="1"} or {__name__="c"}`},
		`node_load1{cluster="other"}`:                                         nil,
		`node_load1{cluster=""}`:                                              nil,
	} {
		_, text, asked := ask(t, toldByHot, query)
		require.Equal(t, expected, asked, query)
		require.JSONEq(t, `{"status":"success","data":[]}`, text, query)
	}
	// Series of hot with such a label of their own cannot be told apart.
	conflicting := maps.Clone(toldByHot)
	conflicting["/label/cluster"] = `["elsewhere"]`
	response, text, asked := ask(t, conflicting, "node_load1")
	require.Equal(t, []any{tier.Cold, tier.ReasonNotInHot}, []any{response.Tier, response.Reason})
	require.Contains(t, text, "exemplars that only the hot tier holds are missing")
	require.Empty(t, asked)
}
