package splice_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/cache/splice"
)

const cutWarning = "results truncated"

// streamed reads a stream in pieces that hardly fit to anything, and closes it.
func streamed(t *testing.T, stream *splice.Stream) (string, error) {
	t.Helper()
	defer func() { require.NoError(t, stream.Close()) }()
	text, err := io.ReadAll(iotest.OneByteReader(stream))
	return string(text), err
}

func TestLimited_CutsAsBefore(t *testing.T) {
	for _, data := range []string{
		`{"resultType":"vector","result":[{"metric":{}},{"metric":{"a":"]\""}} , {}],"analysis":{"a":[1, {"b":null}]}}`,
		`{"result":[{"a":1},{"b":-1.5e3}],"resultType":"matrix"}`, `{"resultType":"scalar","result":[1,"1"]}`,
		`{"resultType":"vector","result":[]}`, `{"resultType":"vector","result":null}`,
	} {
		for limit := 1; limit < 4; limit++ {
			t.Run(fmt.Sprint(data, limit), func(t *testing.T) {
				expected, isCut, err := referenceLimitResult(json.RawMessage(data), limit)
				require.NoError(t, err)
				warnings := `"a","the answer says of itself that it is partial (isPartial): what some servers of the tier hold may be missing"`
				if isCut {
					warnings += `,"` + cutWarning + `"`
				}
				answer := ` {"status" : "success" ,"warnings":["a"],"data":` + data + `,"infos":["b"],"isPartial": true } `
				text, err := streamed(t, splice.Limited(iotest.OneByteReader(strings.NewReader(answer)), limit, cutWarning))
				require.NoError(t, err)
				require.JSONEq(t, fmt.Sprintf(`{"status":"success","data":%s,"warnings":[%s],"infos":["b"],"isPartial":true}`, expected, warnings), text)
			})
		}
	}
}

// What comes in at once is followed eight bytes at a time: no end of a value may be missed, whichever
// of them it is.
func TestLimited_CutsAtAnyByte(t *testing.T) {
	for length := range 16 {
		series := `{"metric":{"a":"` + strings.Repeat("ü", length) + `\"]}"},"value":[1,"` + strings.Repeat("1", length) + `"]}`
		for limit := 1; limit < 4; limit++ {
			answer := func(count int) string {
				return `{"status":"success","data":{"result":[` + strings.Repeat(series+",", count-1) + series + `]}`
			}
			text, err := streamed(t, splice.Limited(strings.NewReader(answer(5)+`}`), limit, cutWarning))
			require.NoError(t, err)
			require.Equal(t, answer(limit)+`,"warnings":["`+cutWarning+`"]}`, text)
		}
	}
}

func TestLimited_OfWhatIsNoAnswerFails(t *testing.T) {
	const whole = `{"status":"success","data":{"resultType":"vector","result":[{"metric":{}},{"metric":{}}]}}`
	for end := range len(whole) {
		_, err := streamed(t, splice.Limited(strings.NewReader(whole[:end]), 1, cutWarning))
		require.Error(t, err, whole[:end])
	}
	for _, text := range []string{`[]`, `{"data":[]}`, whole + "x", `{"data":{"result":[,]}}`, `{"data":{"result":[1}}`, `{1:2}`} {
		_, err := streamed(t, splice.Limited(strings.NewReader(text), 1, cutWarning))
		require.ErrorIs(t, err, splice.ErrNoMatrix, text)
	}
}

func of(tier, data string, injected map[string]string) splice.StreamedSource {
	return splice.StreamedSource{Tier: tier, Body: iotest.OneByteReader(strings.NewReader(`{"status":"success","data":` + data + `,"warnings":["` + tier + `"]}`)), Injected: injected}
}

func TestStreamSeries_EqualsTheUnionInMemory(t *testing.T) {
	lab := map[string]string{"cluster": "lab"}
	full := func(int64) error { return errors.New("full") }
	for name, test := range map[string]struct {
		hot, cold, expected string
		limit               int
		acquire             splice.Acquire
		warning             string
	}{
		"both":        {`[{"a":"1"},{"a":"2"}]`, `[{"cluster":"lab","a":"2"},{"a":"3"}]`, `[{"a":"1","cluster":"lab"},{"a":"2","cluster":"lab"},{"a":"3"}]`, 0, unbounded, ""},
		"escaped":     {`[{"a":"\u0031"}]`, `[{"a":"1","cluster":"l\u0061b"}]`, `[{"a":"\u0031","cluster":"lab"}]`, 0, unbounded, ""},
		"of cold":     {`[]`, ` [ {} ] `, `[{}]`, 0, unbounded, ""},
		"of hot":      {`[{}]`, `null`, `[{"cluster":"lab"}]`, 0, unbounded, ""},
		"of none":     {`null`, `[]`, `[]`, 0, unbounded, ""},
		"a limit":     {`[{"a":"1"}]`, `[{"a":"2"}]`, `[{"a":"1","cluster":"lab"}]`, 1, unbounded, cutWarning},
		"twice":       {`[{"a":"1"},{"a":"1"}]`, `[]`, `[{"a":"1","cluster":"lab"}]`, 1, unbounded, ""},
		"no memory":   {`[{"a":"1"}]`, `[{"a":"1","cluster":"lab"}]`, `[{"a":"1","cluster":"lab"},{"a":"1","cluster":"lab"}]`, 0, full, "there are too many series to compare the tiers: some may be listed twice"},
		"hot failed":  {`[{"a":"1"}x`, `[{"a":"2"}]`, `[{"a":"1","cluster":"lab"},{"a":"2"}]`, 0, unbounded, "the hot tier failed: what only that one holds is missing"},
		"cold failed": {`[{"a":"1"}]`, `[{"a":"2"},3]`, `[{"a":"1","cluster":"lab"},{"a":"2"}]`, 0, unbounded, "the cold tier failed: what only that one holds is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := streamed(t, splice.StreamSeries([]splice.StreamedSource{of("hot", test.hot, lab), of("cold", test.cold, nil)}, test.limit, cutWarning, test.acquire))
			require.NoError(t, err)
			requireUnion(t, test.expected, test.warning, text)
		})
	}
}

// requireUnion compares a union, whose warnings may be those of the tiers.
func requireUnion(t *testing.T, data, warning, text string) {
	t.Helper()
	var answer struct {
		Data     json.RawMessage `json:"data"`
		Warnings []string        `json:"warnings"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &answer), text)
	require.JSONEq(t, data, string(answer.Data))
	var own []string
	for _, each := range answer.Warnings {
		if each != "hot" && each != "cold" {
			own = append(own, each)
		}
	}
	require.Equal(t, warning, strings.Join(own, "; "))
}

func TestStreamTexts_EqualsTheUnionInMemory(t *testing.T) {
	for name, test := range map[string]struct {
		hot, cold, expected string
		limit               int
		warning             string
	}{
		"both":       {`["a","c"]`, `["a","b","d"]`, `["a","b","c","cluster","d"]`, 0, ""},
		"empty text": {`["",  "a"]`, `[""]`, `["","a","cluster"]`, 0, ""},
		"escaped":    {`["a\"\u0062"]`, `["a\"b","z\\"]`, `["a\"b","cluster","z\\"]`, 0, ""},
		"of cold":    {`[]`, `["x"]`, `["x"]`, 0, ""},
		"of hot":     {`["cluster","x"]`, `null`, `["cluster","x"]`, 0, ""},
		"of none":    {`[]`, `[]`, `[]`, 0, ""},
		"a limit":    {`["a","c"]`, `["b"]`, `["a","b"]`, 2, cutWarning},
		"unsorted":   {`["a"]`, `["b","a"]`, `["a","b","a","cluster"]`, 0, "a list of a tier is not sorted: some may be listed twice"},
		"failed":     {`["a",1]`, `["b"]`, `["a","b","cluster"]`, 0, "the hot tier failed: what only that one holds is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := streamed(t, splice.StreamTexts([]splice.StreamedSource{of("hot", test.hot, map[string]string{"cluster": "lab"}), of("cold", test.cold, nil)}, test.limit, cutWarning))
			require.NoError(t, err)
			requireUnion(t, test.expected, test.warning, text)
		})
	}
}

func TestStream_FailsIfAllSourcesDo(t *testing.T) {
	broken := func() []splice.StreamedSource {
		return []splice.StreamedSource{{Tier: "hot", Body: iotest.ErrReader(io.ErrNoProgress)}, of("cold", `{}`, nil)}
	}
	for _, stream := range []*splice.Stream{splice.StreamTexts(broken(), 0, cutWarning), splice.StreamSeries(broken(), 0, cutWarning, unbounded)} {
		_, err := streamed(t, stream)
		require.ErrorIs(t, err, io.ErrNoProgress)
		require.ErrorIs(t, err, splice.ErrNoMatrix)
	}
}

// What is no longer read does not go on, and leaves nothing behind.
func TestStream_ClosedInBetweenEnds(t *testing.T) {
	long := `["` + strings.Repeat(`a","`, 100_000) + `z"]`
	stream := splice.StreamTexts([]splice.StreamedSource{of("hot", long, nil), of("cold", long, nil)}, 0, cutWarning)
	_, err := stream.Read(make([]byte, 10))
	require.NoError(t, err)
	require.NoError(t, stream.Close())
	require.NoError(t, stream.Close())
}

// BenchmarkStream joins answers of 100,000 elements each, of which both have a half.
func BenchmarkStream(b *testing.B) {
	const count = 100_000
	list := func(pattern string, first int) string {
		var text strings.Builder
		text.WriteString(`{"status":"success","data":[`)
		for number := range count {
			_, _ = fmt.Fprintf(&text, pattern+",", first+number)
		}
		return strings.TrimSuffix(text.String(), ",") + `]}`
	}
	for name, test := range map[string]struct {
		pattern string
		stream  func(sources []splice.StreamedSource) *splice.Stream
	}{
		"texts": {`"pod-%07d.example.org"`, func(sources []splice.StreamedSource) *splice.Stream {
			return splice.StreamTexts(sources, 0, cutWarning)
		}},
		"series": {`{"__name__":"up","instance":"10.0.0.7:9100","pod":"pod-%07d"}`, func(sources []splice.StreamedSource) *splice.Stream {
			return splice.StreamSeries(sources, 0, cutWarning, unbounded)
		}},
	} {
		b.Run(name, func(b *testing.B) {
			hot, cold := list(test.pattern, 0), list(test.pattern, count/2)
			b.SetBytes(int64(len(hot) + len(cold)))
			b.ReportAllocs()
			for b.Loop() {
				stream := test.stream([]splice.StreamedSource{{Tier: "hot", Body: strings.NewReader(hot)}, {Tier: "cold", Body: strings.NewReader(cold)}})
				_, err := io.Copy(io.Discard, struct{ io.Reader }{stream})
				require.NoError(b, err)
				require.NoError(b, stream.Close())
			}
		})
	}
}
