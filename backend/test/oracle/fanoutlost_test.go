//go:build e2e

package oracle

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
)

// TestFanOut_LosesAShard asks again and again from the moment on at which a hot Thanos Query loses a
// shard. No answer may lack its series without a warning.
func TestFanOut_LosesAShard(t *testing.T) {
	t.Parallel()
	w := newFanOutWorld(t)
	g := w.gateway(t, func(settings *config.Config) { settings.Probe = config.Default().Probe }, w.query.URL)
	w.awaitOwn(t, g, "x")
	asked := question{endpoint: "query", values: url.Values{"query": {`count(node_load1{cluster="x"})`}, "time": {seconds(w.now)}}}
	expected, err := ask(t.Context(), w.oracle, asked)
	require.NoError(t, err)
	w.sidecars["x-1"].Kill()
	killed, silent, last := time.Now(), 0, ""
	for time.Since(killed) < 14*time.Second {
		got, err := ask(t.Context(), g.URL, asked)
		require.NoError(t, err)
		found := difference(expected, got)
		if is := got.tier + " " + got.reason + " " + found; is != last {
			t.Logf("after %s: %s %q", time.Since(killed), is, got.warnings)
			last = is
		}
		if found != "" && !got.hasOwnWarning() && !got.lacksStore() {
			silent++
		}
		<-time.After(50 * time.Millisecond)
	}
	require.Zero(t, silent, "answers are wrong without a warning")
}
