//go:build e2e

package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRun_MeasuresASmallInstallation compares nothing with its goal.
func TestRun_MeasuresASmallInstallation(t *testing.T) {
	settings := options{foreign: 6000, own: 4000, dashboard: "cluster", duration: 2 * time.Second, directory: t.TempDir()}
	for _, says := range []string{"writing 2000 series of east", "using the blocks in "} {
		var out, progress bytes.Buffer
		require.NoError(t, run(t.Context(), &out, &progress, settings), "%s", &progress)
		require.Contains(t, progress.String(), says)
		for _, row := range []string{
			"| idle, every datasource was looked at: CPU of store ", "| time until hot answers every panel that it can ", "| memory of gateway 2 at most ",
			"| the same without gateways, at the tiers that answered (2s) ",
		} {
			require.Contains(t, out.String(), row)
		}
		t.Log(out.String())
	}
}
