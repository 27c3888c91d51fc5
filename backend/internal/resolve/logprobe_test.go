package resolve

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	promconfig "github.com/prometheus/common/config"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// The advice to callers sends the operator to the log.
func TestLogProbe_SaysWhichCredentialCannotBeRead(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	settings := config.Default()
	settings.Cold.URL, settings.Cold.HTTPConfig = "https://127.0.0.1:1/cold", &config.HTTPConfig{}
	settings.Cold.HTTPConfig.Authorization = &promconfig.Authorization{Type: "Bearer", CredentialsFile: missing}
	logger, logged := test.NewNullLogger()
	r, err := New(Options{Config: settings, Logger: logger, Reloads: &upstream.Reloads{}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, r.Start(ctx))
	t.Cleanup(func() { cancel(); r.Stop() })
	require.Eventually(t, func() bool {
		for _, entry := range logged.AllEntries() {
			if entry.Message == "the tier is unavailable" {
				require.Contains(t, entry.Data["cause"], missing)
				return true
			}
		}
		return false
	}, 10*time.Second, 10*time.Millisecond)
}
