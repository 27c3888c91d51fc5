package catalog

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/targets"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

func TestTargetWatch_LooksWhileQueriesUseTheServer(t *testing.T) {
	w, now := newTargetWatch(), time.Now()
	require.Equal(t, never, w.left(now), "nothing is asked before the first query")
	done := w.use(now)
	require.NotNil(t, done)
	require.Len(t, w.wake, 1, "the first query requests a look")
	require.LessOrEqual(t, w.left(now), time.Duration(0))
	<-w.wake
	w.finish(now, now.Add(10*time.Millisecond), time.Minute)
	<-done
	ended := now.Add(10 * time.Millisecond)
	require.Equal(t, time.Minute, w.left(ended))
	require.Nil(t, w.use(ended.Add(80*time.Second)), "the last look is new enough")
	require.NotNil(t, w.use(ended.Add(2*time.Minute)))
	require.Less(t, w.left(ended.Add(2*time.Minute)), time.Duration(0))
	// A look that takes 2 s is not repeated for 200 s.
	w.finish(ended, ended.Add(2*time.Second), time.Minute)
	require.Equal(t, 200*time.Second, w.left(ended.Add(2*time.Second)))
	w.finish(ended, ended, time.Minute)
	require.Equal(t, idleLook-usedFor-3*time.Minute, w.left(ended.Add(usedFor+3*time.Minute)), "while nobody uses it, looks are rare")
}

func TestMissingOf_NamesTheTargetToSome(t *testing.T) {
	hole := targets.Hole{Target: targets.Target{"instance": "a"}, From: 1, To: targets.End}
	require.Equal(t, tier.Missing{Target: `the target {instance="a"}`, From: 1, To: tier.End}, MissingOf(hole, true))
	require.Equal(t, tier.Missing{Target: "a target", From: 1, To: tier.End}, MissingOf(hole, false))
}
