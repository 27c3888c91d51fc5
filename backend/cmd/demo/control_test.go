package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
)

// startTier starts an empty tier.
func startTier(t *testing.T) *embedded.Prometheus {
	t.Helper()
	tier, err := embedded.Start(embedded.Options{Address: "127.0.0.1:0", Data: t.TempDir(), Retention: time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tier.Close()) })
	return tier
}

// runControl runs scripts/demo-control with a file, and returns what it printed.
func runControl(t *testing.T, file string, arguments ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "../../../scripts/demo-control", arguments...)
	command.Env = append(os.Environ(), "DEMO_CONTROL="+file)
	output, err := command.CombinedOutput()
	return string(output), err
}

func answers(tier *embedded.Prometheus) bool {
	response, err := http.Get(tier.URL + "/-/ready")
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func TestControl_BreaksAndHealsTiers(t *testing.T) {
	eu, us, cold := startTier(t), startTier(t), startTier(t)
	file := filepath.Join(t.TempDir(), "control")
	c, err := startControl(t.Context(), file, map[string]*embedded.Prometheus{shopName: eu, branchName: us, coldName: cold})
	require.NoError(t, err)
	information, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), information.Mode().Perm(), "who reads the file can break the demo")

	for _, each := range []struct {
		arguments []string
		expected  string
		answer    [3]bool
	}{
		{[]string{"break"}, "eu-1 (" + eu.URL + ") refuses connections.", [3]bool{false, true, true}},
		{[]string{"break", "eu-1"}, "eu-1 (" + eu.URL + ") refuses connections.", [3]bool{false, true, true}},
		{[]string{"break", "cold"}, "Hot answers now", [3]bool{false, true, false}},
		{[]string{"heal"}, "All tiers answer again.", [3]bool{true, true, true}},
		{[]string{"heal"}, "All tiers answer again.", [3]bool{true, true, true}},
	} {
		output, err := runControl(t, file, each.arguments...)
		require.NoError(t, err, output)
		require.Contains(t, output, each.expected)
		require.Equal(t, each.answer, [3]bool{answers(eu), answers(us), answers(cold)}, each.arguments)
	}
	output, err := runControl(t, file, "break", "hot")
	require.Error(t, err)
	require.Equal(t, "demo: there is no tier \"hot\": use one of cold, eu-1, us-1\n", output)

	// A page in a browser does not know the secret.
	address, _, _ := strings.Cut(strings.TrimPrefix(c.url, "http://"), "/")
	response, err := http.Post("http://"+address+"/guessed/break/eu-1", "", http.NoBody)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusNotFound, response.StatusCode)
	require.True(t, answers(eu))

	require.NoError(t, c.close())
	require.NoFileExists(t, file)
}

func TestControl_SaysThatNoDemoRuns(t *testing.T) {
	file := filepath.Join(t.TempDir(), "control")
	output, err := runControl(t, file, "break")
	require.Error(t, err)
	require.Contains(t, output, "demo: no demo is running: start it in another terminal with make demo")
	require.NoError(t, os.WriteFile(file, []byte("http://127.0.0.1:1/x\n"), 0o600))
	output, err = runControl(t, file, "heal")
	require.Error(t, err)
	require.Contains(t, output, "demo: the demo that was started last is not running any more")
	output, err = runControl(t, file, "stop")
	require.Error(t, err)
	require.Contains(t, output, "demo: usage: scripts/demo-control break [eu-1|us-1|cold]")
}

// The newest demo of a checkout is the one that is controlled: an older one that ends leaves its file.
func TestControl_LeavesTheFileOfANewerDemo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "control")
	older, err := startControl(t.Context(), file, nil)
	require.NoError(t, err)
	newer, err := startControl(t.Context(), file, nil)
	require.NoError(t, err)
	require.NoError(t, older.close())
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, newer.url+"\n", string(text))
	require.NoError(t, newer.close())
	require.NoFileExists(t, file)
}
