//go:build e2e

package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRun_FollowsAFewStreams compares the streams with query_range, and nothing else with its goal.
func TestRun_FollowsAFewStreams(t *testing.T) {
	var out, progress bytes.Buffer
	settings := options{duration: 20 * time.Second, step: time.Second, subscribers: 60, queries: 25}
	require.NoError(t, run(t.Context(), &out, &progress, settings), "%s\n%s", &out, &progress)
	for _, restarted := range []string{"restarted hot in", "restarted cold in", "restarted a gateway in"} {
		require.Contains(t, progress.String(), restarted)
	}
	require.Regexp(t, `streams that differ from query_range, of 60 with \d{4,} samples \| 0 \|`, out.String())
	require.Regexp(t, `streams that connected again in 3 restarts; resumed; snapshots; dropped \| [1-9]`, out.String())
	t.Log(out.String())
}

func TestEnoughFiles_SaysWhatIsMissing(t *testing.T) {
	require.NoError(t, enoughFiles(1))
	require.ErrorContains(t, enoughFiles(1e9), "ulimit -n is ")
}
