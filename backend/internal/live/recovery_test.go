package live

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A warning about the query is in every answer: it must not keep steps from being evaluated again.
func TestMayLack_NotForWarningsOfPromQL(t *testing.T) {
	t.Parallel()
	ofPromQL := "PromQL warning: quantile value should be between 0 and 1, got 2"
	require.False(t, mayLack(nil))
	require.False(t, mayLack([]string{ofPromQL, "PromQL info: incompatible sample types encountered for binary operator \"+\": histogram + float"}))
	require.True(t, mayLack([]string{ofPromQL, "fetch series for {} 127.0.0.1: unavailable"}))
	require.True(t, mayLack([]string{"the hot tier answered, whose data begins at 2026-01-01T00:00:00Z"}))
}
