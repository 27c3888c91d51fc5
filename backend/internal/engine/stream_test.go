package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// listOf is an answer with so many elements, each of a pattern with its number.
func listOf(pattern string, from, to int) string {
	var text strings.Builder
	for i := from; i < to; i++ {
		_, _ = fmt.Fprintf(&text, ","+pattern, i)
	}
	return `{"status":"success","data":[` + strings.TrimPrefix(text.String(), ",") + `]}`
}

// TestStream_TooLargeAnswersEqualTheWhole asks with little memory, and with enough.
func TestStream_TooLargeAnswersEqualTheWhole(t *testing.T) {
	lagging := told{"max(timestamp(up{": fmt.Sprintf(`{"resultType":"vector","result":[{"metric":{},"value":[1,"%d"]}]}`, time.Now().Add(-2*time.Hour).Unix())}
	maps.Copy(lagging, toldByThanos)
	p, both := learnedTiers(t, toldByHot, lagging)
	hotOnly := url.Values{"start": {fmt.Sprint(time.Now().Add(-5 * time.Minute).Unix())}, "match[]": {`node_load1{cluster="lab"}`}}
	ofBoth := url.Values{"match[]": {"node_load1"}}
	const series = `{"__name__":"node_load1","pod":"web-%06d"}`
	for name, test := range map[string]struct {
		endpoint   promapi.Endpoint
		path       string
		parameters url.Values
		hot, cold  string
	}{
		"series of hot":        {promapi.Series, "series", hotOnly, listOf(series, 0, 6_000), ""},
		"series of both":       {promapi.Series, "series", ofBoth, listOf(series, 0, 600), strings.ReplaceAll(listOf(series, 300, 6_000), `"pod"`, `"cluster":"lab","pod"`)},
		"values of both":       {promapi.LabelValues, "label/pod/values", ofBoth, listOf(`"web-%06d"`, 0, 6_000), listOf(`"web-%06d"`, 3_000, 9_000)},
		"small values of one":  {promapi.LabelValues, "label/pod/values", ofBoth, listOf(`"web-%06d"`, 0, 2), listOf(`"web-%06d"`, 1, 18_000)},
		"labels of both":       {promapi.Labels, "labels", ofBoth, listOf(`"a_%06d"`, 0, 6_000), listOf(`"a_%06d"`, 1, 6_001)},
		"a limit of the union": {promapi.LabelValues, "label/pod/values", url.Values{"match[]": {"node_load1"}, "limit": {"7"}}, listOf(`"web-%06d"`, 0, 6_000), listOf(`"web-%06d"`, 0, 6_000)},
	} {
		t.Run(name, func(t *testing.T) {
			p.hot.Handle(faketier.Status(http.StatusOK, test.hot))
			p.cold.Handle(faketier.Status(http.StatusOK, test.cold))
			ask := func(memory int64) (text string, elements []any, warnings any) {
				request, err := promapi.NewRequest(test.endpoint, "/api/v1/"+test.path, test.parameters, time.Now())
				require.NoError(t, err)
				budget := admission.NewByteBudget(memory)
				response, err := do(t.Context(), asking{Request: request, Hot: p.hotClient, Cold: p.coldClient, Catalog: both, Threshold: 15 * time.Minute, Timeout: 10 * time.Second, Decoded: budget})
				require.NoError(t, err)
				text = body(t, response)
				held, _ := budget.Used()
				require.Zero(t, held)
				var answer map[string]any
				require.NoError(t, json.Unmarshal([]byte(text), &answer))
				elements, _ = answer["data"].([]any)
				return text, elements, answer["warnings"]
			}
			whole, expected, warnings := ask(1 << 30)
			streamed, found, warningsOfStream := ask(600 << 10)
			require.Len(t, found, len(expected))
			require.Equal(t, warnings, warningsOfStream)
			if test.endpoint == promapi.Series {
				require.ElementsMatch(t, strings.Split(whole, "},{")[1:9], strings.Split(streamed, "},{")[1:9])
				return
			}
			require.Equal(t, whole, streamed)
		})
	}
}

// A tier that breaks off in the middle of an answer leaves a warning, like one that fails.
func TestStream_TierThatBreaksOffLeavesAWarning(t *testing.T) {
	lagging := told{"max(timestamp(up{": fmt.Sprintf(`{"resultType":"vector","result":[{"metric":{},"value":[1,"%d"]}]}`, time.Now().Add(-2*time.Hour).Unix())}
	maps.Copy(lagging, toldByThanos)
	p, both := learnedTiers(t, toldByHot, lagging)
	whole := listOf(`"web-%06d"`, 0, 18_000)
	p.hot.Handle(faketier.Status(http.StatusOK, whole[:len(whole)-1000]))
	p.cold.Handle(faketier.Status(http.StatusOK, listOf(`"xyz-%06d"`, 0, 18_000)))
	request, err := promapi.NewRequest(promapi.LabelValues, "/api/v1/label/pod/values", url.Values{"match[]": {"node_load1"}}, time.Now())
	require.NoError(t, err)
	budget := admission.NewByteBudget(600 << 10)
	response, err := do(t.Context(), asking{Request: request, Hot: p.hotClient, Cold: p.coldClient, Catalog: both, Threshold: 15 * time.Minute, Timeout: 10 * time.Second, Decoded: budget})
	require.NoError(t, err)
	text := body(t, response)
	require.True(t, json.Valid([]byte(text)))
	require.Contains(t, text, `"xyz-017999"`)
	require.Contains(t, text, `"warnings":["the hot tier failed: what only that one holds is missing"]`)
}

// Of two answers that are none, no start goes out as a success.
func TestStream_AnswersThatAreNoneAreAnError(t *testing.T) {
	lagging := told{"max(timestamp(up{": fmt.Sprintf(`{"resultType":"vector","result":[{"metric":{},"value":[1,"%d"]}]}`, time.Now().Add(-2*time.Hour).Unix())}
	maps.Copy(lagging, toldByThanos)
	p, both := learnedTiers(t, toldByHot, lagging)
	long := faketier.Status(http.StatusOK, `{"status":"success","data":["`+strings.Repeat("x", 2<<20)+`"]}`)
	p.hot.Handle(long)
	p.cold.Handle(long)
	request, err := promapi.NewRequest(promapi.LabelValues, "/api/v1/label/pod/values", url.Values{"match[]": {"node_load1"}}, time.Now())
	require.NoError(t, err)
	budget := admission.NewByteBudget(600 << 10)
	_, err = do(t.Context(), asking{Request: request, Hot: p.hotClient, Cold: p.coldClient, Catalog: both, Threshold: 15 * time.Minute, Timeout: 10 * time.Second, Decoded: budget})
	requireError(t, err, http.StatusBadGateway, promapi.ErrorUnavailable, "the cold tier failed: it did not answer as a Prometheus API does")
	held, _ := budget.Used()
	require.Zero(t, held)
}
