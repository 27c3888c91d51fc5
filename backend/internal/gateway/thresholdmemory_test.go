package gateway

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// TestThresholds_TakeNoMoreMemoryThanIsAcquired measures what a list of thresholds holds.
func TestThresholds_TakeNoMoreMemoryThanIsAcquired(t *testing.T) {
	for name, rule := range map[string]string{
		"short":            `{"type":"alerting","name":"A","query":"a>%d"}`,
		"skipped":          `{"type":"alerting","name":"A","query":"absent(a%d)"}`,
		"labels":           `{"type":"alerting","name":"A","query":"a>%d","labels":{"a":"b","c":"d","e":"f","g":"h","i":"j","k":"l","m":"n","o":"p","q":"r"},"annotations":{"a":"b"}}`,
		"long":             `{"type":"alerting","name":"Long","query":"sum by (namespace, pod) (rate(restarts{job=\"kube-state-metrics\"}[10m])) * 60 > 0.%d and on (namespace) owner == 1 or x < 3"}`,
		"many comparisons": `{"type":"alerting","name":"A","query":"a > %d` + strings.Repeat(" or a > 1", 40) + ` or b > c"}`,
	} {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			text.WriteString(`{"status":"success","data":{"groups":[{"name":"g","rules":[`)
			for i := range 1500 {
				if i > 0 {
					text.WriteByte(',')
				}
				fmt.Fprintf(&text, rule, i)
			}
			text.WriteString(`]}]}}`)
			answer, acquired := []byte(text.String()), int64(0)
			filter, mistakes := readRuleFilter(nil)
			require.Empty(t, mistakes)
			list := &thresholdList{
				filter: &filter, maxLength: 10_000, heavy: func() (func(), error) { return func() {}, nil },
				acquire: func(bytes int64) error { acquired += bytes; return nil },
				made:    map[promql.Key]int{}, left: map[promql.Key]bool{},
			}
			heap := func() int64 {
				var stats runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&stats)
				return int64(stats.HeapAlloc)
			}
			before := heap()
			require.NoError(t, list.readAll(t.Context(), answer))
			taken := heap() - before
			t.Logf("%d thresholds, %d skipped, %d bytes, %d acquired", len(list.thresholds), len(list.skipped), taken, acquired)
			require.Less(t, taken, acquired+8<<20, "the cache of parsed expressions takes 8 MiB at most")
			runtime.KeepAlive(list)
			runtime.KeepAlive(answer)
		})
	}
}
