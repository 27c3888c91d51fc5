// Package running starts the gateway as a library, and Prometheus servers with
// history, for the tests of several packages.
package running

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// Ahead is how far the samples of Prometheus reach beyond now: writing them takes
// a while, and a tier whose newest sample is old is not queried.
const Ahead = 30 * time.Minute

// settling bounds the first probes of the tiers.
const settling = 30 * time.Second

// Stretch is a time during which a Prometheus was up.
type Stretch struct{ From, To time.Time }

// Prometheus starts a Prometheus with the samples from now-reach to now+Ahead.
func Prometheus(t testing.TB, now time.Time, reach time.Duration) *embedded.Prometheus {
	t.Helper()
	return PrometheusOf(t, Stretch{now.Add(-reach), now.Add(Ahead)})
}

// PrometheusOf starts a Prometheus with a sample a minute during the stretches.
func PrometheusOf(t testing.TB, stretches ...Stretch) *embedded.Prometheus {
	t.Helper()
	data := t.TempDir()
	for _, each := range stretches {
		require.NoError(t, history.Generator{Interval: time.Minute}.WriteBlocks(t.Context(), data, each.From, each.To))
	}
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

// HTTPConfig reads an http_config in YAML.
func HTTPConfig(t testing.TB, text string) *config.HTTPConfig {
	t.Helper()
	settings := &config.HTTPConfig{}
	require.NoError(t, yaml.Unmarshal([]byte(text), settings))
	return settings
}

// Errors returns a logger that prints errors only.
func Errors() *logrus.Logger {
	logger := logrus.New()
	logger.SetLevel(logrus.ErrorLevel)
	return logger
}

// Start starts a Manager, and closes it at the end of the test. It does not wait for
// the probes of the tiers. Without a logger, nothing is logged.
func Start(t testing.TB, settings config.Config, logger *logrus.Logger, options ...datasource.Option) *datasource.Manager {
	t.Helper()
	if logger == nil {
		logger, _ = test.NewNullLogger()
	}
	manager, err := datasource.NewManager(settings, logger, options...)
	require.NoError(t, err)
	require.NoError(t, manager.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, manager.Close()) })
	return manager
}

// Manager starts a Manager that logs nothing, and waits until it has probed its tiers
// and knows what they hold.
func Manager(t testing.TB, settings config.Config, options ...datasource.Option) *datasource.Manager {
	t.Helper()
	manager := Start(t, settings, nil, options...)
	Settle(t, manager)
	return manager
}

// Settle waits until a Manager has probed its tiers and knows what they hold. It does
// not wait for a tier that fails its first probe.
func Settle(t testing.TB, manager *datasource.Manager) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settling)
	defer cancel()
	manager.Settle(ctx)
	require.NoError(t, ctx.Err(), "the tiers were not probed")
}

// FreeAddress returns a loopback address that nothing listens on.
func FreeAddress(t testing.TB) string {
	t.Helper()
	port, err := stack.FreePort()
	require.NoError(t, err)
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// AwaitStores waits until Thanos Query reports stores with at least count values of a label,
// because a store reports its blocks some time after it has started.
func AwaitStores(t testing.TB, query *stack.Server, label string, count int) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, body, err := stack.Get(t.Context(), query.URL+"/api/v1/stores", nil)
		return err == nil && strings.Count(string(body), `"`+label+`":`) >= count
	}, time.Minute, 50*time.Millisecond, "the store has not reported its blocks")
}
