package gaps

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// A window of a scan may end in the middle of a gap. Wherever it ends, the scan finds the gap.
func TestScan_FindsAGapAtTheEndOfAWindow(t *testing.T) {
	now := time.Now().Truncate(time.Hour)
	for _, gap := range []time.Duration{90 * time.Second, 2 * time.Minute, 150 * time.Second, 3 * time.Minute} {
		client := asker{catalogtest.Asking(t, catalogtest.MemoryOf(t, now,
			catalogtest.Wrote{From: 3 * time.Hour, To: time.Hour + gap - 30*time.Second, Jobs: []string{"a", "b"}},
			catalogtest.Wrote{From: time.Hour, To: catalogtest.Ahead, Jobs: []string{"a", "b"}}))}
		for ahead := time.Second; ahead < scanWindow; ahead += 29 * time.Second {
			var d detector
			d.look(t, client, now.Add(-3*time.Hour), now.Add(ahead))
			require.Equal(t, []any{time.Hour - 30*time.Second, true, true}, []any{now.Sub(time.UnixMilli(d.start)), d.complete, d.ended}, "%s, %s", gap, ahead)
		}
	}
}
