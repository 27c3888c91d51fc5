package splice_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/race"
)

func unbounded(int64) error { return nil }

// unite returns the union of two answers, of which the first has labels injected.
func unite(endpoint promapi.Endpoint, hot, cold string, injected map[string]string, limit int, acquire splice.Acquire) (*splice.Answer, error) {
	return uniteSources(endpoint, []splice.Source{{Tier: "hot", Data: []byte(hot), Injected: injected}, {Tier: "cold", Data: []byte(cold)}}, limit, acquire)
}

func uniteSources(endpoint promapi.Endpoint, sources []splice.Source, limit int, acquire splice.Acquire) (*splice.Answer, error) {
	switch endpoint {
	case promapi.Series:
		return splice.UniteSeries(sources, limit, acquire)
	case promapi.QueryExemplars:
		return splice.UniteExemplars(sources, acquire)
	case promapi.Metadata:
		return splice.UniteMetadata(sources, limit, acquire)
	case promapi.Rules:
		return splice.UniteRules(sources, acquire)
	case promapi.Alerts:
		return splice.UniteAlerts(sources, acquire)
	default:
		return splice.UniteTexts(sources, limit, acquire)
	}
}

func reference(t *testing.T, endpoint promapi.Endpoint, hot, cold string, injected map[string]string, limit int) (data json.RawMessage, truncated bool) {
	t.Helper()
	var err error
	switch endpoint {
	case promapi.Rules:
		data, err = referenceUniteRules(json.RawMessage(hot), json.RawMessage(cold))
	case promapi.Alerts:
		data, err = referenceUniteAlerts(json.RawMessage(hot), json.RawMessage(cold), injected)
	default:
		var labelled json.RawMessage
		labelled, err = referenceAddLabels(endpoint, json.RawMessage(hot), injected)
		require.NoError(t, err)
		data, truncated, err = referenceUnite(endpoint, labelled, json.RawMessage(cold), limit)
	}
	require.NoError(t, err)
	return data, truncated
}

func dataOf(t testing.TB, answer *splice.Answer) string {
	t.Helper()
	text, err := io.ReadAll(answer.Reader())
	require.NoError(t, err)
	var whole struct {
		Status string          `json:"status"`
		Data   json.RawMessage `json:"data"`
	}
	require.NoError(t, json.Unmarshal(text, &whole), "%s", text)
	require.Equal(t, "success", whole.Status)
	return string(whole.Data)
}

// maker makes answers of few labels and values, so that many are equal.
type maker struct{ *rand.Rand }

func (m maker) pick(texts ...string) string { return texts[m.IntN(len(texts))] }

func (m maker) list(most int, element func() string) string {
	var list []string
	for range m.IntN(most + 1) {
		list = append(list, element())
	}
	return "[" + strings.Join(list, ",") + "]"
}

// labels writes labels in any order. All values are of the same length: 0.1.0
// put shorter values behind longer ones that they begin, which Prometheus does
// not.
func (m maker) labels() string {
	names := []string{`"__name__"`, `"a"`, `"cluster"`, `"job"`, `"z\"z"`, `"\u00e9"`}
	m.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	var members []string
	for _, name := range names[:m.IntN(len(names)+1)] {
		members = append(members, name+m.pick(":", " : ")+m.pick(`"x"`, `"y"`, `"<"`, `"\\"`, `"\""`, `"\u0026"`))
	}
	return "{" + strings.Join(members, m.pick(",", " ,\n")) + "}"
}

func (m maker) data(endpoint promapi.Endpoint) string {
	switch endpoint {
	case promapi.Series:
		return m.list(12, m.labels)
	case promapi.QueryExemplars:
		seen := map[string]bool{}
		var list []string
		for range m.IntN(8) {
			labels := m.labels()
			var decoded map[string]string
			_ = json.Unmarshal([]byte(labels), &decoded)
			delete(decoded, "cluster") // It is injected, and no server has a series twice.
			if key := fmt.Sprint(decoded); !seen[key] {
				seen[key] = true
				list = append(list, `{"seriesLabels":`+labels+`,"exemplars":`+m.list(5, func() string {
					return `{"labels":{"trace":"` + m.pick("1", "2", "3") + `"},` +
						m.pick(`"timestamp":1.5,"value":"1"}`, `"value":"1","timestamp":1.500}`, `"value":1.0,"timestamp":1.5}`, `"value":"2","timestamp":0.5}`, `"value":"7"}`)
				})+"}")
			}
		}
		return "[" + strings.Join(list, ",") + "]"
	case promapi.Metadata:
		var members []string
		for _, name := range []string{"up", "a_total", "b", "c"} {
			if m.IntN(3) > 0 {
				entries := []string{m.pick(`{"type":"gauge","help":"1"}`, `{"help":"1","type":"gauge"}`), `{"type":"gauge","help":"2"}`, `{"type":"\u0067auge","help":"3"}`}
				m.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
				members = append(members, `"`+name+`":[`+strings.Join(entries[:1+m.IntN(len(entries))], ",")+"]")
			}
		}
		return "{" + strings.Join(members, ",") + "}"
	case promapi.Rules:
		return `{"groups":` + m.list(5, func() string {
			return `{"name":"` + m.pick("g", "h") + `","tier":"other","interval":60,"rules":` + m.list(2, func() string {
				return m.pick(`{"type":"alerting","name":"A","query":"up","state":"firing"}`, `{"query":"up","name":"B","type":"recording"}`)
			}) + `}`
		}) + `}`
	case promapi.Alerts:
		return `{"alerts":` + m.list(5, func() string {
			return `{"state":"firing","labels":` + m.labels() + `,"value":"1"}`
		}) + `}`
	default:
		return m.list(8, func() string { return m.pick(`"a"`, `"b"`, `"\u00e9"`, `"é"`, `"<"`, `"x y"`) })
	}
}

// TestUnite_SaysWhatDecodedUnionsSaid compares unions of bytes with those of
// decoded values.
func TestUnite_SaysWhatDecodedUnionsSaid(t *testing.T) {
	for _, endpoint := range []promapi.Endpoint{
		promapi.Labels, promapi.LabelValues, promapi.Series, promapi.QueryExemplars, promapi.Metadata, promapi.Rules, promapi.Alerts,
	} {
		t.Run(string(endpoint), func(t *testing.T) {
			m := maker{rand.New(rand.NewPCG(1, 2))}
			for range race.Size(2000, 300) {
				hot, cold, limit := m.data(endpoint), m.data(endpoint), m.IntN(6)
				var injected map[string]string
				if m.IntN(2) == 0 && endpoint != promapi.LabelValues && endpoint != promapi.Metadata && endpoint != promapi.Rules {
					injected = map[string]string{"cluster": "y", "replica": m.pick("0", `"`)}
				}
				expected, truncated := reference(t, endpoint, hot, cold, injected, limit)
				answer, err := unite(endpoint, hot, cold, injected, limit, unbounded)
				require.NoError(t, err, "%s and %s", hot, cold)
				require.JSONEq(t, string(expected), dataOf(t, answer), "%s and %s with %v", hot, cold, injected)
				require.Equal(t, truncated, answer.Truncated)
			}
		})
	}
}

func TestUniteSeries_OrderIsThatOfPrometheus(t *testing.T) {
	answer, err := unite(promapi.Series, `[{"a":"xy"},{"b":"1"}]`, `[{"a":"x","b":"1"},{"a":"x"},{}]`, nil, 0, unbounded)
	require.NoError(t, err)
	require.Equal(t, `[{},{"a":"x"},{"a":"x","b":"1"},{"a":"xy"},{"b":"1"}]`, dataOf(t, answer))
}

func TestUnite_InjectedLabelsStandInTheirPlace(t *testing.T) {
	injected := map[string]string{"cluster": "lab", "zone": "1"}
	answer, err := unite(promapi.Series, `[{"a":"1","z":"2"}, { "cluster" : "own", "job":"x"},{}]`, `null`, injected, 0, unbounded)
	require.NoError(t, err)
	require.Equal(t, `[{"a":"1","cluster":"lab","z":"2","zone":"1"},{"cluster":"lab","job":"x","zone":"1"},{"cluster":"lab","zone":"1"}]`, dataOf(t, answer))
	answer, err = unite(promapi.Alerts, `{"alerts":[{"labels":{"cluster":"own"}},{"labels":null}]}`, `{"alerts":[{"labels":{"cluster":"lab","zone":"1"}}]}`, injected, 0, unbounded)
	require.NoError(t, err)
	require.Equal(t, `{"alerts":[{"labels":{"cluster":"own","zone":"1"},"tier":"hot"},{"labels":{"cluster":"lab","zone":"1"},"tier":"hot,cold"}]}`, dataOf(t, answer))
}

func TestUnite_WhatHasAnotherFormIsAnErrorOfItsTier(t *testing.T) {
	for _, endpoint := range []promapi.Endpoint{
		promapi.Labels, promapi.Series, promapi.QueryExemplars, promapi.Metadata, promapi.Rules, promapi.Alerts,
	} {
		for _, data := range []string{`1`, `"a"`, `[1]`, `{"a":1}`, `[[]]`, `{"groups":1}`, `{"alerts":[1]}`, `[{"seriesLabels":[]}]`, `[{"a":{}}]`} {
			_, err := unite(endpoint, `null`, data, nil, 0, unbounded)
			if err == nil {
				continue // It has the form that another endpoint must not have.
			}
			failed, is := errors.AsType[*splice.SourceError](err)
			require.True(t, is, "%s: %s: %v", endpoint, data, err)
			require.Equal(t, "cold", failed.Tier)
			require.ErrorIs(t, err, splice.ErrNoMatrix)
		}
	}
	_, err := unite(promapi.Series, `[1]`, `[]`, nil, 0, unbounded)
	require.ErrorIs(t, err, splice.ErrNoMatrix)
	_, err = unite(promapi.Series, `[{`+strings.Repeat(`"a":"",`, 20_000)+`"b":""}]`, `[]`, nil, 0, unbounded)
	require.ErrorIs(t, err, splice.ErrNoMatrix, "no series has so many labels")
}

func TestParseEnvelope_OnlyASuccessIsOne(t *testing.T) {
	envelope, err := splice.ParseEnvelope([]byte(` {"status":"success","data":[1, 2],"warnings":["w"],"infos":null,"more":{}} `), unbounded)
	require.NoError(t, err)
	require.Equal(t, `[1, 2]`, string(envelope.Data))
	require.Equal(t, []string{"w"}, envelope.Warnings)
	for _, text := range []string{``, `null`, `[]`, `{`, `{}`, `{"status":"error"}`, `{"status":"success"}x`, `{"status":"success","warnings":1}`, `<html>`, "{\"status\":\"success\",\"data\":\"\x01\"}"} {
		t.Run(text, func(t *testing.T) {
			_, err := splice.ParseEnvelope([]byte(text), unbounded)
			require.ErrorIs(t, err, splice.ErrNoMatrix, text)
		})
	}
}

func TestLimitResult_CutsAsBefore(t *testing.T) {
	for _, data := range []string{
		`{"resultType":"vector","result":[{"metric":{}},{"metric":{"a":"]"}} , {}],"analysis":{}}`, `{"result":[[1],[2]],"resultType":"matrix"}`,
		`{"resultType":"scalar","result":[1,"1"]}`, `{"resultType":"vector","result":[]}`, `{"resultType":"vector","result":null}`,
	} {
		t.Run(data, func(t *testing.T) {
			for limit := 1; limit < 4; limit++ {
				expected, truncated, err := referenceLimitResult(json.RawMessage(data), limit)
				require.NoError(t, err)
				answer, err := splice.LimitResult(&splice.Envelope{Data: []byte(data)}, limit)
				require.NoError(t, err)
				require.JSONEq(t, string(expected), dataOf(t, answer))
				require.Equal(t, truncated, answer.Truncated)
			}
		})
	}
	for _, data := range []string{``, `null`, `[]`, `{}`, `{"resultType":1}`} {
		t.Run(data, func(t *testing.T) {
			_, err := splice.LimitResult(&splice.Envelope{Data: []byte(data)}, 1)
			require.ErrorIs(t, err, splice.ErrNoMatrix, data)
		})
	}
}

func TestCountSamples_OfEachKindOfAnswer(t *testing.T) {
	for data, count := range map[string]int64{
		`{"resultType":"vector","result":[{"value":[1,"1"]},{"histogram":[1,{}]}]}`:                             2,
		`{"resultType":"matrix","result":[{"values":[[1,"1"],[2,"2"]]},{"histograms":[[1,{}]],"values":null}]}`: 3,
		`{"resultType":"scalar","result":[1,"1"]}`:                                                              1,
		`["a","b"]`: 0,
	} {
		t.Run(data, func(t *testing.T) {
			require.Equal(t, count, splice.CountSamples([]byte(data)), data)
		})
	}
}

func BenchmarkUnite(b *testing.B) {
	for _, endpoint := range []promapi.Endpoint{promapi.Series, promapi.QueryExemplars, promapi.Rules, promapi.Alerts} {
		for _, n := range []int{1000, 10_000} {
			hot, cold := large(endpoint, "a", n), large(endpoint, "b", n)
			b.Run(fmt.Sprintf("%s/%d", endpoint, n), func(b *testing.B) {
				b.SetBytes(int64(len(hot) + len(cold)))
				b.ReportAllocs()
				for b.Loop() {
					answer, err := unite(endpoint, hot, cold, map[string]string{"cluster": "lab"}, 0, unbounded)
					require.NoError(b, err)
					_, _ = io.Copy(io.Discard, answer.Reader())
				}
			})
			b.Run(fmt.Sprintf("%s/%d decoded", endpoint, n), func(b *testing.B) {
				if endpoint == promapi.Rules || endpoint == promapi.Alerts {
					b.Skip("the reference is of other endpoints")
				}
				b.SetBytes(int64(len(hot) + len(cold)))
				b.ReportAllocs()
				for b.Loop() {
					labelled, err := referenceAddLabels(endpoint, json.RawMessage(hot), map[string]string{"cluster": "lab"})
					require.NoError(b, err)
					_, _, err = referenceUnite(endpoint, labelled, json.RawMessage(cold), 0)
					require.NoError(b, err)
				}
			})
		}
	}
}
