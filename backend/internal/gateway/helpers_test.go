package gateway

import (
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// runningGateway has tiers that nobody listens at: tests with it are about who
// may ask, not about answers.
func runningGateway(t *testing.T, change func(*config.Config)) *Gateway {
	t.Helper()
	settings := config.Default()
	settings.Hot.URL, settings.Cold.URL = "https://127.0.0.1:1/hot", "https://127.0.0.1:1/cold"
	settings.Probe.Interval = config.Duration(time.Hour)
	if change != nil {
		change(&settings)
	}
	logger, _ := test.NewNullLogger()
	manager, err := datasource.NewManager(settings, logger)
	require.NoError(t, err)
	require.NoError(t, manager.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, manager.Close()) })
	return New(manager)
}

func requireStatus(t *testing.T, err error, status int, text string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, status, promapi.AsError(err).Status)
	require.ErrorContains(t, err, text)
}
