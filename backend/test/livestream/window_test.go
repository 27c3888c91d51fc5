package livestream

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// answered returns an update with a series, whose samples are at steps of a second.
func answered(t *testing.T, start, end int, values string) *update {
	t.Helper()
	var made update
	text := fmt.Sprintf(`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"job":"a"},"values":[%s]}]},"live":{"start":%d,"end":%d,"step":1}}`, values, start, end)
	require.NoError(t, json.Unmarshal([]byte(text), &made))
	return &made
}

func TestWindow_AppendsReplaceSteps(t *testing.T) {
	w := &window{length: 3000}
	_, err := w.apply(true, answered(t, 7, 10, `[7,"7"],[8,"8"],[9,"9"],[10,"10"]`), 8000)
	require.NoError(t, err)
	for _, step := range []struct {
		what       string
		start, end int
		values     string
		expected   applied
		has        string
	}{
		{"a new step", 11, 11, `[11,"11"]`, applied{fresh: 1}, `[[8,"8"],[9,"9"],[10,"10"],[11,"11"]]`},
		{"a step changes, and one ends", 9, 12, `[9,"0"],[10,"10"],[12,"12"]`, applied{fresh: 1, changed: 2, same: 1}, `[[9,"0"],[10,"10"],[12,"12"]]`},
		{"nothing has changed", 12, 12, `[12,"12"]`, applied{same: 1, isNeedless: true}, `[[9,"0"],[10,"10"],[12,"12"]]`},
		{"one is left out", 14, 14, `[14,"14"]`, applied{fresh: 1, hasHole: true}, `[[12,"12"],[14,"14"]]`},
		{"a settled one changes", 8, 14, `[14,"14"]`, applied{fresh: 3, changed: 1, same: 3, wasSettled: true}, `[[14,"14"]]`},
	} {
		got, err := w.apply(false, answered(t, step.start, step.end, step.values), 8000)
		require.NoError(t, err, step.what)
		require.Equal(t, step.expected, got, step.what)
		matrix, err := json.Marshal(w.matrix(w.first, w.last))
		require.NoError(t, err)
		require.JSONEq(t, `{"resultType":"matrix","result":[{"metric":{"job":"a"},"values":`+step.has+`}]}`, string(matrix), step.what)
	}
}

func TestWindow_ResumesAfterTheID(t *testing.T) {
	w := &window{length: 10_000}
	_, err := w.apply(true, answered(t, 1, 10, `[5,"5"],[10,"10"]`), 8000)
	require.NoError(t, err)
	w.resume()
	require.Equal(t, int64(8000), w.last)
	got, err := w.apply(false, answered(t, 9, 11, `[10,"10"]`), 8000)
	require.NoError(t, err)
	require.Equal(t, applied{fresh: 3}, got)
	w.resume()
	got, err = w.apply(false, answered(t, 10, 11, `[10,"10"]`), 8000)
	require.NoError(t, err)
	require.True(t, got.hasHole)
}

func TestWindow_RefusesWhatBreaksTheContract(t *testing.T) {
	for what, update := range map[string]*update{
		"a sample before the steps": answered(t, 9, 10, `[8,"8"]`), "a sample between steps": answered(t, 9, 10, `[9.5,"9"]`), "no steps": answered(t, 10, 9, ``),
		"no matrix": {Status: "success"},
	} {
		_, err := (&window{}).apply(true, update, 0)
		require.Error(t, err, what)
	}
	_, err := (&window{}).apply(false, answered(t, 9, 10, `[9,"9"]`), 0)
	require.ErrorContains(t, err, "before any snapshot")
}

func TestEventReader_ReadsEvents(t *testing.T) {
	r := newEventReader(strings.NewReader("retry: 1500\n\nid: 7\nevent: snapshot\r\ndata: a\ndata: b\n\n: keep-alive\n\nevent: error\ndata:c\n\nevent: append\ndata: cut"))
	first, err := r.next()
	require.NoError(t, err)
	require.Equal(t, []string{"snapshot", "a\nb", "7"}, []string{first.name, first.data, first.id})
	require.Equal(t, int64(1500), r.retry.Milliseconds())
	second, err := r.next()
	require.NoError(t, err)
	require.Equal(t, []string{"error", "c", "7"}, []string{second.name, second.data, second.id})
	_, err = r.next()
	require.Error(t, err)
}

func TestDifference_FindsEach(t *testing.T) {
	matrix := func(values ...any) any {
		return map[string]any{"result": []any{map[string]any{"metric": map[string]any{"job": "a"}, "values": values}}}
	}
	whole := matrix([]any{1.0, "1"}, []any{2.0, "2"})
	points, problem := Difference(whole, matrix([]any{1.0, "1"}, []any{2.0, "2.0000000000001"}))
	require.Equal(t, 2, points)
	require.Empty(t, problem)
	for _, other := range []any{matrix([]any{1.0, "1"}), matrix([]any{1.0, "1"}, []any{2.0, "3"}), matrix([]any{1.0, "1"}, []any{2.0, "2"}, []any{3.0, "2"}), nil} {
		_, problem := Difference(whole, other)
		require.NotEmpty(t, problem)
	}
}
