// Package running starts the gateway as a library, and Prometheus servers with
// history, for the tests of several packages.
package running

import (
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
)

// Ahead is how far the samples of Prometheus reach beyond now: writing them takes
// a while, and a tier whose newest sample is old is not queried.
const Ahead = 30 * time.Minute

// Prometheus starts a Prometheus with the samples from now-reach to now+Ahead.
func Prometheus(t *testing.T, now time.Time, reach time.Duration) *embedded.Prometheus {
	t.Helper()
	data := t.TempDir()
	require.NoError(t, history.Generator{Interval: time.Minute}.WriteBlocks(t.Context(), data, now.Add(-reach), now.Add(Ahead)))
	started, err := embedded.Start(embedded.Options{Address: "127.0.0.1:0", Data: data, Retention: 30 * 24 * time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, started.Close()) })
	return started
}

// TwoTiers returns the default configuration with the URLs of two tiers.
func TwoTiers(hot, cold string) config.Config {
	settings := config.Default()
	settings.Hot.URL, settings.Cold.URL = hot, cold
	return settings
}

// Manager starts a Manager and waits until its tiers have been probed. It logs
// nothing.
func Manager(t *testing.T, settings config.Config, options ...datasource.Option) *datasource.Manager {
	t.Helper()
	logger, _ := test.NewNullLogger()
	manager, err := datasource.NewManager(settings, logger, options...)
	require.NoError(t, err)
	require.NoError(t, manager.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, manager.Close()) })
	require.Eventually(t, func() bool {
		health := manager.Health()
		for _, tier := range health.Tiers {
			if tier.LastCheck.IsZero() {
				return false
			}
		}
		return len(health.Tiers) > 0
	}, 10*time.Second, 5*time.Millisecond)
	return manager
}
