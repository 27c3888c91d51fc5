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
)

// A server that ends while it is probed is down. It does not count as one that
// answers and covers nothing, which queries would be told as the reason.
func TestProbe_AServerThatEndsMeanwhileIsDown(t *testing.T) {
	now := time.Now()
	// stages are what a probe asks, one after the other, with the answers.
	stages := []struct{ part, answer string }{
		{"vector(1)", `{"resultType":"vector","result":[]}`},
		{"lowest_timestamp", fmt.Sprintf(`{"resultType":"vector","result":[{"metric":{},"value":[0,"%d"]}]}`, now.Add(-time.Hour).Unix())},
		{"max(timestamp(", fmt.Sprintf(`{"resultType":"vector","result":[{"metric":{},"value":[0,"%d"]}]}`, now.Unix())},
		{"/api/v1/series", `[]`},
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
			found := NewTier(TierOptions{Name: tier.Hot, Client: client(t, server.URL), ProbeInterval: 5 * time.Second}).Inspect(t.Context())
			require.Equal(t, []any{false, upstream.FailureClosed}, []any{found.Available, found.Failure}, found.Error)
			require.Contains(t, found.Error, "it closed the connection")
		})
	}
}
