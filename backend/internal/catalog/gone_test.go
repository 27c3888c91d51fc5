package catalog

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// A server that ends while it is probed is down. It does not count as one that
// answers and covers nothing, which queries would be told as the reason.
func TestProbe_AServerThatEndsMeanwhileIsDown(t *testing.T) {
	now := time.Now()
	var samples []string
	for ago := 20; ago >= 0; ago-- {
		samples = append(samples, fmt.Sprintf(`[%d,"1"]`, now.Add(time.Duration(-ago)*15*time.Second).Unix()))
	}
	// stages are what a probe asks, one after the other, with the answers.
	stages := []struct{ part, answer string }{
		{"vector(1)", `{"resultType":"vector","result":[]}`},
		{"/blocks", fmt.Sprintf(`{"blocks":[{"minTime":%d,"maxTime":%d}]}`, now.Add(-time.Hour).UnixMilli(), now.UnixMilli())},
		{"/values", `["a"]`},
		{"/api/v1/series", `[{"__name__":"up"}]`},
		{"{__name__=", fmt.Sprintf(`{"resultType":"matrix","result":[{"metric":{},"values":[%s]}]}`, strings.Join(samples, ","))},
	}
	for last, stage := range stages[:len(stages)-1] {
		t.Run("after "+stage.part, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for at, asked := range stages {
					if !strings.Contains(r.URL.Path+r.URL.Query().Get("query"), asked.part) {
						continue
					}
					if at > last {
						panic(http.ErrAbortHandler)
					}
					_, _ = fmt.Fprintf(w, `{"status":"success","data":%s}`, asked.answer)
					return
				}
				http.NotFound(w, r)
			}))
			t.Cleanup(server.Close)
			found := NewTier(TierOptions{Name: tier.Hot, Client: catalogtest.Client(t, server.URL), ProbeInterval: 5 * time.Second}).Inspect(t.Context())
			require.Equal(t, []any{false, upstream.FailureClosed}, []any{found.Available, found.Failure}, found.Error)
			require.Contains(t, found.Error, "it closed the connection")
		})
	}
}
