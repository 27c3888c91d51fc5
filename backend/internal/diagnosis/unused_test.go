package diagnosis

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// Hot's own series have one of its external labels: no query can be rewritten for it, and all go to cold. Nothing in the
// reports on the tiers says so.
func TestAdvise_HotThatAnswersNothing(t *testing.T) {
	t.Parallel()
	prometheus := running.Prometheus(t, time.Now(), 30*time.Hour)
	options := AdviceOptions{Ranges: []time.Duration{time.Hour}, limits: adviceLimits{known: 2 * time.Second, kept: time.Second}}
	conflicting := func(settings *config.Config) { settings.Hot.ExternalLabels = config.LabelSet{"job": "cart"} }
	findings := adviceOn(t, prometheus.URL, prometheus.URL, options, "split", true, conflicting)
	require.Contains(t, requireFinding(t, findings, SeverityError, `^hot answers not even up\{job="cart"\}: cold answers: `).Remedy, "external labels")
	requireNoFinding(t, adviceOn(t, prometheus.URL, prometheus.URL, options, "split", true), "^hot answers not even")
}
