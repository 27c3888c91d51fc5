package splice_test

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/race"
)

// large makes an answer of n series that differ from those of another kind.
func large(endpoint promapi.Endpoint, kind string, n int) string {
	var text strings.Builder
	text.WriteString(map[promapi.Endpoint]string{promapi.Metadata: "{", promapi.Rules: `{"groups":[`, promapi.Alerts: `{"alerts":[`}[endpoint])
	if text.Len() == 0 {
		text.WriteString("[")
	}
	for i := range n {
		if i > 0 {
			text.WriteByte(',')
		}
		labels := fmt.Sprintf(`{"__name__":"http_requests_total","instance":"10.0.0.%d:9090","job":"%s","pod":"web-%d"}`, i%250, kind, i)
		switch endpoint {
		case promapi.Series:
			text.WriteString(labels)
		case promapi.QueryExemplars:
			fmt.Fprintf(&text, `{"seriesLabels":%s,"exemplars":[{"labels":{"trace":"%d"},"value":"1","timestamp":1}]}`, labels, i)
		case promapi.Metadata:
			fmt.Fprintf(&text, `"metric_%s_%d":[{"type":"counter","help":"Requests.","unit":""}]`, kind, i)
		case promapi.Rules:
			fmt.Fprintf(&text, `{"name":"%s-%d","rules":[{"type":"alerting","name":"A","query":"up == 0"}]}`, kind, i)
		case promapi.Alerts:
			fmt.Fprintf(&text, `{"labels":%s,"state":"firing"}`, labels)
		default:
			fmt.Fprintf(&text, `"%s-%d"`, kind, i)
		}
	}
	text.WriteString(map[promapi.Endpoint]string{promapi.Metadata: "}", promapi.Rules: `]}`, promapi.Alerts: `]}`}[endpoint])
	if strings.HasPrefix(text.String(), "[") {
		text.WriteString("]")
	}
	return text.String()
}

var united = []promapi.Endpoint{
	promapi.LabelValues, promapi.Series, promapi.QueryExemplars, promapi.Metadata, promapi.Rules, promapi.Alerts,
}

// allocatedBy returns how many bytes are allocated while something runs.
func allocatedBy(run func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	run()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestUnite_AllocatesInProportionToTheAnswers holds twice the answers to less
// than three times the memory: a comparison of each with each takes four times.
func TestUnite_AllocatesInProportionToTheAnswers(t *testing.T) {
	for _, endpoint := range united {
		t.Run(string(endpoint), func(t *testing.T) {
			allocated := func(n int) uint64 {
				hot, cold := large(endpoint, "a", n), large(endpoint, "b", n)
				return allocatedBy(func() {
					answer, err := unite(endpoint, hot, cold, map[string]string{"cluster": "lab"}, 0, unbounded)
					require.NoError(t, err)
					_, err = io.Copy(io.Discard, answer.Reader())
					require.NoError(t, err)
				})
			}
			small, twice := allocated(10_000), allocated(20_000)
			require.Less(t, twice, 3*small, "%d bytes, and %d for twice as much", small, twice)
		})
	}
}

// tiny makes an answer of n of the elements that take the most memory for their bytes.
func tiny(endpoint promapi.Endpoint, n int) string {
	element := `{}`
	if endpoint == promapi.LabelValues {
		element = `""`
	}
	list := "[" + strings.Repeat(element+",", n) + element + "]"
	switch endpoint {
	case promapi.Rules:
		return `{"groups":` + list + `}`
	case promapi.Alerts:
		return `{"alerts":` + list + `}`
	case promapi.Metadata:
		return `{"a":` + list + `}`
	case promapi.QueryExemplars:
		return `[{"seriesLabels":{},"exemplars":` + list + `}]`
	default:
		return list
	}
}

// TestUnite_TakesNoMoreMemoryThanIsAcquired measures what is live once an answer
// is united: the texts aside, no more than was acquired, and some slack.
func TestUnite_TakesNoMoreMemoryThanIsAcquired(t *testing.T) {
	live := func() int64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	many, most := race.Size(40_000, 10_000), race.Size(300_000, 100_000)
	for _, endpoint := range united {
		for _, texts := range [][]string{
			{large(endpoint, "a", many), large(endpoint, "b", many)}, {tiny(endpoint, most), tiny(endpoint, most)},
			{tiny(endpoint, most/3), tiny(endpoint, most/3), tiny(endpoint, most/3)},
		} {
			sources, size := sourcesOf(texts, true), 0
			for _, text := range texts {
				size += len(text)
			}
			acquired := int64(0)
			before := live()
			answer, err := uniteSources(endpoint, sources, 0, func(bytes int64) error {
				acquired += bytes
				return nil
			})
			require.NoError(t, err)
			held := live() - before
			require.Less(t, held, acquired+acquired/4+(1<<20), "%s, %d sources: %d bytes of texts", endpoint, len(texts), size)
			t.Logf("%-16s %d sources: %9d bytes of texts, %9d acquired, %9d live", endpoint, len(texts), size, acquired, held)
			runtime.KeepAlive(answer)
			runtime.KeepAlive(sources)
		}
	}
}

// TestUnite_EndsWithTheQuery ends the query in the middle of the work.
func TestUnite_EndsWithTheQuery(t *testing.T) {
	gone := errors.New("the client is gone")
	for _, endpoint := range united {
		hot, cold := large(endpoint, "a", 20_000), large(endpoint, "b", 20_000)
		calls := 0
		_, err := unite(endpoint, hot, cold, nil, 0, func(int64) error {
			if calls++; calls > 5 {
				return gone
			}
			return nil
		})
		require.ErrorIs(t, err, gone, endpoint)
		require.Equal(t, 6, calls, endpoint)
	}
}
