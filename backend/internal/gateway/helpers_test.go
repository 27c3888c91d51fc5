package gateway

import (
	"testing"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

// runningGateway has tiers that nobody listens at: tests with it are about who
// may ask, not about answers.
func runningGateway(t *testing.T, change func(*config.Config)) *Gateway {
	t.Helper()
	settings := running.TwoTiers("https://127.0.0.1:1/hot", "https://127.0.0.1:1/cold")
	settings.Probe.Interval = config.Duration(time.Hour)
	if change != nil {
		change(&settings)
	}
	return New(running.Start(t, settings, nil))
}
