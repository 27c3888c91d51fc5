package promapi

import (
	"bytes"
	"encoding/json"
	"io"
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

func FuzzAddWarnings(f *testing.F) {
	for _, body := range []string{`{"a":1}`, `{"warnings":["x"],"b":{}}`, `{"warnings":null}`, `{"a":"\\\"","warnings":[{}]}`, `{}`, ` { } `} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var members map[string]json.RawMessage
		trimmed := bytes.TrimSpace(body)
		if len(trimmed) == 0 || trimmed[0] != '{' || json.Unmarshal(body, &members) != nil {
			return
		}
		if bytes.Contains(body, []byte(`\u`)) || strings.Count(string(body), `"warnings"`) > 1 {
			return // Escaped keys and duplicates: no server writes them, and decoders differ.
		}
		got, err := addWarnings(t, iotest.HalfReader(bytes.NewReader(body)), "ours")
		require.NoError(t, err)
		var changed map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(got), &changed), "%s became %s", body, got)
		var list []json.RawMessage
		require.NoError(t, json.Unmarshal(changed["warnings"], &list))
		require.Equal(t, `"ours"`, string(list[0]))
		var old []json.RawMessage
		if json.Unmarshal(members["warnings"], &old) == nil {
			require.Len(t, list, len(old)+1)
		}
		for name, value := range members {
			if name != "warnings" {
				require.Equal(t, string(value), string(changed[name]))
			}
		}
	})
}

func BenchmarkAddWarnings(b *testing.B) {
	body := []byte(`{"status":"success","data":{"resultType":"matrix","result":[` + strings.Repeat(`{"metric":{"a":"b"},"values":[[1,"2"],[3,"4"]]},`, 20000) + `{}]}}`)
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
