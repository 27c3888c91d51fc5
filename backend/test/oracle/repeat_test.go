//go:build e2e

package oracle

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSeed_RepeatsTheQuestions checks that one E2E_SEED means the same questions, at
// the same distance from the start of the test.
func TestSeed_RepeatsTheQuestions(t *testing.T) {
	questions := func(seed int64, now time.Time) []string {
		block := &evalBlock{file: "one.test"}
		for i := range 200 {
			block.evals = append(block.evals, eval{query: fmt.Sprintf("x + %d", i), end: time.Duration(i) * minute})
		}
		w := &world{now: now, boundary: now.Add(-5 * hour), blocks: []*evalBlock{block}, placed: map[*evalBlock]time.Time{block: now.Add(-8 * hour)}}
		list := append(w.questions(seed, 1500, []time.Time{w.boundary, now.Add(-lag), now}, pins(labelsInCold), foreign()), w.acrossBoth()...)
		list = append(list, w.fresh(seed, 100, []time.Time{now})...)
		var texts []string
		for _, each := range list {
			texts = append(texts, relative(t, each, now))
		}
		return texts
	}
	now := time.Now().Truncate(minute)
	first := questions(1, now)
	require.Greater(t, len(first), 1500)
	require.Equal(t, first, questions(1, now))
	require.Equal(t, first, questions(1, now.Add(97*minute)), "on another day")
	require.NotEqual(t, first, questions(2, now))
}

var timestamp = regexp.MustCompile(`@ (\d+\.\d+)`)

// relative writes a question with its times as distances from now.
func relative(t *testing.T, asked question, now time.Time) string {
	t.Helper()
	distance := func(text string) string {
		at, err := strconv.ParseFloat(text, 64)
		require.NoError(t, err)
		return fmt.Sprint(time.UnixMilli(int64(math.Round(at * 1000))).Sub(now))
	}
	text := asked.endpoint + " " + asked.origin
	for _, name := range []string{"time", "start", "end"} {
		if asked.values.Has(name) {
			text += " " + name + "=" + distance(asked.values.Get(name))
		}
	}
	query := timestamp.ReplaceAllStringFunc(asked.values.Get("query"), func(at string) string { return "@ " + distance(at[2:]) })
	return fmt.Sprint(text, " ", asked.values.Get("step"), " ", asked.values["match[]"], " ", query)
}
