package promapi

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func addWarnings(t testing.TB, body io.Reader, warnings ...string) (string, error) {
	t.Helper()
	changed, err := AddWarnings(body, warnings)
	require.NoError(t, err)
	text, err := io.ReadAll(changed)
	return string(text), err
}

func TestAddWarnings_PutsOursFirst(t *testing.T) {
	for name, test := range map[string]struct{ body, want string }{
		"none yet":                      {`{"status":"success","data":{"a":[1,2]}}`, `{"status":"success","data":{"a":[1,2]},"warnings":["w","\"x\""]}`},
		"some at the end":               {`{"data":{},"warnings":["old"]}`, `{"data":{},"warnings":["w","\"x\"","old"]}`},
		"some at the front":             {"{\"warnings\" : [ \"old\"], \"data\":1}\n", "{\"warnings\" : [\"w\",\"\\\"x\\\"\",\"old\"], \"data\":1}\n"},
		"an empty list":                 {`{"warnings":[ ],"data":1}`, `{"warnings":["w","\"x\""],"data":1}`},
		"null":                          {`{"warnings":null,"data":1}`, `{"warnings":["w","\"x\""],"data":1}`},
		"a value that is no list":       {`{"warnings":{"a":["},"]},"data":1}`, `{"warnings":["w","\"x\""],"data":1}`},
		"the word deeper down":          {`{"data":{"warnings":["no"]}}`, `{"data":{"warnings":["no"]},"warnings":["w","\"x\""]}`},
		"the word as a value":           {`{"data":"warnings"}`, `{"data":"warnings","warnings":["w","\"x\""]}`},
		"braces and quotes in strings":  {`{"data":"}]\\\"{[,","b":"\\"}`, `{"data":"}]\\\"{[,","b":"\\","warnings":["w","\"x\""]}`},
		"a quote in a key":              {`{"warnings\"":1}`, `{"warnings\"":1,"warnings":["w","\"x\""]}`},
		"a quote and braces in a key":   {`{"a\":{":1}`, `{"a\":{":1,"warnings":["w","\"x\""]}`},
		"an empty object":               {`{}`, `{"warnings":["w","\"x\""]}`},
		"twice: only the first is ours": {`{"warnings":[],"warnings":[]}`, `{"warnings":["w","\"x\""],"warnings":[]}`},
		"space after the object":        {"{} \r\n", "{\"warnings\":[\"w\",\"\\\"x\\\"\"]} \r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, reader := range []io.Reader{strings.NewReader(test.body), iotest.OneByteReader(strings.NewReader(test.body))} {
				got, err := addWarnings(t, reader, "w", `"x"`)
				require.NoError(t, err)
				require.Equal(t, test.want, got)
			}
		})
	}
}

// A warning that has no place must not be lost without anyone noticing.
func TestAddWarnings_WhatIsNoObjectIsAnError(t *testing.T) {
	for _, body := range []string{``, ` `, `null`, `[{"a":1}]`, `<html>{}</html>`, `x{}`, `{}{}`, `{"a":1}x`} {
		for _, reader := range []io.Reader{strings.NewReader(body), iotest.OneByteReader(strings.NewReader(body))} {
			got, err := addWarnings(t, reader, "w")
			require.ErrorIs(t, err, errNoObject, "%q became %q", body, got)
		}
	}
}

func TestAddWarnings_WithoutWarningsChangesNothing(t *testing.T) {
	got, err := addWarnings(t, strings.NewReader(`{"a":1}`))
	require.NoError(t, err)
	require.Equal(t, `{"a":1}`, got)
}

// An answer that was cut off must not look whole afterwards.
func TestAddWarnings_TruncatedAnswerStaysTruncated(t *testing.T) {
	whole := `{"data":{"a":["x"]},"b":1}`
	for length := 1; length < len(whole); length++ {
		got, err := addWarnings(t, strings.NewReader(whole[:length]), "w")
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, whole[:length])
		require.False(t, json.Valid([]byte(got)), got)
	}
	got, err := addWarnings(t, iotest.DataErrReader(io.MultiReader(strings.NewReader(`{"a":`), iotest.ErrReader(io.ErrClosedPipe))), "w")
	require.ErrorIs(t, err, io.ErrClosedPipe)
	require.Equal(t, `{"a":`, got)
}

// withWarning is what AddWarnings has to make of a JSON object, by encoding/json.
func withWarning(t *testing.T, body, warning string) string {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(body))
	_, err := decoder.Token()
	require.NoError(t, err)
	separator := ""
	for decoder.More() {
		before := decoder.InputOffset()
		_, err := decoder.Token()
		require.NoError(t, err)
		key := strings.TrimLeft(body[before:decoder.InputOffset()], ", \t\r\n")
		var value json.RawMessage
		require.NoError(t, decoder.Decode(&value))
		if end := int(decoder.InputOffset()); key == `"warnings"` {
			more := "]"
			if value[0] == '[' {
				if more = strings.TrimLeft(string(value[1:]), " \t\r\n"); more[0] != ']' {
					more = "," + more
				}
			}
			return body[:end-len(value)] + "[" + warning + more + body[end:]
		}
		separator = ","
	}
	_, err = decoder.Token()
	require.NoError(t, err)
	end := int(decoder.InputOffset()) - 1
	return body[:end] + separator + `"warnings":[` + warning + "]" + body[end:]
}

// AddWarnings does what encoding/json says, and in whatever parts an answer comes in, the same:
// what comes in one byte at a time takes another path.
func FuzzAddWarnings(f *testing.F) {
	for _, body := range []string{
		`{"a":1}`, `{"warnings":["x"],"b":{}}`, `{"warnings":null}`, `{"a":"\\\"","warnings":[{}]}`, `{}`, ` { } `, `{"a":[{"b":"}]"},[[]]],"warnings":[ ]}`,
		`{"data":{"result":[{"metric":{"a":"\\","b\"":"{[","ü":"€€€€"},"values":[[1,"2"],[3,"4"]]}]},"infos":["x"]}`, `{"a":{"b":[1,2`, `{"a":[]}}`, `[{"a":1}]`,
	} {
		f.Add([]byte(body), uint(len(body)/2))
	}
	f.Fuzz(func(t *testing.T, body []byte, cut uint) {
		got, err := addWarnings(t, bytes.NewReader(body), "ours")
		slow, slowErr := addWarnings(t, iotest.OneByteReader(bytes.NewReader(body)), "ours")
		require.Equal(t, slowErr, err)
		if err == nil {
			require.Equal(t, slow, got)
		}
		if trimmed := bytes.TrimSpace(body); !json.Valid(body) || trimmed[0] != '{' {
			return
		}
		require.NoError(t, err)
		require.Equal(t, withWarning(t, string(body), `"ours"`), got)
		part := body[:cut%uint(len(body))]
		if got, err := addWarnings(t, iotest.HalfReader(bytes.NewReader(part)), "ours"); !json.Valid(part) {
			require.Error(t, err, "%s became %s", part, got)
			require.False(t, json.Valid([]byte(got)))
		}
	})
}

func BenchmarkAddWarnings(b *testing.B) {
	var samples strings.Builder
	for i := range 1200 {
		samples.WriteString(`[` + strconv.Itoa(1767000000+60*i) + `,"` + strconv.FormatFloat(float64(i)*math.Pi, 'f', -1, 64) + `"],`)
	}
	series := `{"metric":{"instance":"10.0.0.1:9100","job":"node-exporter"},"values":[` + samples.String() + `[0,"0"]]},`
	body := []byte(`{"status":"success","data":{"resultType":"matrix","result":[` + strings.Repeat(series, (20<<20)/len(series)) + `{}]}}`)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		changed, err := AddWarnings(bytes.NewReader(body), []string{"the cold tier lags"})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, changed); err != nil {
			b.Fatal(err)
		}
	}
}
