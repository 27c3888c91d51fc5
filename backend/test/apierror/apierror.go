// Package apierror checks errors that become answers of the Prometheus API.
package apierror

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// Require checks the HTTP status of an error, and a part of its message.
func Require(t testing.TB, err error, status int, text string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, status, promapi.AsError(err).Status)
	require.ErrorContains(t, err, text)
}
