package splice_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/race"
)

// clusters are the external labels of sources. Those of one may be part of those of another.
var clusters = []map[string]string{{"cluster": "a"}, {"cluster": "b"}, {"cluster": "a", "prometheus": "x"}, {"prometheus": "x"}}

// sourcesOf makes sources of hot, or of hot and, as the last one, of cold. They have names
// unless hot has one.
func sourcesOf(texts []string, hasCold bool) []splice.Source {
	var sources []splice.Source
	for i, text := range texts {
		if hasCold && i == len(texts)-1 {
			sources = append(sources, splice.Source{Tier: "cold", Data: []byte(text)})
			break
		}
		sources = append(sources, splice.Source{Tier: "hot", Name: fmt.Sprintf("{source=\"%d\"}", i), Data: []byte(text), Injected: clusters[i]})
	}
	if hot := len(texts); hot == 1 || (hot == 2 && hasCold) {
		sources[0].Name = ""
	}
	return sources
}

// labelled makes rules and alerts whose labels may be those of a source.
func (m maker) labelled(endpoint promapi.Endpoint) string {
	labels := func(more ...string) string {
		for _, each := range []string{`"cluster":"` + m.pick("a", "b", "c") + `"`, `"prometheus":"` + m.pick("x", "y") + `"`} {
			if m.IntN(3) == 0 {
				more = append(more, each)
			}
		}
		m.Shuffle(len(more), func(i, j int) { more[i], more[j] = more[j], more[i] })
		return `{` + strings.Join(more, ",") + `}`
	}
	if endpoint == promapi.Alerts {
		return `{"alerts":` + m.list(6, func() string {
			return `{"labels":` + labels(`"alertname":"`+m.pick("A", "B")+`"`) + `,"activeAt":"` + m.pick("1", "2") + `"}`
		}) + `}`
	}
	return `{"groups":` + m.list(4, func() string {
		return `{"name":"` + m.pick("g", "h") + `", "rules" : ` + m.list(4, func() string {
			return `{"type":"recording","name":"` + m.pick("A", "B") + `","labels":` + labels() + `,"query":"up"}`
		}) + `,"interval":60}`
	}) + `}`
}

// TestUnite_OfAnyNumberOfSources compares unions of bytes with those of decoded values.
func TestUnite_OfAnyNumberOfSources(t *testing.T) {
	for _, endpoint := range []promapi.Endpoint{
		promapi.Labels, promapi.LabelValues, promapi.Series, promapi.QueryExemplars, promapi.Metadata, promapi.Rules, promapi.Alerts,
	} {
		t.Run(string(endpoint), func(t *testing.T) {
			m := maker{rand.New(rand.NewPCG(3, 4))}
			for range race.Size(300, 100) {
				hasCold := m.IntN(2) == 0
				texts := make([]string, 1+m.IntN(4), 5)
				if hasCold {
					texts = append(texts, "")
				}
				for i := range texts {
					if texts[i] = m.data(endpoint); endpoint == promapi.Rules || endpoint == promapi.Alerts {
						texts[i] = m.labelled(endpoint)
					}
				}
				sources, limit := sourcesOf(texts, hasCold), m.IntN(6)
				if endpoint == promapi.Rules || endpoint == promapi.Alerts {
					limit = 0
				}
				if endpoint == promapi.LabelValues {
					for i := range sources {
						sources[i].Injected = nil
					}
				}
				if m.IntN(5) == 0 {
					sources[0].Name = "other sources have failed"
				}
				expected, truncated, err := referenceUniteSources(endpoint, sources, limit)
				require.NoError(t, err)
				answer, err := uniteSources(endpoint, sources, limit, unbounded)
				require.NoError(t, err, "%q", texts)
				require.JSONEq(t, string(expected), dataOf(t, answer), "%q", texts)
				require.Equal(t, truncated, answer.Truncated)
			}
		})
	}
}

// rulesOf are groups as a Prometheus lists them, or a Thanos, with the external labels of a server.
func rulesOf(name, cluster string) string {
	return strings.ReplaceAll(`{"type":"alerting","name":"`+name+`","query":"vector(1)","labels":{CLUSTER"severity":"none"},"alerts":[{"labels":{"severity":"none"}}]}`, "CLUSTER", cluster)
}

func TestUniteRules_ThanosJoinsTheGroupsOfItsServers(t *testing.T) {
	a, b, c := `"cluster":"a",`, `"cluster":"b",`, `"cluster":"c",`
	group := func(more string, rules ...string) string {
		return `{"name":"g","file":"r.yml","rules":[` + strings.Join(rules, ",") + `],"interval":1` + more + `}`
	}
	const ofA, ofB = `"source":"{source=\"0\"}"`, `"source":"{source=\"1\"}"`
	both := func(source string) string { return `,"tier":"hot,cold",` + source }
	hot := group("", rulesOf("X", ""), rulesOf("Y", ""))
	for name, test := range map[string]struct{ hotA, hotB, cold, expected []string }{
		"both behind it": {
			[]string{hot}, []string{hot}, []string{group("", rulesOf("X", a), rulesOf("X", b), rulesOf("Y", a), rulesOf("Y", b))},
			[]string{group(both(ofA), rulesOf("X", ""), rulesOf("Y", "")), group(both(ofB), rulesOf("X", ""), rulesOf("Y", ""))},
		},
		"one that is not in hot": {
			[]string{hot}, []string{hot}, []string{group("", rulesOf("X", a), rulesOf("X", b), rulesOf("X", c), rulesOf("Y", a), rulesOf("Y", b), rulesOf("Y", c))},
			[]string{
				group(both(ofA), rulesOf("X", ""), rulesOf("Y", "")), group(both(ofB), rulesOf("X", ""), rulesOf("Y", "")),
				group(`,"tier":"cold"`, rulesOf("X", c), rulesOf("Y", c)),
			},
		},
		"one that has loaded other rules": {
			[]string{hot}, []string{hot}, []string{group("", rulesOf("X", a), rulesOf("X", b), rulesOf("Y", a))},
			[]string{
				group(both(ofA), rulesOf("X", ""), rulesOf("Y", "")), group(`,"tier":"hot",`+ofB, rulesOf("X", ""), rulesOf("Y", "")),
				group(`,"tier":"cold"`, rulesOf("X", b)),
			},
		},
		"a ruler": {
			[]string{hot}, nil, []string{hot, group("")},
			[]string{group(`,"tier":"hot",`+ofA, rulesOf("X", ""), rulesOf("Y", "")), group(`,"tier":"cold"`, rulesOf("X", ""), rulesOf("Y", "")), group(`,"tier":"cold"`)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var texts []string
			for _, groups := range [][]string{test.hotA, test.hotB, test.cold} {
				texts = append(texts, `{"groups":[`+strings.Join(groups, ",")+`]}`)
			}
			answer, err := splice.UniteRules(sourcesOf(texts, true), unbounded)
			require.NoError(t, err)
			require.Equal(t, `{"groups":[`+strings.Join(test.expected, ",")+`]}`, dataOf(t, answer))
		})
	}
}

// TestUniteAlerts_ThanosListsThemWithoutExternalLabels has the alert that always fires in every
// cluster.
func TestUniteAlerts_ThanosListsThemWithoutExternalLabels(t *testing.T) {
	alert := func(cluster, activeAt, more string) string {
		return `{"labels":{"alertname":"Watchdog"` + cluster + `},"activeAt":"` + activeAt + `"` + more + `}`
	}
	of := func(i int, cluster, activeAt, tier string) string {
		return alert(cluster, activeAt, fmt.Sprintf(`,"tier":"%s","source":"{source=\"%d\"}"`, tier, i))
	}
	const a, b = `,"cluster":"a"`, `,"cluster":"b"`
	for name, test := range map[string]struct{ cold, expected []string }{
		"both behind it": {
			[]string{alert("", "2", ""), alert("", "1", "")},
			[]string{of(0, a, "1", "hot,cold"), of(1, b, "2", "hot,cold")},
		},
		"one that is not in hot": {
			[]string{alert("", "3", ""), alert("", "1", ""), alert("", "2", "")},
			[]string{of(0, a, "1", "hot,cold"), of(1, b, "2", "hot,cold"), alert("", "3", `,"tier":"cold"`)},
		},
		"one only":        {[]string{alert("", "2", "")}, []string{of(0, a, "1", "hot"), of(1, b, "2", "hot,cold")}},
		"another replica": {[]string{alert("", "4", "")}, []string{of(0, a, "1", "hot,cold"), of(1, b, "2", "hot")}},
		"with labels":     {[]string{alert(b, "4", "")}, []string{of(0, a, "1", "hot"), of(1, b, "2", "hot,cold")}},
		"of a ruler": {
			[]string{alert(`,"cluster":"c"`, "1", "")},
			[]string{of(0, a, "1", "hot"), of(1, b, "2", "hot"), alert(`,"cluster":"c"`, "1", `,"tier":"cold"`)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var texts []string
			for _, alerts := range [][]string{{alert("", "1", "")}, {alert("", "2", "")}, test.cold} {
				texts = append(texts, `{"alerts":[`+strings.Join(alerts, ",")+`]}`)
			}
			answer, err := splice.UniteAlerts(sourcesOf(texts, true), unbounded)
			require.NoError(t, err)
			require.Equal(t, `{"alerts":[`+strings.Join(test.expected, ",")+`]}`, dataOf(t, answer))
		})
	}
}

func TestUnite_ErrorsNameTheSource(t *testing.T) {
	for _, endpoint := range united {
		for index := range 4 {
			texts := []string{`null`, `null`, `null`, `null`}
			texts[index] = `1`
			_, err := uniteSources(endpoint, sourcesOf(texts, true), 0, unbounded)
			failed, is := errors.AsType[*splice.SourceError](err)
			require.True(t, is, "%s: %v", endpoint, err)
			require.Equal(t, index, failed.Index)
			require.Equal(t, index == 3, failed.Tier == "cold")
		}
	}
}

func TestMissingWarning_NamesTheSourceWhereThereAreOthers(t *testing.T) {
	require.Equal(t, "the hot tier failed: what only that one holds is missing", splice.MissingWarning("hot", ""))
	require.Equal(t, `the source {cluster="a"} of the hot tier failed: what only that one holds is missing`, splice.MissingWarning("hot", `{cluster="a"}`))
}

// TestStream_OfAnyNumberOfSources compares streams with unions in memory.
func TestStream_OfAnyNumberOfSources(t *testing.T) {
	m := maker{rand.New(rand.NewPCG(5, 6))}
	for range 200 {
		texts := make([]string, 1+m.IntN(4))
		for _, endpoint := range []promapi.Endpoint{promapi.Labels, promapi.Series} {
			for i := range texts {
				text := strings.ReplaceAll(m.data(endpoint), `"cluster"`, `"zone"`) // No series has injected labels itself.
				answer, err := uniteSources(endpoint, []splice.Source{{Data: []byte(text)}}, 0, unbounded)
				require.NoError(t, err)
				texts[i] = dataOf(t, answer) // As every Prometheus, sorted.
			}
			sources := sourcesOf(texts, m.IntN(2) == 0)
			expected, _, err := referenceUniteSources(endpoint, sources, 0)
			require.NoError(t, err)
			var inputs []splice.StreamedSource
			for _, source := range sources {
				input := of("hot", string(source.Data), source.Injected)
				input.Tier, input.Name = source.Tier, source.Name
				inputs = append(inputs, input)
			}
			stream := splice.StreamTexts(inputs, 0, cutWarning)
			if endpoint == promapi.Series {
				stream = splice.StreamSeries(inputs, 0, cutWarning, unbounded)
			}
			text, err := streamed(t, stream)
			require.NoError(t, err)
			var answer struct {
				Data     []any    `json:"data"`
				Warnings []string `json:"warnings"`
			}
			require.NoError(t, json.Unmarshal([]byte(text), &answer))
			var list []any
			require.NoError(t, json.Unmarshal(expected, &list))
			require.ElementsMatch(t, list, answer.Data, "%q", texts)
			require.Equal(t, []string{"hot"}, answer.Warnings)
		}
	}
}

func TestStream_WarnsOfTheSourceThatFailed(t *testing.T) {
	for name, stream := range map[string]func([]splice.StreamedSource) *splice.Stream{
		"texts": func(sources []splice.StreamedSource) *splice.Stream {
			return splice.StreamTexts(sources, 0, cutWarning)
		},
		"series": func(sources []splice.StreamedSource) *splice.Stream {
			return splice.StreamSeries(sources, 0, cutWarning, unbounded)
		},
	} {
		t.Run(name, func(t *testing.T) {
			sources := []splice.StreamedSource{of("hot", `[]`, nil), of("hot", `1`, nil), of("cold", `[]`, nil)}
			sources[0].Name, sources[1].Name = `{cluster="a"}`, `{cluster="b"}`
			text, err := streamed(t, stream(sources))
			require.NoError(t, err)
			requireUnion(t, `[]`, `the source {cluster="b"} of the hot tier failed: what only that one holds is missing`, text)
		})
	}
}
