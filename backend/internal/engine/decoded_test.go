package engine

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/race"
)

// TestResponse_DecodedValuesTakeNoMoreThanIsAcquired measures the memory that
// the values of answers take.
func TestResponse_DecodedValuesTakeNoMoreThanIsAcquired(t *testing.T) {
	live := func() int64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	for name, test := range map[string]struct{ kind, element string }{
		"a vector of series without labels": {"vector", `{"metric":{},"value":[1,"1"]}`},
		"a vector with one label":           {"vector", `{"metric":{"a":"b"},"value":[1,"1"]}`},
		"a vector with many labels":         {"vector", `{"metric":{"__name__":"http_requests_total","instance":"10.0.0.1:9090","job":"node","pod":"web-1"},"value":[1435781451.781,"1.5"]}`},
		"a vector with nine labels":         {"vector", `{"metric":{"a":"","b":"","c":"","d":"","e":"","f":"","g":"","h":"","i":""},"value":[1,"1"]}`},
		"a matrix of empty series":          {"matrix", `{"metric":{},"values":[]}`},
		"a matrix of short series":          {"matrix", `{"metric":{},"values":[[1,"1"]]}`},
		"a matrix of long series":           {"matrix", `{"metric":{"a":"b"},"values":[` + strings.Repeat(`[1,"1"],`, 100) + `[1,"1"]]}`},
	} {
		t.Run(name, func(t *testing.T) {
			text := fmt.Sprintf(`{"status":"success","data":{"resultType":%q,"result":[%s%s]}}`, test.kind, strings.Repeat(test.element+",", race.Size(3<<20, 1<<20)/len(test.element)), test.element)
			budget := admission.NewByteBudget(1 << 40)
			response := &Response{Status: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), budget: budget.Of("one")}
			before := live()
			answer, err := response.Decode(t.Context())
			require.NoError(t, err)
			held := live() - before
			t.Logf("%.1f times the JSON", float64(held)/float64(len(text)))
			require.Less(t, held, int64(valueFactor*len(text)))
			runtime.KeepAlive(answer)
			left, _ := budget.Used()
			require.Zero(t, left)
		})
	}
}

func TestResponse_DecodeEndsWithTheBudget(t *testing.T) {
	budget := admission.NewByteBudget(1 << 20)
	endless := io.MultiReader(strings.NewReader(`{"status":"success","data":{"resultType":"vector","result":[`), zeros{})
	response := &Response{Status: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(endless), budget: budget.Of("one")}
	_, err := response.Decode(t.Context())
	requireError(t, err, http.StatusServiceUnavailable, promapi.ErrorUnavailable, promapi.MessageOf(noMemory()))
	left, _ := budget.Used()
	require.Zero(t, left)
}

// zeros is an endless list.
type zeros struct{}

// Read fills p.
func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "0,"[i%2]
	}
	return len(p), nil
}
