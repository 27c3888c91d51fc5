//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/panel"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// demoUsers is how many ask at the same time while the dashboard is looked at.
const demoUsers = 3

// TestDemo_EveryPanelDraws opens the dashboard of tierproxy in a browser, over the
// demo as make demo starts it, while users ask. Every panel draws, and so does the
// first panel of docs/installation.md. Then it does what the demo tells a newcomer to:
// it looks at several clusters, thresholds and live queries, and breaks and heals hot.
//
// Users ask for E2E_DEMO, some minutes, before the dashboard is opened. Without that
// variable the test is skipped: make e2e-full sets it, CI does not.
func TestDemo_EveryPanelDraws(t *testing.T) {
	if os.Getenv("E2E_DEMO") == "" {
		t.Skip("E2E_DEMO is not set: only make e2e-full looks at the demo in a browser")
	}
	longer, err := time.ParseDuration(os.Getenv("E2E_DEMO"))
	require.NoError(t, err)
	root, err := stack.Root()
	require.NoError(t, err)
	control := "DEMO_CONTROL=" + filepath.Join(t.TempDir(), "control")
	page := startDemo(t, root, control)
	// What somebody who installs it looks at first.
	for _, arguments := range [][]string{{"login", page}, {"apply", "-f", filepath.Join(root, "deploy", "examples", "first-panel.yaml")}} {
		config := filepath.Join(shared.dir, "percli-demo.json")
		output, err := exec.CommandContext(t.Context(), shared.percliPath, append([]string{"--percliconfig", config}, arguments...)...).CombinedOutput()
		require.NoError(t, err, "%s", output)
	}
	ctx, cancel := context.WithTimeout(t.Context(), longer+10*minute)
	defer cancel()
	asking := make(chan struct{}, demoUsers)
	for user := range demoUsers {
		go func() {
			askAsPeopleDo(ctx, page, user)
			asking <- struct{}{}
		}()
	}
	defer func() {
		cancel()
		for range demoUsers {
			<-asking
		}
	}()
	// Four points of a rate in both tiers: one makes no line.
	c := call{base: page + "/proxy/globaldatasources/metrics", endpoint: "query_range"}
	from := time.Now()
	for _, choice := range []string{"hot", "cold"} {
		require.Eventually(t, func() bool {
			c.header = http.Header{"X-Tier-Choice": {choice}}
			c.values = panel.RangeQuery(`sum(rate(tierproxy_tier_answers_shared_total[4m]))`, time.Now(), 5*minute, 30*time.Second)
			got, err := c.do(ctx)
			return err == nil && strings.Count(string(got.body), "],[") >= 3 && time.Since(from) >= longer
		}, longer+5*minute, time.Second, "nothing to draw at %s", choice)
	}

	command := exec.CommandContext(ctx, "npx", "--no-install", "vitest", "run", "--config", "plugin/e2e/vitest.config.ts", "--mode", "demo")
	command.Dir = root
	command.Env = append(os.Environ(), control, "PAGE_URL="+page, "SCREENSHOTS="+filepath.Join(root, "build", "screenshots"))
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = 10 * time.Second
	require.NoError(t, command.Run(), "what the browser showed is in build/screenshots")
}

// TestDemo_CtrlCEndsMakeWithoutError types Ctrl-C at a terminal in which make demo
// builds, in which it starts servers, and in which it runs: make succeeds and reports no
// error, and no process stays behind. While it runs, make demo-break and make demo-heal
// work in a second terminal.
func TestDemo_CtrlCEndsMakeWithoutError(t *testing.T) {
	root, err := stack.Root()
	require.NoError(t, err)
	for _, moment := range []string{"demo: building", "Generating history", "Ctrl-C stops everything"} {
		t.Run(moment, func(t *testing.T) {
			mark := "E2E_DEMO_MARK=" + t.TempDir() // What make starts inherits it.
			ctx, cancel := context.WithTimeout(t.Context(), 5*minute)
			defer cancel()
			terminal := exec.CommandContext(ctx, "script", "-qec", "make demo", os.DevNull)
			control := "DEMO_CONTROL=" + filepath.Join(t.TempDir(), "control")
			terminal.Dir, terminal.Env = root, append(os.Environ(), mark, control)
			keyboard, err := terminal.StdinPipe()
			require.NoError(t, err)
			screen, err := terminal.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, terminal.Start())
			var shown strings.Builder
			for lines := bufio.NewScanner(screen); lines.Scan(); {
				shown.WriteString(lines.Text() + "\n")
				if strings.Contains(lines.Text(), moment) {
					if moment == "Ctrl-C stops everything" {
						breakAndHeal(t, root, control)
					}
					_, err = keyboard.Write([]byte{3}) // Ctrl-C.
					require.NoError(t, err)
				}
			}
			require.NoError(t, terminal.Wait(), &shown)
			require.Contains(t, shown.String(), "demo: stopping everything")
			require.NotContains(t, shown.String(), "***")
			// A process that was told to end may take a moment.
			require.Eventually(t, func() bool { return len(processesWith(mark)) == 0 }, 30*time.Second, 50*time.Millisecond, "processes stay behind")
		})
	}
}

// breakAndHeal breaks and heals tiers of the demo as its users do.
func breakAndHeal(t *testing.T, root, control string) {
	t.Helper()
	for _, each := range []struct {
		arguments []string
		expected  string
		fails     bool
	}{
		{[]string{"demo-break", "TIER=us-1"}, "us-1 (http://127.0.0.1:", false},
		{[]string{"demo-break", "TIER=eu"}, `there is no tier "eu": use one of cold, eu-1, us-1`, true},
		{[]string{"demo-heal"}, "All tiers answer again.", false},
	} {
		command := exec.CommandContext(t.Context(), "make", each.arguments...)
		command.Dir, command.Env = root, append(os.Environ(), control)
		output, err := command.CombinedOutput()
		require.Contains(t, string(output), each.expected)
		require.Equal(t, each.fails, err != nil, "%s", output)
	}
}

// processesWith returns the environments of all processes that have a variable.
func processesWith(variable string) (environments []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ") // The pattern is well-formed.
	for _, file := range files {
		text, _ := os.ReadFile(file) // The process may have ended, or belong to somebody else.
		if strings.Contains(string(text), variable) {
			environments = append(environments, file)
		}
	}
	return environments
}

// startDemo starts the demo, which is controlled by the file that a variable names, and returns
// the URL of its page.
func startDemo(t *testing.T, root, control string) string {
	t.Helper()
	demo := exec.Command(filepath.Join(root, "scripts", "demo")) // It is told to stop, and stops what it started.
	demo.Dir, demo.Stderr, demo.Env = root, os.Stderr, append(os.Environ(), control)
	demo.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := demo.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, demo.Start())
	t.Cleanup(func() {
		require.NoError(t, demo.Process.Signal(syscall.SIGTERM))
		require.NoError(t, demo.Wait(), "the demo ends when it is told to")
	})
	var page string
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if address, found := strings.CutPrefix(lines.Text(), "Page "); found {
			page = strings.Fields(address)[0]
		}
		if strings.HasPrefix(lines.Text(), "Ctrl-C") {
			go func() { _, _ = io.Copy(io.Discard, stdout) }() // Until it ends.
			require.NotEmpty(t, page)
			return page
		}
	}
	require.Fail(t, "the demo ended before everything ran")
	return ""
}

// askAsPeopleDo asks through Perses as a user with a few panels does: of the
// last minutes and of weeks, for labels, and now and then for nonsense.
func askAsPeopleDo(ctx context.Context, page string, user int) {
	base := page + "/proxy/globaldatasources/metrics"
	for i := 0; ctx.Err() == nil; i++ {
		span, step := 5*minute, 15*time.Second
		if i%3 == 2 {
			span, step = 48*time.Hour, 10*minute
		}
		query := fmt.Sprintf("sum by (job) (rate(http_requests_total[%dm]))", 2+i%4)
		if i%40 == 39 {
			query = "sum(rate(" // An author at work.
		}
		for _, c := range []call{
			{base: base, method: http.MethodPost, endpoint: "query_range", values: panel.RangeQuery(query, time.Now(), span, step)},
			{base: base, endpoint: "query", values: map[string][]string{"query": {query}}},
			{base: base, endpoint: "labels"},
		} {
			_, _ = c.do(ctx) // What fails is seen in the dashboard.
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(400+50*user) * time.Millisecond): // The pace of people.
		}
	}
}
