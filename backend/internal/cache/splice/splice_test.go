package splice

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	jsoniter "github.com/json-iterator/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"
)

func answer(result string) []byte {
	return []byte(`{"status":"success","data":{"resultType":"matrix","result":[` + result + `]}}`)
}

func splice(t testing.TB, limit int, pieces ...[]byte) string {
	t.Helper()
	var parsed []*Matrix
	for _, piece := range pieces {
		matrix, err := Parse(piece, nil)
		require.NoError(t, err)
		parsed = append(parsed, matrix)
	}
	joined := Join(parsed, limit)
	text, err := io.ReadAll(joined.Reader())
	require.NoError(t, err)
	require.EqualValues(t, joined.Size(), len(text))
	return string(text)
}

func TestSplice_JoinsPieces(t *testing.T) {
	for name, test := range map[string]struct {
		pieces   []string
		limit    int
		expected string
	}{
		"nothing":          {pieces: []string{``, ``}, expected: ``},
		"in one only":      {pieces: []string{`{"metric":{"a":"1"},"values":[[1,"1"]]}`, ``}, expected: `{"metric":{"a":"1"},"values":[[1,"1"]]}`},
		"joined":           {pieces: []string{`{"metric":{"a":"1"},"values":[[1,"1"],[2,"2"]]}`, `{"metric":{"a":"1"},"values":[[3,"NaN"]]}`}, expected: `{"metric":{"a":"1"},"values":[[1,"1"],[2,"2"],[3,"NaN"]]}`},
		"three":            {pieces: []string{`{"metric":{},"values":[[1,"1"]]}`, ``, `{"metric":{},"values":[[3,"3"]]}`}, expected: `{"metric":{},"values":[[1,"1"],[3,"3"]]}`},
		"sorted by labels": {pieces: []string{`{"metric":{"a":"x!"},"values":[[1,"1"]]}`, `{"metric":{"a":"x"},"values":[[2,"1"]]},{"metric":{"a":"x","b":""},"values":[[2,"1"]]}`}, expected: `{"metric":{"a":"x"},"values":[[2,"1"]]},{"metric":{"a":"x","b":""},"values":[[2,"1"]]},{"metric":{"a":"x!"},"values":[[1,"1"]]}`},
		"order of labels":  {pieces: []string{`{"metric":{"b":"2","a":"1"},"values":[[1,"1"]]}`, `{"metric":{"a":"1","b":"2"},"values":[[2,"2"]]}`}, expected: `{"metric":{"b":"2","a":"1"},"values":[[1,"1"],[2,"2"]]}`},
		"order of series":  {pieces: []string{`{"metric":{"a":"2"},"values":[[1,"1"]]},{"metric":{"a":"1"},"values":[[1,"1"]]}`, ``}, expected: `{"metric":{"a":"1"},"values":[[1,"1"]]},{"metric":{"a":"2"},"values":[[1,"1"]]}`},
		"escapes":          {pieces: []string{`{"metric":{"a":"\u003c\"]}"},"values":[[1,"1"]]}`, `{"metric":{"a":"<\"]}"},"values":[[2,"2"]]}`}, expected: `{"metric":{"a":"\u003c\"]}"},"values":[[1,"1"],[2,"2"]]}`},
		"structure in a label": {
			pieces:   []string{`{"metric":{"a":"],\"values\":[[9,\"9\"]]}\\"},"values":[[1,"1"]]}`, `{"metric":{"a":"],\"values\":[[9,\"9\"]]}\\"},"values":[[2,"2"]]}`},
			expected: `{"metric":{"a":"],\"values\":[[9,\"9\"]]}\\"},"values":[[1,"1"],[2,"2"]]}`,
		},
		"histograms": {
			pieces: []string{
				`{"metric":{"a":"1"},"values":[[1,"1"]],"histograms":[[2,{"count":"1","sum":"2","buckets":[[0,"1","2","1"]]}]]}`,
				`{"metric":{"a":"1"},"histograms":[[3,{"count":"1","sum":"2"}]]}`,
			},
			expected: `{"metric":{"a":"1"},"values":[[1,"1"]],"histograms":[[2,{"count":"1","sum":"2","buckets":[[0,"1","2","1"]]}],[3,{"count":"1","sum":"2"}]]}`,
		},
		"floats after histograms": {
			pieces:   []string{`{"metric":{"a":"1"},"histograms":[[2,{"count":"1","sum":"2"}]]}`, `{"metric":{"a":"1"},"values":[[3,"1"]]}`},
			expected: `{"metric":{"a":"1"},"values":[[3,"1"]],"histograms":[[2,{"count":"1","sum":"2"}]]}`,
		},
		"white space": {pieces: []string{" { \"metric\" : { \"a\" : \"1\" } , \"values\" : [ [ 1 , \"1\" ] , [ 2 , \"2\" ] ] } ", `{"metric":{"a":"1"},"values":[[3,"3"]]}`}, expected: `{"metric":{ "a" : "1" },"values":[[ 1 , "1" ] , [ 2 , "2" ],[3,"3"]]}`},
	} {
		t.Run(name, func(t *testing.T) {
			var pieces [][]byte
			for _, piece := range test.pieces {
				pieces = append(pieces, answer(piece))
			}
			require.Equal(t, string(answer(test.expected)), splice(t, test.limit, pieces...))
		})
	}
}

func TestSplice_LabelsThatOnlyLookEqual(t *testing.T) {
	// A zero byte within a value must not be taken for the end of one.
	text := splice(t, 0, answer(`{"metric":{"a":"1\u0000\u0001b\u0000\u00012"},"values":[[1,"1"]]}`), answer(`{"metric":{"a":"1","b":"2"},"values":[[2,"2"]]}`))
	require.Equal(t, 2, strings.Count(text, `"metric"`))
}

func TestSplice_KeepsAnnotations(t *testing.T) {
	one := []byte(`{"status":"success","data":{"analysis":{"x":[1,{}]},"result":[{"metric":{"a":"1"},"values":[[1,"1"]]},{"metric":{"a":"2"},"values":[[1,"1"]]}],"stats":{"timings":{}},"resultType":"matrix"},"infos":["i"],"warnings":["w","v"]}`)
	other := []byte(`{"warnings":["v","x"],"infos":null,"status":"success","data":{"resultType":"matrix","result":null}}`)
	require.JSONEq(t, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"1"},"values":[[1,"1"]]},{"metric":{"a":"2"},"values":[[1,"1"]]}]},"warnings":["w","v","x"],"infos":["i"]}`,
		splice(t, 0, one, other))
	require.JSONEq(t, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"1"},"values":[[1,"1"]]}]},"warnings":["w","v","x","results truncated due to limit"],"infos":["i"]}`,
		splice(t, 1, one, other), "the limit counts series after they are joined")
	require.NotContains(t, splice(t, 2, one, other), "truncated")
}

func TestSplice_RefusesOtherAnswers(t *testing.T) {
	for name, text := range map[string]string{
		"error":                 `{"status":"error","errorType":"execution","error":"no"}`,
		"vector":                `{"status":"success","data":{"resultType":"vector","result":[]}}`,
		"no result":             `{"status":"success","data":{"resultType":"matrix"}}`,
		"page":                  `<html>`,
		"nothing":               ``,
		"cut off":               `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"1"},"values":[[1,"1"]`,
		"more":                  `{"status":"success","data":{"resultType":"matrix","result":[]}}{}`,
		"series twice":          string(answer(`{"metric":{"a":"1","b":"2"},"values":[[1,"1"]]},{"metric":{"b":"2","a":"1"},"values":[[1,"1"]]}`)),
		"other member":          string(answer(`{"metric":{"a":"1"},"values":[[1,"1"]],"exemplars":[]}`)),
		"labels twice":          string(answer(`{"metric":{"a":"1"},"metric":{},"values":[[1,"1"]]}`)),
		"no labels":             string(answer(`{"values":[[1,"1"]]}`)),
		"a string that is open": string(answer(`{"metric":{"a":"1\"},"values":[]}`)),
		"deep":                  string(answer(`{"metric":{"a":"1"},"histograms":[[1,{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}]]}`)),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(text), nil)
			require.ErrorIs(t, err, ErrNoMatrix, name)
		})
	}
}

func TestWindow_CutsAnAnswer(t *testing.T) {
	const histogram = `{"count":"1","sum":"2","buckets":[[0,"1","2","1"],[1,"2","3","4"]]}`
	text := answer(`{"metric":{"a":"1"},"values":[[10,"1"],[20,"2"],[30.000,"3"]],"histograms":[[40,` + histogram + `],[50.5,` + histogram + `]]},{"metric":{"a":"2"},"values":[[10,"1"]]}`)
	for _, test := range []struct {
		from, to, step int64
		expected       string
	}{
		{10_000, 40_000, 10_000, `{"metric":{"a":"1"},"values":[[10,"1"],[20,"2"],[30.000,"3"]],"histograms":[[40,` + histogram + `]]},{"metric":{"a":"2"},"values":[[10,"1"]]}`},
		{20_000, 30_000, 10_000, `{"metric":{"a":"1"},"values":[[20,"2"],[30.000,"3"]]}`},
		{15_000, 19_000, 1000, ``},
		{20_000, 25_000, 5000, `{"metric":{"a":"1"},"values":[[20,"2"]]}`},
		{35_000, 49_000, 5000, `{"metric":{"a":"1"},"histograms":[[40,` + histogram + `]]}`},
		{50_500, 60_000, 10_000, `{"metric":{"a":"1"},"histograms":[[50.5,` + histogram + `]]}`},
		{60_000, 90_000, 10_000, ``},
		{0, 9000, 10_000, ``},
	} {
		matrix, err := Parse(text, nil)
		require.NoError(t, err)
		require.NoError(t, matrix.Window(test.from, test.to, test.step), "%+v", test)
		joined, err := io.ReadAll(Join([]*Matrix{matrix}, 0).Reader())
		require.NoError(t, err)
		require.Equal(t, string(answer(test.expected)), string(joined), "%+v", test)
	}
	for _, moved := range [][3]int64{{9000, 50_000, 10_000}, {10_000, 30_000, 15_000}, {10_000, 50_500, 10_000}} {
		matrix, err := Parse(text, nil)
		require.NoError(t, err)
		require.ErrorIs(t, matrix.Window(moved[0], moved[1], moved[2]), ErrNoMatrix, "steps that the server has moved: %v", moved)
	}
}

func TestMilliseconds_ReadsTimestamps(t *testing.T) {
	for text, expected := range map[string]int64{
		"0": 0, "1": 1000, "1.5": 1500, "1435781451.781": 1435781451781, "-1.25": -1250, "1e3": 1_000_000, "1.4357814517810e9": 1435781451781, "1.0004": 1000, "12.34": 12340,
	} {
		t.Run(text, func(t *testing.T) {
			got, err := milliseconds([]byte(text))
			require.NoError(t, err, text)
			require.Equal(t, expected, got, text)
		})
	}
	for _, text := range []string{"", "-", "1-2", ".", "1e400", "--1"} {
		t.Run(text, func(t *testing.T) {
			_, err := milliseconds([]byte(text))
			require.Error(t, err, text)
		})
	}
}

// reference decodes, merges and encodes, as other gateways do.
func reference(pieces [][]byte) (model.Matrix, error) {
	merged := map[string]*model.SampleStream{}
	for _, piece := range pieces {
		var decoded struct {
			Data struct{ Result model.Matrix }
		}
		if err := jsoniter.Unmarshal(piece, &decoded); err != nil {
			return nil, err
		}
		for _, stream := range decoded.Data.Result {
			name := canonical(stream.Metric)
			if found := merged[name]; found != nil {
				found.Values = append(found.Values, stream.Values...)
				found.Histograms = append(found.Histograms, stream.Histograms...)
			} else {
				merged[name] = stream
			}
		}
	}
	result := make(model.Matrix, 0, len(merged))
	for _, stream := range merged {
		result = append(result, stream)
	}
	slices.SortFunc(result, func(a, b *model.SampleStream) int { return labels.Compare(labelsOf(a.Metric), labelsOf(b.Metric)) })
	return result, nil
}

func canonical(metric model.Metric) string {
	text, _ := json.Marshal(metric) // Go sorts the names.
	return string(text)
}

func labelsOf(metric model.Metric) labels.Labels {
	set := map[string]string{}
	for name, value := range metric {
		set[string(name)] = string(value)
	}
	return labels.FromMap(set)
}

// made is a random answer of n series with so many samples from a step on.
func made(random *rand.Rand, count, samples, from int, odd bool) []byte {
	var text bytes.Buffer
	text.WriteString(`{"status":"success","data":{"resultType":"matrix","result":[`)
	names := random.Perm(count)
	if !odd {
		slices.Sort(names)
	}
	first := true
	for _, i := range names {
		if odd && random.Intn(3) == 0 {
			continue
		}
		if !first {
			text.WriteByte(',')
		}
		first = false
		metric := map[string]string{"__name__": "http_requests_total", "instance": fmt.Sprintf("10.0.%d.%d:9100", i/250, i%250), "job": "node"}
		if odd {
			metric["odd"] = []string{"", "<&>", "\"]}", "\\", "ü", "\u2028", "\x00", "a\x00b", "\t"}[i%9]
			if i%2 == 0 {
				delete(metric, "job")
			}
		}
		encoded, _ := json.Marshal(metric)
		if odd && random.Intn(2) == 0 {
			// Others escape other characters.
			var plain bytes.Buffer
			encoder := json.NewEncoder(&plain)
			encoder.SetEscapeHTML(false)
			_ = encoder.Encode(metric)
			encoded = bytes.TrimSpace(plain.Bytes())
		}
		fmt.Fprintf(&text, `{"metric":%s,"values":[`, encoded)
		for step := range samples {
			if step > 0 {
				text.WriteByte(',')
			}
			value := cmp.Or(math.Trunc(random.NormFloat64()*1e6)/1000, 0)
			fmt.Fprintf(&text, `[%d.%03d,"%v"]`, 1_700_000_000+(from+step)*15, 250, value)
		}
		text.WriteString(`]}`)
	}
	text.WriteString(`]}}`)
	return text.Bytes()
}

func TestSplice_EqualsDecodeAndMerge(t *testing.T) {
	for seed := range int64(200) {
		random := rand.New(rand.NewSource(seed))
		var pieces [][]byte
		for piece := range 1 + random.Intn(4) {
			pieces = append(pieces, made(random, 1+random.Intn(30), 1+random.Intn(5), piece*5, true))
		}
		requireEqualReference(t, pieces)
	}
}

func requireEqualReference(t *testing.T, pieces [][]byte) {
	t.Helper()
	expected, err := reference(pieces)
	require.NoError(t, err)
	var got struct {
		Data struct{ Result model.Matrix }
	}
	text := splice(t, 0, pieces...)
	require.NoError(t, json.Unmarshal([]byte(text), &got), "it is JSON: %s", text)
	require.Equal(t, len(expected), len(got.Data.Result))
	for i := range expected {
		require.Equal(t, expected[i].String(), got.Data.Result[i].String(), "series %d in the order of Prometheus", i)
	}
}

// FuzzSplice cuts an answer in two. It compares the halves, joined again and joined
// with others, with the reference.
func FuzzSplice(f *testing.F) {
	random := rand.New(rand.NewSource(1))
	f.Add(made(random, 3, 4, 0, true), made(random, 3, 4, 4, true), int64(1_700_000_015_250))
	f.Add(answer(`{"metric":{"a":"],\"values\":[[9,\"9\"]]}\\"},"values":[[1,"1"]],"histograms":[[2,{"count":"1","sum":"2","buckets":[[0,"1","2","1"]]}]]}`), answer(`{"metric":{},"values":[]}`), int64(1500))
	f.Add([]byte(`{"data":{"result":null,"resultType":"matrix"},"status":"success","warnings":null}`), answer(``), int64(0))
	f.Fuzz(func(t *testing.T, one, other []byte, at int64) {
		first, err := Parse(one, nil)
		if err != nil {
			require.ErrorIs(t, err, ErrNoMatrix)
			return
		}
		second, err := Parse(other, nil)
		if err != nil {
			return
		}
		if !utf8.Valid(one) || !utf8.Valid(other) {
			return // That is no JSON: some decoders keep the bytes, others replace them.
		}
		pieces := [][]byte{one, other}
		expected, err := reference(pieces)
		if err != nil {
			return // Accepted here, and refused by others: see below.
		}
		text, err := io.ReadAll(Join([]*Matrix{first, second}, 0).Reader())
		require.NoError(t, err)
		var got struct {
			Data struct{ Result model.Matrix }
		}
		if json.Unmarshal(text, &got) != nil {
			t.Fatalf("what others can read has become unreadable: %s", text)
		}
		require.Equal(t, len(expected), len(got.Data.Result))
		for i := range expected {
			require.Equal(t, expected[i].String(), got.Data.Result[i].String())
		}
		// Cut in two and joined again it is the same.
		before, err := Parse(one, nil)
		require.NoError(t, err)
		after, err := Parse(one, nil)
		require.NoError(t, err)
		if before.Window(math.MinInt64/4, at, 1) != nil || after.Window(at+1, math.MaxInt64/4, 1) != nil {
			return
		}
		whole, err := Parse(one, nil)
		require.NoError(t, err)
		if whole.Window(math.MinInt64/4, math.MaxInt64/4, 1) != nil {
			return
		}
		require.Equal(t, whole.Samples(), before.Samples()+after.Samples())
	})
}

func benchmarkPieces(megabytes int) [][]byte {
	const samples = 1000
	random := rand.New(rand.NewSource(1))
	count := megabytes * 1_000_000 / (samples * 26)
	return [][]byte{made(random, count, samples-50, 0, false), made(random, count, 50, samples-50, false)}
}

func BenchmarkSplice(b *testing.B) {
	for _, megabytes := range []int{1, 20, 100} {
		pieces := benchmarkPieces(megabytes)
		size := int64(len(pieces[0]) + len(pieces[1]))
		b.Run(fmt.Sprintf("splice-%dMB", megabytes), func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				var parsed []*Matrix
				for _, piece := range pieces {
					matrix, err := Parse(piece, nil)
					require.NoError(b, err)
					require.NoError(b, matrix.Window(1_700_000_000_250, 1_800_000_000_250, 15_000))
					parsed = append(parsed, matrix)
				}
				_, err := io.Copy(io.Discard, Join(parsed, 0).Reader())
				require.NoError(b, err)
			}
		})
		b.Run(fmt.Sprintf("jsoniter-%dMB", megabytes), func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				merged, err := reference(pieces)
				require.NoError(b, err)
				require.NoError(b, jsoniter.NewEncoder(io.Discard).Encode(merged))
			}
		})
	}
}
