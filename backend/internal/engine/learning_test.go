package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Between two learnings, an hour apart, each probe of cold looks for metrics and
// for sources that it did not have before.
func TestPlan_NoticesNewMetricsInCold(t *testing.T) {
	p := newCachedTiers(t)
	before := p.both.Snapshot()
	require.Equal(t, []any{2, 1}, []any{len(before.Evidence.Sources), len(before.Evidence.OtherNames)})
	tell := func(names, stores string) {
		newest := fmt.Sprintf(`{"resultType":"vector","result":[{"metric":{},"value":[1,"%d"]}]}`, time.Now().Unix())
		p.cold.HandleProbes(told{"/stores": stores, "max(timestamp(": newest, "/label/__name__": names}.handler())
	}
	tell(`["other","up"]`, bothStores)
	require.Eventually(t, func() bool { _, found := p.both.Snapshot().Evidence.OtherNames["up"]; return found }, 10*time.Second, time.Millisecond)
	require.Contains(t, p.both.Snapshot().Evidence.OtherNames, "other")
	require.NotContains(t, before.Evidence.OtherNames, "up", "what somebody decides by does not change under them")
	require.Equal(t, before.LearnedAt, p.both.Snapshot().LearnedAt)

	// What is no longer among the news is still there.
	tell(`[]`, bothStores)
	p.probes(t, 3)
	require.Len(t, p.both.Snapshot().Evidence.OtherNames, 2)

	tell(`["other"]`, strings.Replace(bothStores, `"sidecar":[`, `"sidecar":[{"name":"c","lastError":null,"labelSets":[{"cluster":"c"}],"maxTime":9223372036854775807},`, 1))
	require.Eventually(t, func() bool { return len(p.both.Snapshot().Evidence.Sources) == 3 }, 10*time.Second, time.Millisecond)
	require.True(t, p.both.Snapshot().LearnedAt.After(before.LearnedAt), "everything is learned again")
}
